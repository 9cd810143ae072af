// planrt.hpp stands alone and may be included twice.
#include <planrt.hpp>
#include <planrt.hpp>

bool is_cpu(const planrt::Engine& engine);
bool is_cpu(const planrt::Engine& engine) { return engine.backend() == planrt::Backend::cpu; }
