/* An error that is dropped. It must not compile with -Werror, as C and as C++. */
#include <planrt.h>

void drop(planrt_engine_options *options);
void drop(planrt_engine_options *options) { planrt_engine_options_set_cpu_threads(options, 1); }
