/* A session on small.onnx. */
#ifndef SMALL_SESSION_H
#define SMALL_SESSION_H

#include "small_model.h"

static inline planrt_session *new_session(const planrt_engine *engine, const planrt_session_options *options) {
    planrt_session *session = NULL;
    OK(planrt_session_new(&engine, 1, options, &session));
    CHECK(session);
    return session;
}

#endif
