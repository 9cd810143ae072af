/* More than one thread: a context caught in use, a run cancelled, one engine shared by many contexts. */

#include "small_model.h"

#include <pthread.h>
#include <stdatomic.h>

enum { SLOW_VOXELS = 64 * 64 * 64, THREADS = 4, RUNS = 20 };

static float slow_image[SLOW_VOXELS], slow_prob[SLOW_VOXELS];
static planrt_tensor slow_in = {.struct_size = sizeof slow_in, .name = "image", .input_data = slow_image,
                                .size_bytes = sizeof slow_image, .element_type = PLANRT_FLOAT32,
                                .rank = 5, .shape = {1, 1, 64, 64, 64}};
static planrt_tensor slow_out = {.struct_size = sizeof slow_out, .name = "prob", .output_data = slow_prob,
                                 .size_bytes = sizeof slow_prob, .element_type = PLANRT_FLOAT32};
static atomic_bool finished;

static void *run_slow(void *context) {
    planrt_error *error;
    /* Refused where the other thread is just in a call of its own: then once more. */
    while ((error = planrt_context_run(context, &slow_in, 1, &slow_out, 1)) != NULL &&
           planrt_error_get_code(error) == PLANRT_ERROR_IN_USE)
        planrt_error_delete(error);
    atomic_store(&finished, true);
    return error;
}

static pthread_t start_slow(planrt_context *context) {
    pthread_t thread;
    atomic_store(&finished, false);
    CHECK(pthread_create(&thread, NULL, run_slow, context) == 0);
    return thread;
}

static planrt_error *join(pthread_t thread) {
    void *error;
    CHECK(pthread_join(thread, &error) == 0);
    return error;
}

/* While one thread runs the context, each call of another thread on it is refused, and the run is not disturbed. */
static void in_use(planrt_context *context) {
    const int64_t shape[] = {1, 1, 64, 64, 64};
    pthread_t thread = start_slow(context);
    planrt_error *error = NULL;
    while (!error && !atomic_load(&finished)) error = planrt_context_set_shape(context, "image", shape, 5);
    FAILS(PLANRT_ERROR_IN_USE, "thread", error);
    FAILS(PLANRT_ERROR_IN_USE, "thread", planrt_context_run(context, &slow_in, 1, &slow_out, 1));
    FAILS(PLANRT_ERROR_IN_USE, "thread", planrt_context_enqueue(context, NULL));
    FAILS(PLANRT_ERROR_IN_USE, "thread", planrt_context_bind(context, "image", slow_image, sizeof slow_image));
    CHECK(!atomic_load(&finished)); /* or the test says nothing: make slow.onnx slower */
    OK(join(thread));
}

static void cancelled(planrt_context *context) {
    memset(slow_prob, UNTOUCHED, sizeof slow_prob);
    pthread_t thread = start_slow(context);
    planrt_context_cancel(context); /* the run under way, or the next one if it has not begun */
    FAILS(PLANRT_ERROR_CANCELLED, "cancel", join(thread));
    CHECK(untouched(slow_prob, sizeof slow_prob));

    OK(join(start_slow(context))); /* the next run is not cancelled */
    CHECK(!untouched(slow_prob, sizeof slow_prob));
}

struct worker {
    planrt_engine *engine;
    const float *image, *expected;
};

static void *work(void *argument) {
    const struct worker *worker = argument;
    planrt_context *context = new_context(worker->engine);
    float *prob = malloc(PROB * sizeof *prob);
    for (int run = 0; run < RUNS; run++) {
        planrt_tensor in = small_image(worker->image, 1), out = small_prob(prob, 1);
        OK(planrt_context_run(context, &in, 1, &out, 1));
        CHECK(memcmp(prob, worker->expected, PROB * sizeof *prob) == 0);
    }
    free(prob);
    planrt_context_delete(context);
    return NULL;
}

/* Contexts of one engine run at once, each with the result that it has alone. */
static void many_contexts(planrt_engine *engine) {
    static float image[THREADS * IMAGE], expected[THREADS * PROB];
    fill(image, sizeof image / sizeof *image);
    planrt_context *context = new_context(engine);
    planrt_tensor in = small_image(image, THREADS), out = small_prob(expected, THREADS);
    OK(planrt_context_run(context, &in, 1, &out, 1));
    planrt_context_delete(context);

    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){engine, image + i * IMAGE, expected + i * PROB};
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void) {
    planrt_runtime *runtime = new_runtime();
    planrt_engine *slow = load(runtime, MODELS "/slow.onnx"), *small = load(runtime, SMALL);
    planrt_context *context = new_context(slow);
    in_use(context);
    cancelled(context);
    many_contexts(small);
    planrt_context_delete(context);
    planrt_engine_delete(slow);
    planrt_engine_delete(small);
    planrt_runtime_delete(runtime);
    return 0;
}
