/* planrt.h stands alone and may be included twice. Compiled as C and as C++. */
#include <planrt.h>
#include <planrt.h>

planrt_error_code code_of_nothing(void);
planrt_error_code code_of_nothing(void) { return planrt_error_get_code(NULL); }
