// planrt's kernels for volumes (src/volume/device/kernels.cu) for the driver's double, compiled for the host from the same
// source: one thread does what those of a row of blocks do on a GPU.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace {

thread_local unsigned block_y, blocks_y, block_z, blocks_z;

int __nvvm_read_ptx_sreg_ctaid_x() { return 0; }
int __nvvm_read_ptx_sreg_ctaid_y() { return static_cast<int>(block_y); }
int __nvvm_read_ptx_sreg_ctaid_z() { return static_cast<int>(block_z); }
int __nvvm_read_ptx_sreg_nctaid_x() { return 1; }
int __nvvm_read_ptx_sreg_nctaid_y() { return static_cast<int>(blocks_y); }
int __nvvm_read_ptx_sreg_nctaid_z() { return static_cast<int>(blocks_z); }
void __nvvm_atom_min_gen_ui(unsigned *place, unsigned value) { *place = std::min(*place, value); }
void __nvvm_atom_max_gen_ui(unsigned *place, unsigned value) { *place = std::max(*place, value); }
int __nvvm_read_ptx_sreg_tid_x() { return 0; }
int __nvvm_read_ptx_sreg_ntid_x() { return 1; }

}

#include "../../src/volume/device/kernels.cu"

namespace {

template <typename... Arguments, std::size_t... I>
void call(void (*kernel)(Arguments...), void **parameters, std::index_sequence<I...>) {
    kernel(*static_cast<Arguments *>(parameters[I])...);
}

template <auto kernel> struct Caller;
template <typename... Arguments, void (*kernel)(Arguments...)> struct Caller<kernel> {
    static void run(void **parameters) { call(kernel, parameters, std::index_sequence_for<Arguments...>()); }
};

struct Kernel {
    const char *name;
    void (*run)(void **);
};

#define ENTRY(name) {#name, Caller<name>::run}
Kernel kernels[] = {
    ENTRY(planrt_gather),       ENTRY(planrt_constants),     ENTRY(planrt_add_mirrored),  ENTRY(planrt_divide),
    ENTRY(planrt_find_nan),     ENTRY(planrt_blend),         ENTRY(planrt_weigh),         ENTRY(planrt_sigmoid),
    ENTRY(planrt_softmax),      ENTRY(planrt_argmax_uint8),  ENTRY(planrt_argmax_uint16), ENTRY(planrt_regions_uint8),
    ENTRY(planrt_regions_uint16), ENTRY(planrt_resample),    ENTRY(planrt_read),          ENTRY(planrt_narrow),
    ENTRY(planrt_change),       ENTRY(planrt_resample_axis), ENTRY(planrt_resample_spline), ENTRY(planrt_ends),
    ENTRY(planrt_resampled_argmax_uint8), ENTRY(planrt_resampled_argmax_uint16),
    ENTRY(planrt_clip),         ENTRY(planrt_widen),        ENTRY(planrt_count_uint8),   ENTRY(planrt_count_uint16),
    ENTRY(planrt_head_argmax_uint8), ENTRY(planrt_head_argmax_uint16), ENTRY(planrt_head_regions_uint8),
    ENTRY(planrt_head_regions_uint16),
};

}

static std::atomic<std::int64_t> runs;

extern "C" {

// How many there were.
std::int64_t cudaDoubleKernelRuns() { return runs; }

// The kernel of a name; null where there is none.
void *cudaDoubleKernel(const char *name) {
    for (Kernel &kernel : kernels)
        if (std::strcmp(kernel.name, name) == 0) return &kernel;
    return nullptr;
}

// Runs one if it is one of these.
bool cudaDoubleRunKernel(void *function, unsigned rows, unsigned layers, void **parameters) {
    for (Kernel &kernel : kernels) {
        if (&kernel != function) continue;
        blocks_y = rows;
        blocks_z = layers;
        ++runs;
        for (block_z = 0; block_z < layers; ++block_z)
            for (block_y = 0; block_y < rows; ++block_y) kernel.run(parameters);
        return true;
    }
    return false;
}

}
