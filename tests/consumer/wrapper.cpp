// The wrapper is there, and the language that it is written in.
#include <planrt.hpp>

static_assert(__cplusplus >= 201703L);

int main() { return planrt_version()[0] == '\0'; }
