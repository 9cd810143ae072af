/* Many threads, one session: requests of random sizes, priorities and deadlines, some cancelled. Every request is
 * answered exactly once, right if it succeeded, and memory stays flat.
 *
 * usage: session_stress [REQUESTS [THREADS]]       20000 and 8; the soak is 1000000 */

#include "small_session.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

enum { LARGEST = 4, IN_FLIGHT = 8 };

static float image[LARGEST * IMAGE], expected[LARGEST * PROB];
static planrt_session *session;
static long requests_a_thread;
static atomic_long called, with_callback, succeeded, cancelled, late, refused;

struct slot {
    planrt_request *request;
    float prob[LARGEST * PROB];
    int64_t batch;
    bool calls;
    atomic_int calls_made;
};

static void on_answer(void *user_data, const planrt_error *error) {
    struct slot *slot = user_data;
    (void)planrt_error_get_code(error);
    CHECK(atomic_fetch_add(&slot->calls_made, 1) == 0);
    atomic_fetch_add(&called, 1);
}

static uint32_t dice(uint64_t *random, uint32_t sides) {
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33) % sides;
}

static void finish(struct slot *slot) {
    if (!slot->request) return;
    planrt_error *error = planrt_request_wait(slot->request, -1, NULL);
    switch (planrt_error_get_code(error)) {
    case 0:
        CHECK(memcmp(slot->prob, expected, (size_t)slot->batch * PROB * sizeof(float)) == 0);
        atomic_fetch_add(&succeeded, 1);
        break;
    case PLANRT_ERROR_CANCELLED: atomic_fetch_add(&cancelled, 1); break;
    case PLANRT_ERROR_DEADLINE: atomic_fetch_add(&late, 1); break;
    default: check_failed(__FILE__, __LINE__, "the answer", planrt_error_get_message(error));
    }
    planrt_error_delete(error);
    /* The slot is used again: its callback must have been. */
    while (slot->calls && !atomic_load(&slot->calls_made)) {
    }
    planrt_request_delete(slot->request);
    slot->request = NULL;
}

static void *work(void *seed) {
    uint64_t random = (uint64_t)(uintptr_t)seed;
    struct slot *slots = calloc(IN_FLIGHT, sizeof *slots);
    CHECK(slots);
    for (long i = 0; i < requests_a_thread; i++) {
        struct slot *slot = &slots[dice(&random, IN_FLIGHT)];
        finish(slot);
        slot->batch = 1 + dice(&random, 8) % LARGEST;
        slot->calls = dice(&random, 3) == 0;
        atomic_store(&slot->calls_made, 0);
        planrt_tensor in = small_image(image, slot->batch), out = small_prob(slot->prob, slot->batch);
        planrt_request_options options = {.struct_size = sizeof options, .priority = (int32_t)dice(&random, 3)};
        if (dice(&random, 4) == 0) options.timeout_us = 1 + dice(&random, 2000);
        if (slot->calls) options.callback = on_answer, options.user_data = slot;
        planrt_error *error = planrt_session_submit(session, &in, 1, &out, 1, &options, &slot->request);
        if (error) {
            CHECK(planrt_error_get_code(error) == PLANRT_ERROR_DEADLINE); /* while it waited for room */
            planrt_error_delete(error);
            atomic_fetch_add(&refused, 1);
            continue;
        }
        atomic_fetch_add(&with_callback, slot->calls);
        if (dice(&random, 5) == 0) planrt_request_cancel(slot->request);
    }
    for (int i = 0; i < IN_FLIGHT; i++) finish(&slots[i]);
    free(slots);
    return NULL;
}

static long resident_kilobytes(void) {
    long pages = 0, skipped = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file) {
        if (fscanf(file, "%ld %ld", &skipped, &pages) != 2) pages = 0;
        fclose(file);
    }
    return pages * 4;
}

static void round_of(int threads) {
    pthread_t running[64];
    for (int i = 0; i < threads; i++)
        CHECK(pthread_create(&running[i], NULL, work, (void *)(uintptr_t)(i + 1)) == 0);
    for (int i = 0; i < threads; i++) CHECK(pthread_join(running[i], NULL) == 0);
}

int main(int argc, char **argv) {
    long requests = argc > 1 ? atol(argv[1]) : 20000;
    int threads = argc > 2 ? atoi(argv[2]) : 8;
    CHECK(requests > 0 && threads > 0 && threads <= 64);

    planrt_runtime *runtime = new_runtime();
    planrt_engine *engine = load(runtime, MODELS "/tiny.onnx");
    for (int item = 0; item < LARGEST; item++) fill(image + item * IMAGE, IMAGE);
    planrt_context *context = new_context(engine);
    planrt_tensor in = small_image(image, LARGEST), out = small_prob(expected, LARGEST);
    OK(planrt_context_run(context, &in, 1, &out, 1));
    planrt_context_delete(context);

    planrt_session_options *options = NULL;
    OK(planrt_session_options_new(&options));
    OK(planrt_session_options_set_largest_batch(options, LARGEST));
    OK(planrt_session_options_set_contexts(options, 2));
    OK(planrt_session_options_set_queue(options, 32, PLANRT_WHEN_FULL_BLOCK));
    session = new_session(engine, options);
    planrt_session_options_delete(options);

    /* A tenth to warm up, then the rest. */
    requests_a_thread = requests / threads / 10;
    round_of(threads);
    long before = resident_kilobytes();
    requests_a_thread = requests / threads - requests_a_thread;
    round_of(threads);
    long after = resident_kilobytes();

    planrt_session_statistics statistics = {.struct_size = sizeof statistics};
    OK(planrt_session_get_statistics(session, &statistics));
    planrt_session_delete(session);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
    printf("%" PRIu64 " requests: %ld succeeded, %ld cancelled, %ld late, %ld refused; %ld callbacks; "
           "resident %ld kB, then %ld kB\n",
           statistics.submitted, atomic_load(&succeeded), atomic_load(&cancelled), atomic_load(&late),
           atomic_load(&refused), atomic_load(&called), before, after);
    CHECK(atomic_load(&called) == atomic_load(&with_callback));
    CHECK(statistics.succeeded == (uint64_t)atomic_load(&succeeded));
    CHECK(statistics.submitted == statistics.succeeded + statistics.cancelled + statistics.timed_out);
    CHECK(statistics.cancelled == (uint64_t)atomic_load(&cancelled));
    if (getenv("PLANRT_TEST_MEASURES")) CHECK(after - before < 4096);
    return 0;
}
