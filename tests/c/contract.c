/* What the header says of all calls: settings go back to their defaults, counts have bounds, messages quote names so that a
   terminal shows them and acts on nothing. */

#include "small_session.h"

static void defaults(const planrt_engine *engine) {
    planrt_session_options *options = NULL;
    OK(planrt_session_options_new(&options));
    const int32_t sizes[] = {2, 1};
    OK(planrt_session_options_set_preferred_batches(options, sizes, 2));
    OK(planrt_session_options_set_preferred_batches(options, NULL, 0));
    OK(planrt_session_options_set_largest_batch(options, 0));
    OK(planrt_session_options_set_max_delay(options, -1));
    OK(planrt_session_options_set_queue(options, 0, 0));
    OK(planrt_session_options_set_contexts(options, 0));
    OK(planrt_session_options_set_memory_budget(options, 0));
    planrt_session_delete(new_session(engine, options));

    static const int32_t many[65] = {1};
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "65", planrt_session_options_set_preferred_batches(options, many, 65));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "0", planrt_session_options_set_preferred_batches(options, many + 1, 1));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "elements",
          planrt_session_options_set_preferred_batches(options, many, SIZE_MAX / 2));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "null", planrt_session_options_set_preferred_batches(options, NULL, 1));
    const int32_t bad[] = {INT32_MIN, -1, INT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "", planrt_session_options_set_largest_batch(options, bad[i]));
        FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "", planrt_session_options_set_preferred_batches(options, &bad[i], 1));
        FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "", planrt_session_options_set_contexts(options, bad[i]));
        FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "", planrt_session_options_set_queue(options, bad[i], PLANRT_WHEN_FULL_BLOCK));
    }
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "-2", planrt_session_options_set_max_delay(options, -2));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "3", planrt_session_options_set_queue(options, 1, 3));
    planrt_session_options_delete(options);

    planrt_engine_options *engine_options = NULL;
    OK(planrt_engine_options_new(&engine_options));
    OK(planrt_engine_options_set_cpu_threads(engine_options, 0));
    OK(planrt_engine_options_set_cpu_shape_cache(engine_options, 0));
    OK(planrt_engine_options_set_cpu_backend(engine_options, PLANRT_BACKEND_FASTEST_CPU));
    OK(planrt_engine_options_set_cpu_backend(engine_options, PLANRT_BACKEND_OPENVINO));
    OK(planrt_engine_options_set_cpu_backend(engine_options, PLANRT_BACKEND_CPU));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "1 is no", planrt_engine_options_set_cpu_backend(engine_options, PLANRT_BACKEND_TENSORRT));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "-1 is no", planrt_engine_options_set_cpu_backend(engine_options, -1));
    OK(planrt_engine_options_set_lean_runtime(engine_options, NULL));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "", planrt_engine_options_set_cpu_threads(engine_options, bad[i]));
        FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "", planrt_engine_options_set_cpu_shape_cache(engine_options, bad[i]));
    }
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "-2", planrt_engine_options_set_weight_streaming_budget(engine_options, -2));
    planrt_engine_options_delete(engine_options);

    planrt_runtime_options *runtime_options = NULL;
    OK(planrt_runtime_options_new(&runtime_options));
    OK(planrt_runtime_options_set_tensorrt_path(runtime_options, NULL));
    OK(planrt_runtime_options_set_log(runtime_options, NULL, NULL, NULL, 0));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "-1", planrt_runtime_options_set_device(runtime_options, -1));
    planrt_runtime_options_delete(runtime_options);
}

/* More tensors than there is memory for, or than any model has, are refused before memory is taken for them. */
static void bounds(planrt_engine *engine) {
    planrt_context *context = new_context(engine);
    static float image[IMAGE], prob[PROB];
    planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1);
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "inputs", planrt_context_run(context, &in, SIZE_MAX, &out, 1));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "outputs", planrt_context_run(context, &in, 1, &out, SIZE_MAX / sizeof out));
    planrt_stream *streams[1] = {NULL};
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "streams", planrt_context_set_aux_streams(context, streams, SIZE_MAX));
    in.shape[0] = INT64_MAX; /* a product that does not fit */
    FAILS(PLANRT_ERROR_SHAPE, "", planrt_context_run(context, &in, 1, &out, 1));
    planrt_context_delete(context);
    const planrt_engine *engines[1] = {engine};
    planrt_session *session = NULL;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "engines", planrt_session_new(engines, SIZE_MAX, NULL, &session));
    CHECK(!session);
}

/* Whether a message is of reasonable length and nothing in it acts on a terminal. */
static void plain(planrt_error *error) {
    CHECK(error);
    const char *message = planrt_error_get_message(error);
    CHECK(strlen(message) < 2000);
    for (const char *c = message; *c; c++) CHECK((unsigned char)*c >= ' ' && *c != 0x7f);
    planrt_error_delete(error);
}

static void quotes(planrt_runtime *runtime, planrt_engine *engine) {
    static char longest[1 << 20];
    memset(longest, 'x', sizeof longest - 1);
    const char *const names[] = {"\x1b[2J\x1b]0;title\a", "a\nb\r\tc", "\x7f", "\u202egnp", longest};
    planrt_context *context = new_context(engine);
    planrt_engine *other = NULL;
    static float image[IMAGE], prob[PROB];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int32_t index = 0;
        size_t size = 0;
        const int64_t shape[1] = {1};
        planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1);
        plain(planrt_engine_find_tensor(engine, names[i], &index));
        plain(planrt_context_get_size(context, names[i], &size));
        plain(planrt_context_set_shape(context, names[i], shape, 1));
        plain(planrt_context_bind(context, names[i], image, sizeof image));
        out.name = names[i];
        plain(planrt_context_run(context, &in, 1, &out, 1));
        plain(planrt_engine_load_file(runtime, names[i], NULL, &other));
    }
    plain(planrt_engine_load_file(runtime, "\xff\x1b[2J", NULL, &other));
    plain(planrt_engine_find_tensor(engine, "\xff", &(int32_t){0}));
    planrt_context_delete(context);
}

int main(void) {
    planrt_runtime *runtime = new_runtime();
    planrt_engine *engine = load(runtime, SMALL);
    defaults(engine);
    bounds(engine);
    quotes(runtime, engine);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
    return 0;
}
