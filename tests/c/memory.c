#define _DEFAULT_SOURCE
// Under limits to the address space from next to nothing to enough, loading and running a model by a context and by a
// session ends with success or with an error: never with the process.
#include "../check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXTENT = 96, FAILED = 3 };

static bool failed(planrt_error *error) {
    const bool is_error = error != NULL;
    planrt_error_delete(error);
    return is_error;
}

// What an application does; its own memory is not in question.
static int work(void) {
    static float image[EXTENT * EXTENT * EXTENT], prob[2 * EXTENT * EXTENT * EXTENT];
    planrt_tensor input = {
        .struct_size = sizeof input, .name = "image", .input_data = image, .size_bytes = sizeof image,
        .element_type = PLANRT_FLOAT32, .rank = 5, .shape = {1, 1, EXTENT, EXTENT, EXTENT}};
    planrt_tensor output = {
        .struct_size = sizeof output, .name = "prob", .output_data = prob, .size_bytes = sizeof prob,
        .element_type = PLANRT_FLOAT32};
    planrt_runtime *runtime = NULL;
    planrt_engine *engine = NULL;
    planrt_context *context = NULL;
    planrt_session *session = NULL;
    const bool bad = failed(planrt_runtime_new(NULL, &runtime)) ||
                     failed(planrt_engine_load_file(runtime, MODELS "/any_size.onnx", NULL, &engine)) ||
                     failed(planrt_context_new(engine, &context)) ||
                     failed(planrt_context_run(context, &input, 1, &output, 1)) ||
                     failed(planrt_session_new((const planrt_engine *const *)&engine, 1, NULL, &session)) ||
                     failed(planrt_session_run(session, &input, 1, &output, 1, NULL));
    planrt_session_delete(session);
    planrt_context_delete(context);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
    return bad ? FAILED : 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "work") == 0) return work();
    int succeeded = 0, refused = 0;
    for (rlim_t mebibytes = 76; mebibytes <= 1000; mebibytes += mebibytes < 500 ? 7 : 100) {
        const pid_t child = fork();
        if (child == 0) {
            const struct rlimit limit = {mebibytes << 20, mebibytes << 20};
            if (setrlimit(RLIMIT_AS, &limit) == 0) execl("/proc/self/exe", argv[0], "work", (char *)NULL);
            _exit(2);
        }
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child);
        if (!WIFEXITED(status)) printf("%lld MiB: ended by signal %d\n", (long long)mebibytes, WTERMSIG(status));
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == FAILED);
        succeeded += WEXITSTATUS(status) == 0;
        refused += WEXITSTATUS(status) == FAILED;
    }
    printf("%d succeeded, %d were refused\n", succeeded, refused);
    CHECK(succeeded > 0 && refused > 0);
    return 0;
}
