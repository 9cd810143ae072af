/* A session on small.onnx, and the tensors of a request to it. */
#ifndef SMALL_SESSION_H
#define SMALL_SESSION_H

#include "small_model.h"

static inline planrt_tensor image_tensor(const float *data, int64_t batch) {
    planrt_tensor tensor = {.struct_size = sizeof tensor, .name = "image", .data = (void *)data,
                            .size = (size_t)batch * IMAGE * sizeof *data, .element_type = PLANRT_FLOAT32,
                            .rank = 5, .shape = {batch, 1, 8, 8, 8}};
    return tensor;
}

static inline planrt_tensor prob_tensor(float *data, int64_t batch) {
    planrt_tensor tensor = {.struct_size = sizeof tensor, .name = "prob", .data = data,
                            .size = (size_t)batch * PROB * sizeof *data, .element_type = PLANRT_FLOAT32};
    return tensor;
}

static inline planrt_session *new_session(const planrt_engine *engine, const planrt_session_options *options) {
    planrt_session *session = NULL;
    OK(planrt_session_new(&engine, 1, options, &session));
    CHECK(session);
    return session;
}

#endif
