/* What a fork leaves: the parent goes on, the child is told that the parent's handles are not for it, and begins anew. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "small_session.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static planrt_runtime *runtime;
static planrt_engine *engine;
static planrt_context *context;
static planrt_session *session;
static planrt_request *request;
static planrt_session_options *options;
static float image[2 * IMAGE], prob[2 * PROB];
static atomic_bool stop;

static void try_everything(void) {
    planrt_tensor in = small_image(image, 2), out = small_prob(prob, 2);
    planrt_engine *no_engine = NULL;
    planrt_context *no_context = NULL;
    planrt_session *no_session = NULL;
    planrt_request *no_request = NULL;
    const planrt_engine *engines = engine;
    char *text = NULL;
    FAILS(PLANRT_ERROR_FORKED, "fork", planrt_context_run(context, &in, 1, &out, 1));
    FAILS(PLANRT_ERROR_FORKED, "fork", planrt_context_enqueue(context, NULL));
    FAILS(PLANRT_ERROR_FORKED, "fork", planrt_session_run(session, &in, 1, &out, 1, NULL));
    FAILS(PLANRT_ERROR_FORKED, "fork", planrt_session_submit(session, &in, 1, &out, 1, NULL, &no_request));
    FAILS(PLANRT_ERROR_FORKED, "fork", planrt_request_wait(request, -1, NULL));
    FAILS(PLANRT_ERROR_FORKED, "fork", planrt_context_new(engine, &no_context));
    FAILS(PLANRT_ERROR_FORKED, "fork", planrt_session_new(&engines, 1, NULL, &no_session));
    FAILS(PLANRT_ERROR_FORKED, "fork", planrt_engine_load_file(runtime, SMALL, NULL, &no_engine));
    FAILS(PLANRT_ERROR_FORKED, "fork", planrt_runtime_describe(runtime, &text));
    CHECK(!no_engine && !no_context && !no_session && !no_request && !text);
    CHECK(!planrt_request_poll(request));
    planrt_request_cancel(request);
    planrt_context_cancel(context);
}

static void delete_everything(void) {
    planrt_request_delete(request);
    planrt_session_delete(session);
    planrt_session_options_delete(options);
    planrt_context_delete(context);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
}

static void make_everything(void) {
    planrt_tensor in = small_image(image, 2), out = small_prob(prob, 2);
    runtime = new_runtime();
    engine = load(runtime, SMALL);
    context = new_context(engine);
    OK(planrt_session_options_new(&options));
    session = new_session(engine, options);
    OK(planrt_context_run(context, &in, 1, &out, 1));
    CHECK(sums_to_one(prob, 2));
    OK(planrt_session_submit(session, &in, 1, &out, 1, NULL, &request));
    OK(planrt_request_wait(request, -1, NULL));
    CHECK(sums_to_one(prob, 2));
}

static int in_child(void (*work)(void)) {
    fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60); /* it may not hang */
        work();
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static void grandchild(void) {
    try_everything();
    delete_everything();
    make_everything();
    CHECK(in_child(try_everything) == 0);
    delete_everything();
}

static void *submit_for_ever(void *unused) {
    (void)unused;
    static _Thread_local float in_data[IMAGE], out_data[PROB];
    while (!atomic_load(&stop)) {
        planrt_tensor in = small_image(in_data, 1), out = small_prob(out_data, 1);
        OK(planrt_session_run(session, &in, 1, &out, 1, NULL));
    }
    return NULL;
}

int main(void) {
    make_everything();
    CHECK(in_child(grandchild) == 0);

#if !defined __SANITIZE_ADDRESS__ /* whose allocator's own locks do not survive that */
    /* While other threads are in calls, and hold what a child must not wait for. */
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, submit_for_ever, NULL) == 0);
    for (int i = 0; i < 20; i++) CHECK(in_child(grandchild) == 0);
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
#else
    (void)submit_for_ever;
#endif

    /* The parent has noticed nothing. */
    planrt_tensor in = small_image(image, 2), out = small_prob(prob, 2);
    OK(planrt_context_run(context, &in, 1, &out, 1));
    OK(planrt_session_run(session, &in, 1, &out, 1, NULL));
    CHECK(sums_to_one(prob, 2));
    delete_everything();
    return 0;
}
