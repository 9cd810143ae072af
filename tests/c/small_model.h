/* The model small.onnx: image (batch, 1, 8, 8, 8) to prob (batch, 2, 8, 8, 8), a softmax over the two channels. */
#ifndef SMALL_MODEL_H
#define SMALL_MODEL_H

#include "../check.h"

/* MODELS, the folder of the test models, comes from CMake. */
#define SMALL MODELS "/small.onnx"

enum { IMAGE = 8 * 8 * 8, PROB = 2 * IMAGE };

static inline planrt_tensor small_image(const float *data, int64_t batch) {
    planrt_tensor tensor = {.struct_size = sizeof tensor, .name = "image", .input_data = data,
                            .size_bytes = (size_t)batch * IMAGE * sizeof *data, .element_type = PLANRT_FLOAT32,
                            .rank = 5, .shape = {batch, 1, 8, 8, 8}};
    return tensor;
}

static inline planrt_tensor small_prob(float *data, int64_t batch) {
    planrt_tensor tensor = {.struct_size = sizeof tensor, .name = "prob", .output_data = data,
                            .size_bytes = (size_t)batch * PROB * sizeof *data, .element_type = PLANRT_FLOAT32};
    return tensor;
}

/* Some voxels, different in each item of a batch. */
static inline void fill(float *image, size_t count) {
    for (size_t i = 0; i < count; i++) image[i] = (float)((i * 7919) % 1000) / 1000;
}

/* Whether prob is one: the two classes of each voxel sum to one. */
static inline int sums_to_one(const float *prob, int64_t batch) {
    for (int64_t item = 0; item < batch; item++)
        for (int voxel = 0; voxel < IMAGE; voxel++) {
            float sum = prob[item * PROB + voxel] + prob[item * PROB + IMAGE + voxel];
            if (!(sum > 0.9999f && sum < 1.0001f)) return 0;
        }
    return 1;
}

/* What a failed call must not have touched is filled with this before. */
enum { UNTOUCHED = 0xA5 };

static inline int untouched(const void *memory, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (((const unsigned char *)memory)[i] != UNTOUCHED) return 0;
    return 1;
}

static inline planrt_runtime *new_runtime(void) {
    planrt_runtime *runtime = NULL;
    OK(planrt_runtime_new(NULL, &runtime));
    CHECK(runtime);
    return runtime;
}

static inline planrt_engine *load(planrt_runtime *runtime, const char *path) {
    planrt_engine *engine = NULL;
    OK(planrt_engine_load_file(runtime, path, NULL, &engine));
    CHECK(engine);
    return engine;
}

static inline planrt_context *new_context(planrt_engine *engine) {
    planrt_context *context = NULL;
    OK(planrt_context_new(engine, &context));
    CHECK(context);
    return context;
}

#endif
