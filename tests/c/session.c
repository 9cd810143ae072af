/* Sessions on the CPU: every way to ask and to be answered, bad requests, and what the scheduler costs. */

#include "small_model.h"
#include "small_session.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { BATCH = 3 };

static float image[BATCH * IMAGE], expected[BATCH * PROB], prob[BATCH * PROB];

static planrt_engine *engine;

/* What comes without a session. */
static void run_context(float *out, int64_t batch) {
    planrt_context *context = new_context(engine);
    planrt_tensor in = small_image(image, batch), to = small_prob(out, batch);
    OK(planrt_context_run(context, &in, 1, &to, 1));
    planrt_context_delete(context);
}

static void as_expected(int64_t batch) {
    CHECK(memcmp(prob, expected, (size_t)batch * PROB * sizeof *prob) == 0);
    memset(prob, UNTOUCHED, sizeof prob);
}

static void waits_and_polls(void) {
    planrt_session *session = new_session(engine, NULL);
    planrt_tensor in = small_image(image, BATCH), out = small_prob(prob, BATCH);
    OK(planrt_session_run(session, &in, 1, &out, 1, NULL));
    as_expected(BATCH);

    planrt_request *request = NULL;
    bool done = false;
    OK(planrt_session_submit(session, &in, 1, &out, 1, NULL, &request));
    while (!done) OK(planrt_request_wait(request, 1000, &done));
    as_expected(BATCH);
    OK(planrt_request_wait(request, -1, NULL));
    int64_t shape[PLANRT_MAX_RANK];
    int32_t rank = 0;
    OK(planrt_request_get_output_shape(request, "prob", shape, &rank));
    CHECK(rank == 5 && shape[0] == BATCH && shape[1] == 2 && shape[2] == 8);
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "image", planrt_request_get_output_shape(request, "image", shape, &rank));
    FAILS(PLANRT_ERROR_NOT_FOUND, "mask", planrt_request_get_output_shape(request, "mask", shape, &rank));
    OK(planrt_request_get_error(request));
    CHECK(planrt_request_poll(request));
    planrt_request_cancel(request);
    OK(planrt_request_get_error(request));
    planrt_request_delete(request);

    OK(planrt_session_submit(session, &in, 1, &out, 1, NULL, &request));
    while (!planrt_request_poll(request)) {
    }
    as_expected(BATCH);
    planrt_session_delete(session);
    OK(planrt_request_wait(request, -1, NULL)); /* it outlives its session */
    planrt_request_delete(request);
}

struct call {
    atomic_int count;
    planrt_error_code code;
};

static void called(void *user_data, const planrt_error *error) {
    struct call *call = user_data;
    call->code = planrt_error_get_code(error);
    atomic_fetch_add(&call->count, 1);
}

static void calls_back(void) {
    for (int pumped = 0; pumped < 2; pumped++) {
        planrt_session_options *options = NULL;
        OK(planrt_session_options_new(&options));
        OK(planrt_session_options_set_pumped(options, pumped));
        planrt_session *session = new_session(engine, options);
        planrt_session_options_delete(options);
        struct call call = {0, -1};
        planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1);
        planrt_request_options how = {.struct_size = sizeof how, .callback = called, .user_data = &call};
        OK(planrt_session_submit(session, &in, 1, &out, 1, &how, NULL));
        size_t calls = 0;
        if (pumped) {
            OK(planrt_session_pump(session, -1, &calls));
            CHECK(calls == 1 && atomic_load(&call.count) == 1);
            OK(planrt_session_pump(session, 0, &calls));
            CHECK(calls == 0);
        } else {
            while (!atomic_load(&call.count)) {
            }
            FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "set_pumped", planrt_session_pump(session, 0, NULL));
        }
        CHECK(call.code == 0);
        as_expected(1);
        /* What is due is made before delete returns, whoever pumps. */
        OK(planrt_session_submit(session, &in, 1, &out, 1, &how, NULL));
        planrt_session_delete(session);
        CHECK(atomic_load(&call.count) == 2 && (call.code == 0 || call.code == PLANRT_ERROR_SHUT_DOWN));
    }
}

static planrt_session *to_end;
static atomic_int ended;

static void ends_session(void *user_data, const planrt_error *error) {
    struct call *call = user_data;
    called(call, error);
    planrt_tensor in = small_image(image, 1);
    planrt_request_options how = {.struct_size = sizeof how, .callback = called, .user_data = call};
    OK(planrt_session_submit(to_end, &in, 1, NULL, 0, &how, NULL));
    planrt_session_delete(to_end);
    CHECK(atomic_load(&call->count) == 2);
    atomic_store(&ended, 1);
}

static void ends_in_a_callback(void) {
    for (int i = 0; i < 20; i++) {
        struct call call = {0, -1};
        atomic_store(&ended, 0);
        to_end = new_session(engine, NULL);
        planrt_tensor in = small_image(image, 1);
        planrt_request_options how = {.struct_size = sizeof how, .callback = ends_session, .user_data = &call};
        OK(planrt_session_submit(to_end, &in, 1, NULL, 0, &how, NULL));
        while (!atomic_load(&ended)) {
        }
    }
}

static void refuses(void) {
    planrt_session *session = new_session(engine, NULL);
    planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1), bad;
    planrt_request_options how = {.struct_size = sizeof how};
    planrt_request *request = NULL;
    memset(prob, UNTOUCHED, sizeof prob);
    bad = in, bad.shape[4] = 9;
    FAILS(PLANRT_ERROR_SHAPE, "takes 8", planrt_session_run(session, &bad, 1, &out, 1, NULL));
    bad = in, bad.element_type = PLANRT_INT64;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "int64", planrt_session_run(session, &bad, 1, &out, 1, NULL));
    bad = in, bad.element_type = 99;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "inputs[0]", planrt_session_run(session, &bad, 1, &out, 1, NULL));
    bad = in, bad.memory_kind = 99;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "kind of memory", planrt_session_run(session, &bad, 1, &out, 1, NULL));
    bad = in, bad.memory_kind = PLANRT_MEMORY_DEVICE;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "device memory", planrt_session_run(session, &bad, 1, &out, 1, NULL));
    bad = in, bad.name = "picture";
    FAILS(PLANRT_ERROR_NOT_FOUND, "image", planrt_session_run(session, &bad, 1, &out, 1, NULL));
    bad = in, bad.struct_size = 8;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "struct_size", planrt_session_run(session, &bad, 1, &out, 1, NULL));
    bad = out, bad.size_bytes--;
    FAILS(PLANRT_ERROR_BUFFER_TOO_SMALL, "prob", planrt_session_run(session, &in, 1, &bad, 1, NULL));
    planrt_tensor twice[] = {in, in};
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "twice", planrt_session_run(session, twice, 2, &out, 1, NULL));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "missing", planrt_session_run(session, NULL, 0, &out, 1, NULL));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "null", planrt_session_submit(session, &in, 1, &out, 1, NULL, NULL));
    how.timeout_us = -5;
    FAILS(PLANRT_ERROR_DEADLINE, "5 microseconds", planrt_session_submit(session, &in, 1, &out, 1, &how, &request));
    how.timeout_us = 0, how.copy_in_background = 2;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "0 or 1", planrt_session_submit(session, &in, 1, &out, 1, &how, &request));
    CHECK(!request && untouched(prob, sizeof prob));
    OK(planrt_session_run(session, &in, 1, &out, 1, NULL));
    as_expected(1);
    planrt_session_delete(session);

    planrt_session_options *options = NULL;
    OK(planrt_session_options_new(&options));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "capacity is -1", planrt_session_options_set_queue(options, -1, PLANRT_WHEN_FULL_REFUSE));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "WHEN_FULL", planrt_session_options_set_queue(options, 1, 9));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "largest", planrt_session_options_set_largest_batch(options, -1));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "contexts", planrt_session_options_set_contexts(options, -1));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "delay", planrt_session_options_set_max_delay(options, -2));
    const int32_t sizes[] = {8, 0};
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "take 1 to", planrt_session_options_set_preferred_batches(options, sizes, 2));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "null", planrt_session_options_set_preferred_batches(options, NULL, 1));
    OK(planrt_session_options_set_preferred_batches(options, sizes, 1));
    OK(planrt_session_options_set_largest_batch(options, 4));
    const planrt_engine *engines[] = {engine, NULL};
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "preferred", planrt_session_new(engines, 1, options, &session));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "null", planrt_session_new(engines, 2, NULL, &session));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "at least one", planrt_session_new(engines, 0, NULL, &session));
    OK(planrt_session_options_set_preferred_batches(options, NULL, 0));
    session = new_session(engine, options);
    planrt_session_delete(session);
    planrt_session_options_delete(options);
}

/* Times below -1 are none, and what fails leaves its outputs alone. */
static void times(void) {
    planrt_session *session = new_session(engine, NULL);
    planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1);
    planrt_request_options how = {.struct_size = sizeof how, .timeout_us = 1, .copy_in_background = 1};
    planrt_request *request = NULL;
    bool done[2] = {true, false};
    OK(planrt_session_submit(session, &in, 1, &out, 1, NULL, &request));
    for (int i = 0; i < 2; i++) {
        bool before = done[i];
        FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "-2", planrt_request_wait(request, -2, &done[i]));
        FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "time-out", planrt_request_wait(request, INT64_MIN, &done[i]));
        CHECK(done[i] == before);
    }
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "null", planrt_request_wait(request, 5, NULL));
    OK(planrt_request_wait(request, INT64_MAX, &done[1]));
    CHECK(done[1]);
    planrt_request_delete(request);
    as_expected(1);

    /* One that fails says so, and nothing else. */
    planrt_tensor many = small_image(image, BATCH);
    for (int i = 0; i < 200; i++) {
        done[0] = i % 2;
        planrt_error *error = planrt_session_submit(session, &many, 1, NULL, 0, &how, &request);
        if (error) { /* the time-out passed before it was queued */
            CHECK(planrt_error_get_code(error) == PLANRT_ERROR_DEADLINE);
            planrt_error_delete(error);
            continue;
        }
        planrt_request_cancel(request);
        error = planrt_request_wait(request, 10000000, &done[0]);
        CHECK(error ? done[0] == i % 2 : done[0]);
        planrt_error_delete(error);
        planrt_request_delete(request);
    }
    planrt_session_delete(session);

    planrt_session_options *options = NULL;
    OK(planrt_session_options_new(&options));
    OK(planrt_session_options_set_pumped(options, true));
    session = new_session(engine, options);
    planrt_session_options_delete(options);
    size_t calls = 7;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "-2", planrt_session_pump(session, -2, &calls));
    CHECK(calls == 7);
    planrt_session_delete(session);
}

/* The request is there before its callback is called. */
static planrt_request *handed_out;

static void looks_for_the_request(void *user_data, const planrt_error *error) {
    CHECK(!error && handed_out && planrt_request_poll(handed_out));
    atomic_store((atomic_int *)user_data, 1);
}

static void handed_out_first(void) {
    planrt_session *session = new_session(engine, NULL);
    planrt_tensor in = small_image(image, 1);
    for (int i = 0; i < 300; i++) {
        atomic_int seen = 0;
        planrt_request_options how = {.struct_size = sizeof how, .callback = looks_for_the_request, .user_data = &seen};
        handed_out = NULL;
        OK(planrt_session_submit(session, &in, 1, NULL, 0, &how, &handed_out));
        while (!atomic_load(&seen)) {
        }
        planrt_request_delete(handed_out);
    }
    planrt_session_delete(session);
}

/* The same tensors do not make two files one model. */
static void one_model_only(planrt_runtime *runtime) {
    planrt_session *session = NULL;
    planrt_engine *again = load(runtime, SMALL), *other = NULL;
    const planrt_engine *same[] = {engine, again};
    OK(planrt_session_new(same, 2, NULL, &session));
    planrt_session_delete(session);
    planrt_engine_delete(again);

    FILE *file = fopen(SMALL, "rb");
    CHECK(file);
    static unsigned char bytes[1 << 20];
    size_t size = fread(bytes, 1, sizeof bytes - 3, file);
    fclose(file);
    const unsigned char doc_string[] = {0x32, 1, 'x'};
    memcpy(bytes + size, doc_string, sizeof doc_string);
    OK(planrt_engine_load_memory(runtime, bytes, size + sizeof doc_string, NULL, &other));
    const planrt_engine *different[] = {engine, other};
    session = NULL;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "bytes", planrt_session_new(different, 2, NULL, &session));
    CHECK(!session);
    planrt_engine_delete(other);
}

/* One request after another, in one thread: a session beside a bare context, in turns. */
static double microseconds(void) {
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return 1e6 * (double)now.tv_sec + 1e-3 * (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static void cost(void) {
    enum { ROUNDS = 400 };
    static double bare[ROUNDS], ours[ROUNDS];
    planrt_context *context = new_context(engine);
    planrt_session *session = new_session(engine, NULL);
    planrt_tensor host_in = small_image(image, 1), host_out = small_prob(prob, 1);
    planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1);
    for (int i = 0; i < ROUNDS; i++) {
        double start = microseconds();
        OK(planrt_context_run(context, &host_in, 1, &host_out, 1));
        bare[i] = microseconds() - start;
        start = microseconds();
        OK(planrt_session_run(session, &in, 1, &out, 1, NULL));
        ours[i] = microseconds() - start;
    }
    qsort(bare, ROUNDS, sizeof *bare, ascending);
    qsort(ours, ROUNDS, sizeof *ours, ascending);
    printf("a request: %.1f us in a context, %.1f us in a session (medians)\n", bare[ROUNDS / 2], ours[ROUNDS / 2]);
    if (getenv("PLANRT_TEST_MEASURES")) CHECK(ours[ROUNDS / 2] - bare[ROUNDS / 2] < 20);
    planrt_session_delete(session);
    planrt_context_delete(context);
}

static void tells(void) {
    planrt_session *session = new_session(engine, NULL);
    planrt_tensor in = small_image(image, 2), out = small_prob(prob, 2);
    OK(planrt_session_run(session, &in, 1, &out, 1, NULL));
    planrt_session_statistics statistics = {.struct_size = sizeof statistics};
    OK(planrt_session_get_statistics(session, &statistics));
    CHECK(statistics.submitted == 1 && statistics.succeeded == 1 && statistics.batches[2] == 1);
    CHECK(statistics.total_p50_us >= statistics.run_p50_us * 0.9 && statistics.utilization > 0);
    char *text = NULL;
    OK(planrt_session_get_metrics_text(session, &text));
    CHECK(strstr(text, "planrt_requests_total{model=\"small\",outcome=\"succeeded\"} 1\n"));
    planrt_string_delete(text);
    OK(planrt_session_describe(session, &text));
    printf("%s\n", text);
    CHECK(strstr(text, "\"backend\":\"cpu\"") && strstr(text, "\"ordinal\":null") && strstr(text, "\"lost\":false"));
    planrt_string_delete(text);
    planrt_session_delete(session);
}

int main(void) {
    planrt_runtime *runtime = new_runtime();
    engine = load(runtime, SMALL);
    fill(image, BATCH * IMAGE);
    run_context(expected, BATCH);
    memset(prob, UNTOUCHED, sizeof prob);
    waits_and_polls();
    calls_back();
    ends_in_a_callback();
    refuses();
    times();
    handed_out_first();
    one_model_only(runtime);
    tells();
    cost();
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
    return 0;
}
