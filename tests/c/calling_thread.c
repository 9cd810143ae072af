/* A call leaves the thread that makes it as it was, and does not depend on how it was: floating-point modes and errno,
 * a pthread_cancel that waits. Threads of planrt's take no signals. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "small_session.h"

#include <dirent.h>
#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 3 };

static float image[BATCH * IMAGE], prob[BATCH * PROB], expected[BATCH * PROB];

static planrt_engine *load_with(planrt_runtime *runtime, const char *path, int32_t threads) {
    planrt_engine_options *options = NULL;
    planrt_engine *engine = NULL;
    OK(planrt_engine_options_new(&options));
    OK(planrt_engine_options_set_cpu_threads(options, threads));
    OK(planrt_engine_load_file(runtime, path, options, &engine));
    planrt_engine_options_delete(options);
    return engine;
}

/* Floating point. */

#if defined __x86_64__
#include <xmmintrin.h>
enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x40 };
static unsigned control(void) { return _mm_getcsr() & ~0x3fu; } /* but what was raised */
static void flush_denormals(void) { _mm_setcsr(_mm_getcsr() | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO); }
#else
static unsigned control(void) { return 0; }
static void flush_denormals(void) {}
#endif

static void as_it_is(void) {}
static void upward(void) { fesetround(FE_UPWARD); }
static void downward(void) { fesetround(FE_DOWNWARD); }
static void to_zero(void) { fesetround(FE_TOWARDZERO); }
static void with_traps(void) { feenableexcept(FE_ALL_EXCEPT); }

/* Each voxel of the batch the same, one of them denormal: a third of it is the same in each, whoever computes it. */
static void modes(void) {
    void (*const set[])(void) = {as_it_is, flush_denormals, upward, downward, to_zero, with_traps};
    for (size_t i = 0; i < BATCH * IMAGE; i++) image[i] = i % 2 ? 1e-40f : (float)(i % IMAGE) + 0.1f;
    for (int32_t threads = 1; threads <= 2; threads++) {
        planrt_runtime *runtime = new_runtime();
        planrt_engine *first = load_with(runtime, MODELS "/third.onnx", threads);
        planrt_context *context = new_context(first);
        planrt_tensor in = small_image(image, BATCH), out = small_prob(prob, BATCH);
        for (size_t mode = 0; mode < sizeof set / sizeof *set; mode++) {
            set[mode]();
            feclearexcept(FE_ALL_EXCEPT);
            errno = 4711;
            const int rounding = fegetround(), traps = fegetexcept();
            const unsigned before = control();
            /* Made, run and deleted in this mode: constants are computed, and threads inherit modes. */
            planrt_engine *engine = load_with(runtime, MODELS "/third.onnx", threads);
            planrt_session *session = new_session(engine, NULL);
            for (int way = 0; way < 2; way++) {
                memset(prob, 0, sizeof prob);
                OK(way ? planrt_session_run(session, &in, 1, &out, 1, NULL) : planrt_context_run(context, &in, 1, &out, 1));
                if (mode == 0 && way == 0 && threads == 1) {
                    memcpy(expected, prob, sizeof expected);
                    CHECK(expected[1] > 0 && expected[1] < 1e-40f);
                }
                CHECK(memcmp(prob, expected, sizeof prob) == 0);
            }
            planrt_session_delete(session);
            planrt_engine_delete(engine);
            CHECK(fetestexcept(FE_ALL_EXCEPT) == 0);
            CHECK(control() == before && fegetround() == rounding && fegetexcept() == traps);
            CHECK(errno == 4711);
            /* What the caller has seen stays seen. */
            if (!traps) {
                feraiseexcept(FE_OVERFLOW);
                OK(planrt_context_run(context, &in, 1, &out, 1));
                CHECK(fetestexcept(FE_ALL_EXCEPT & ~FE_INEXACT) == FE_OVERFLOW);
            }
            fesetenv(FE_DFL_ENV);
        }
        planrt_context_delete(context);
        planrt_engine_delete(first);
        planrt_runtime_delete(runtime);
    }
}

static int rounding_in_callback;

static void callback(void *user_data, const planrt_error *error) {
    CHECK(!error);
    rounding_in_callback = fegetround();
    fesetround(FE_DOWNWARD);
    planrt_request_cancel(user_data ? *(planrt_request **)user_data : NULL);
    CHECK(fegetround() == FE_DOWNWARD);
}

/* A callback on a thread of the application's finds that thread's mode, and what it sets there stays. */
static void modes_of_callbacks(void) {
    planrt_runtime *runtime = new_runtime();
    planrt_engine *engine = load(runtime, MODELS "/third.onnx");
    planrt_session_options *options = NULL;
    OK(planrt_session_options_new(&options));
    OK(planrt_session_options_set_pumped(options, true));
    planrt_session *session = new_session(engine, options);
    planrt_session_options_delete(options);
    planrt_request *request = NULL;
    planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1);
    planrt_request_options with = {.struct_size = sizeof with, .callback = callback, .user_data = &request};
    OK(planrt_session_submit(session, &in, 1, &out, 1, &with, &request));
    OK(planrt_request_wait(request, -1, NULL));
    fesetround(FE_UPWARD);
    OK(planrt_session_pump(session, -1, NULL));
    CHECK(rounding_in_callback == FE_UPWARD);
    CHECK(fegetround() == FE_DOWNWARD);
    fesetenv(FE_DFL_ENV);
    planrt_request_delete(request);
    planrt_session_delete(session);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
}

/* Cancellation. */

static planrt_runtime *runtime;
static planrt_engine *engine;
static planrt_context *context;
static planrt_session *session;
static planrt_request *request;
static planrt_request_options pumped_options;
static char *text;
static int returned;

static void pause_in(void *user_data, planrt_log_level level, const char *message) {
    (void)user_data, (void)level, (void)message;
    nanosleep(&(struct timespec){0, 1000}, NULL); /* where a cancellation would take place */
}
static void pause_callback(void *user_data, const planrt_error *error) {
    CHECK(!error);
    pause_in(user_data, 0, "");
}
static void make_runtime(void) {
    planrt_runtime_options *options = NULL;
    OK(planrt_runtime_options_new(&options));
    OK(planrt_runtime_options_set_log(options, pause_in, NULL, NULL, PLANRT_LOG_DEBUG));
    OK(planrt_runtime_new(options, &runtime));
    planrt_runtime_options_delete(options);
}
static void examine(void) { OK(planrt_doctor(NULL, SMALL, &text, NULL)); }
static void load_engine(void) { engine = load_with(runtime, SMALL, 2); }
static void make_context(void) { context = new_context(engine); }
static void run_first(void) {
    planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1);
    OK(planrt_context_run(context, &in, 1, &out, 1));
}
static void make_session(void) {
    planrt_session_options *options = NULL;
    OK(planrt_session_options_new(&options));
    OK(planrt_session_options_set_pumped(options, true));
    session = new_session(engine, options);
    planrt_session_options_delete(options);
}
static void run_in_session(void) {
    planrt_tensor in = small_image(image, 2), out = small_prob(prob, 2);
    OK(planrt_session_run(session, &in, 1, &out, 1, NULL));
}
static void submit(void) {
    planrt_tensor in = small_image(image, 1), out = small_prob(prob, 1);
    pumped_options.struct_size = sizeof pumped_options;
    pumped_options.callback = pause_callback;
    OK(planrt_session_submit(session, &in, 1, &out, 1, &pumped_options, &request));
}
static void await(void) { OK(planrt_request_wait(request, -1, NULL)); }
static void pump(void) { OK(planrt_session_pump(session, -1, NULL)); }
static void delete_request(void) { planrt_request_delete(request); }
static void delete_session(void) { planrt_session_delete(session); }
static void delete_context(void) { planrt_context_delete(context); }
static void delete_engine(void) { planrt_engine_delete(engine); }
static void delete_runtime(void) { planrt_runtime_delete(runtime); }

static void *call_cancelled(void *call) {
    pthread_cancel(pthread_self());
    (*(void (**)(void))call)();
    returned = 1;
    pthread_testcancel();
    return NULL;
}

/* A cancellation that comes before a call, or during it, takes place when the call has returned. */
static void cancellation(void) {
    void (*calls[])(void) = {make_runtime, examine, load_engine, make_context, run_first, make_session, run_in_session,
                             submit, await, pump, delete_request, delete_session, delete_context, delete_engine,
                             delete_runtime};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        pthread_t thread;
        void *result = NULL;
        returned = 0;
        CHECK(pthread_create(&thread, NULL, call_cancelled, &calls[i]) == 0);
        CHECK(pthread_join(thread, &result) == 0);
        CHECK(returned && result == PTHREAD_CANCELED);
    }
    planrt_string_delete(text);
}

/* Signals. */

/* Whether a thread is one of planrt's, by its name, and the signals that it holds back. */
static bool is_ours(const char *task, unsigned long long *held) {
    char path[300], line[300];
    bool ours = false;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (!strncmp(line, "Name:\tplanrt", 12)) ours = true;
        sscanf(line, "SigBlk: %llx", held);
    }
    if (file) fclose(file);
    return ours;
}

/* How many threads are planrt's; each holds back what is no fault of its own. */
static int count_ours(void) {
    int ours = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        unsigned long long held = 0;
        if (!is_ours(task->d_name, &held)) continue;
        ours++;
        for (int signal = 1; signal < 32; signal++) {
            const bool is_fault = signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL ||
                                  signal == SIGTRAP || signal == SIGSYS || signal == SIGABRT;
            if (signal != SIGKILL && signal != SIGSTOP) CHECK((held >> (signal - 1) & 1) == !is_fault);
        }
    }
    closedir(tasks);
    return ours;
}

static void signals(void) {
    runtime = new_runtime();
    engine = load_with(runtime, SMALL, 2);
    session = new_session(engine, NULL);
    run_in_session();
    /* Two of the engine, a worker, and one for callbacks; a thread takes its name when it first runs. */
    for (int turn = 0; count_ours() < 4; turn++) {
        CHECK(turn < 1000);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }

    /* One that the application holds back, to take it where it likes, ends nothing. */
    sigset_t set;
    int taken = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR1);
    run_in_session();
    CHECK(sigwait(&set, &taken) == 0 && taken == SIGUSR1);

    /* The caller's own signals are as they were. */
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &set) == 0);
    CHECK(sigismember(&set, SIGUSR1) && !sigismember(&set, SIGUSR2) && !sigismember(&set, SIGTERM));
    delete_session();
    delete_engine();
    delete_runtime();
}

int main(void) {
    modes();
    modes_of_callbacks();
    cancellation();
    signals();
    return 0;
}
