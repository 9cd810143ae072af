/* Threads with little stack: a call may go deep, and does so where there is room. */

#include "small_session.h"

#include <limits.h>
#include <pthread.h>

static float image[3 * IMAGE], prob[3 * PROB];

static void *everything(void *unused) {
    (void)unused;
    planrt_runtime *runtime = new_runtime();
    planrt_engine *engine = load(runtime, SMALL), *none = NULL;
    planrt_context *context = new_context(engine);
    planrt_tensor in = small_image(image, 3), out = small_prob(prob, 3);
    planrt_request *request = NULL;
    char *text = NULL;
    OK(planrt_context_run(context, &in, 1, &out, 1));
    CHECK(sums_to_one(prob, 3));
    planrt_session *session = new_session(engine, NULL);
    OK(planrt_session_run(session, &in, 1, &out, 1, NULL));
    OK(planrt_session_submit(session, &in, 1, &out, 1, NULL, &request));
    OK(planrt_request_wait(request, -1, NULL));
    CHECK(sums_to_one(prob, 3));
    planrt_error *error = planrt_engine_load_file(runtime, MODELS "/nothing.onnx", NULL, &none);
    CHECK(planrt_error_get_code(error) == PLANRT_ERROR_NOT_FOUND);
    planrt_error_delete(error);
    OK(planrt_runtime_describe(runtime, &text));
    planrt_string_delete(text);
    OK(planrt_doctor(NULL, SMALL, &text, NULL));
    planrt_string_delete(text);
    planrt_request_delete(request);
    planrt_session_delete(session);
    planrt_context_delete(context);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
    return NULL;
}

int main(void) {
    /* The least that a thread can have; what sanitizers put on the stack does not fit there. */
#if defined __SANITIZE_ADDRESS__
    const size_t kib[] = {64, 128, 512};
#else
    const size_t kib[] = {16, 32, 64, 128, 512};
#endif
    for (size_t i = 0; i < sizeof kib / sizeof *kib; i++) {
        pthread_attr_t attributes;
        pthread_t thread;
        CHECK(pthread_attr_init(&attributes) == 0);
        CHECK(pthread_attr_setstacksize(&attributes, kib[i] * 1024) == 0);
        CHECK(pthread_create(&thread, &attributes, everything, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        pthread_attr_destroy(&attributes);
        printf("%zu KiB\n", kib[i]);
    }
    return 0;
}
