/* How many requests a second a session answers, with batching and without, for several numbers of threads.
 *
 * C11 and POSIX threads, and nothing but planrt. What an application would write is in ask(), open_session() and
 * measure(): one session for all threads, one call for each request. */

#define _POSIX_C_SOURCE 200809L

#include <planrt.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage[] =
    "usage: throughput MODEL [options]\n"
    "\n"
    "MODEL is a TensorRT plan or an ONNX file, with a batch as its first extent.\n"
    "\n"
    "  --threads 1,4,16     numbers of threads that ask at once (default: 1,2,4,8,16,32)\n"
    "  --memory KIND        host (default), pinned or device\n"
    "  --seconds S          of each measurement (default 2)\n"
    "  --extent N           where the model leaves an extent open (default: the first profile's opt, else 32)\n"
    "  --csv FILE           the table as CSV, for plot_throughput.py\n"
    "  --tensorrt PATH      TensorRT's library or its folder\n";

enum { MAX_TENSORS = 16, MAX_COUNTS = 32, MAX_TIMES = 1 << 20 };

static void stop_if(planrt_error *error)
{
    if (error == NULL)
        return;
    fprintf(stderr, "throughput: %s\n%s\n", planrt_error_get_message(error), planrt_error_get_detail(error));
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- The model, and memory for one request ----------------------------------------------------------------------- */

struct model {
    planrt_runtime *runtime;
    planrt_engine *engine;
    planrt_tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS]; /* without data */
    size_t input_count, output_count;
};

static void describe(struct model *model, const char *path, planrt_memory_kind kind, int64_t extent)
{
    planrt_context *context = NULL;
    stop_if(planrt_engine_load_file(model->runtime, path, NULL, &model->engine));
    stop_if(planrt_context_new(model->engine, &context));
    const int32_t count = planrt_engine_get_tensor_count(model->engine);
    if (count > MAX_TENSORS)
        exit(1);
    for (int32_t i = 0; i < count; ++i) {
        planrt_tensor_info info = {.struct_size = sizeof info};
        stop_if(planrt_engine_get_tensor_info(model->engine, i, &info));
        planrt_tensor tensor = {.struct_size = sizeof tensor, .name = info.name, .element_type = info.element_type,
                                .memory_kind = kind, .rank = info.rank};
        if (info.role == PLANRT_INPUT) { /* inputs come first */
            planrt_profile_shape profile = {.struct_size = sizeof profile};
            if (extent == 0 && planrt_engine_get_profile_count(model->engine) > 0)
                stop_if(planrt_engine_get_profile_shape(model->engine, 0, info.name, &profile));
            for (int32_t axis = 0; axis < info.rank; ++axis) {
                const int64_t open = axis == 0 ? 1 : extent > 0 ? extent : profile.rank > 0 ? profile.opt[axis] : 32;
                tensor.shape[axis] = info.shape[axis] >= 0 ? info.shape[axis] : open;
            }
            stop_if(planrt_context_set_shape(context, info.name, tensor.shape, tensor.rank));
            model->inputs[model->input_count++] = tensor;
        } else {
            model->outputs[model->output_count++] = tensor;
        }
    }
    for (size_t i = 0; i < model->input_count; ++i)
        stop_if(planrt_context_get_size(context, model->inputs[i].name, &model->inputs[i].size_bytes));
    for (size_t i = 0; i < model->output_count; ++i)
        stop_if(planrt_context_get_size(context, model->outputs[i].name, &model->outputs[i].size_bytes));
    planrt_context_delete(context);
}

/* ---- One thread's requests --------------------------------------------------------------------------------------- */

enum phase { WARMING_UP, MEASURED, OVER };

struct caller {
    pthread_t thread;
    planrt_session *session;
    planrt_tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
    size_t input_count, output_count;
    planrt_buffer *buffers[MAX_TENSORS];
    const atomic_int *phase;
    float *times; /* microseconds */
    size_t count;
};

static void *ask(void *argument)
{
    struct caller *caller = argument;
    while (atomic_load(caller->phase) != OVER) {
        const bool counted = atomic_load(caller->phase) == MEASURED && caller->count < MAX_TIMES;
        const double start = now();
        stop_if(planrt_session_run(caller->session, caller->inputs, caller->input_count, caller->outputs,
                                   caller->output_count, NULL));
        if (counted)
            caller->times[caller->count++] = (float)(1e6 * (now() - start));
    }
    return NULL;
}

static planrt_session *open_session(const struct model *model, bool batching)
{
    planrt_session_options *options = NULL;
    planrt_session *session = NULL;
    const planrt_engine *engine = model->engine;
    stop_if(planrt_session_options_new(&options));
    if (!batching)
        stop_if(planrt_session_options_set_largest_batch(options, 1));
    stop_if(planrt_session_new(&engine, 1, options, &session));
    planrt_session_options_delete(options);
    return session;
}

/* ---- The measurement --------------------------------------------------------------------------------------------- */

static void prepare(struct caller *caller, const struct model *model)
{
    caller->input_count = model->input_count;
    caller->output_count = model->output_count;
    memcpy(caller->inputs, model->inputs, sizeof caller->inputs);
    memcpy(caller->outputs, model->outputs, sizeof caller->outputs);
    for (size_t i = 0; i < model->input_count + model->output_count; ++i) {
        const bool is_input = i < model->input_count;
        planrt_tensor *tensor = is_input ? &caller->inputs[i] : &caller->outputs[i - model->input_count];
        stop_if(planrt_buffer_new(model->runtime, tensor->memory_kind, tensor->size_bytes, &caller->buffers[i]));
        void *data = planrt_buffer_get_data(caller->buffers[i]);
        tensor->input_data = is_input ? data : NULL;
        tensor->output_data = is_input ? NULL : data;
    }
    caller->times = malloc(MAX_TIMES * sizeof *caller->times);
    if (caller->times == NULL)
        exit(1);
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void wait_seconds(double seconds)
{
    struct timespec time = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&time, NULL);
}

static void measure(const struct model *model, bool batching, int threads, double seconds, const char *memory, FILE *csv)
{
    planrt_session *session = open_session(model, batching);
    struct caller *callers = calloc((size_t)threads, sizeof *callers);
    atomic_int phase = WARMING_UP;
    for (int i = 0; i < threads; ++i) {
        prepare(&callers[i], model);
        callers[i].session = session;
        callers[i].phase = &phase;
        if (pthread_create(&callers[i].thread, NULL, ask, &callers[i]) != 0)
            exit(1);
    }
    wait_seconds(seconds / 4 + 0.2);
    atomic_store(&phase, MEASURED);
    const double start = now();
    wait_seconds(seconds);
    const double elapsed = now() - start;
    atomic_store(&phase, OVER);

    size_t count = 0;
    float *all = NULL;
    for (int i = 0; i < threads; ++i) {
        struct caller *caller = &callers[i];
        pthread_join(caller->thread, NULL);
        all = realloc(all, (count + caller->count + 1) * sizeof *all);
        memcpy(all + count, caller->times, caller->count * sizeof *all);
        count += caller->count;
        free(caller->times);
        for (size_t j = 0; j < MAX_TENSORS; ++j)
            planrt_buffer_delete(caller->buffers[j]);
    }
    planrt_session_statistics statistics = {.struct_size = sizeof statistics};
    stop_if(planrt_session_get_statistics(session, &statistics));
    uint64_t batches = 0;
    for (size_t i = 0; i < PLANRT_BATCH_SIZES; ++i)
        batches += statistics.batches[i];
    qsort(all, count, sizeof *all, ascending);
    const double rate = (double)count / elapsed, batch = batches > 0 ? (double)statistics.items / (double)batches : 0;
    const double p50 = count > 0 ? all[count / 2] : 0, p95 = count > 0 ? all[count * 95 / 100] : 0;
    printf("%7d  %-9s %-7s %12.1f %10.0f %10.0f %8.2f\n", threads, batching ? "on" : "off", memory, rate, p50, p95, batch);
    fflush(stdout);
    if (csv != NULL)
        fprintf(csv, "%d,%s,%s,%.2f,%.1f,%.1f,%.3f\n", threads, batching ? "on" : "off", memory, rate, p50, p95, batch);
    free(all);
    free(callers);
    planrt_session_delete(session);
}

/* "1,4,16" as numbers; how many, or 0 where that is no such list. */
static int parse_counts(const char *list, int counts[MAX_COUNTS])
{
    for (int count = 0; count < MAX_COUNTS;) {
        char *end;
        const long number = strtol(list, &end, 10);
        if (end == list || number < 1 || number > 1024)
            return 0;
        counts[count++] = (int)number;
        if (*end == '\0')
            return count;
        if (*end != ',')
            return 0;
        list = end + 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *path = NULL, *list = "1,2,4,8,16,32", *memory = "host", *csv_path = NULL, *tensorrt = NULL;
    double seconds = 2;
    int64_t extent = 0;
    for (int i = 1; i < argc; ++i) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            return 0;
        }
        const char *value = strncmp(argv[i], "--", 2) == 0 && i + 1 < argc ? argv[i + 1] : NULL;
        if (value != NULL && strcmp(argv[i], "--threads") == 0)
            list = value;
        else if (value != NULL && strcmp(argv[i], "--memory") == 0)
            memory = value;
        else if (value != NULL && strcmp(argv[i], "--seconds") == 0)
            seconds = atof(value);
        else if (value != NULL && strcmp(argv[i], "--extent") == 0)
            extent = atoll(value);
        else if (value != NULL && strcmp(argv[i], "--csv") == 0)
            csv_path = value;
        else if (value != NULL && strcmp(argv[i], "--tensorrt") == 0)
            tensorrt = value;
        else if (value == NULL && path == NULL && argv[i][0] != '-')
            path = argv[i];
        else
            path = "";
        i += value != NULL;
    }
    const planrt_memory_kind kind = strcmp(memory, "host") == 0     ? PLANRT_MEMORY_HOST
                                    : strcmp(memory, "pinned") == 0 ? PLANRT_MEMORY_PINNED
                                    : strcmp(memory, "device") == 0 ? PLANRT_MEMORY_DEVICE
                                                                    : 0;
    int counts[MAX_COUNTS];
    const int count = parse_counts(list, counts);
    if (path == NULL || *path == '\0' || kind == 0 || count == 0 || !(seconds > 0)) {
        fputs(usage, stderr);
        return 2;
    }

    struct model model = {0};
    planrt_runtime_options *options = NULL;
    stop_if(planrt_runtime_options_new(&options));
    stop_if(planrt_runtime_options_set_tensorrt_path(options, tensorrt));
    stop_if(planrt_runtime_new(options, &model.runtime));
    planrt_runtime_options_delete(options);
    describe(&model, path, kind, extent);
    FILE *csv = csv_path != NULL ? fopen(csv_path, "w") : NULL;
    if (csv_path != NULL && csv == NULL) {
        perror(csv_path);
        return 1;
    }
    if (csv != NULL)
        fputs("threads,batching,memory,requests_per_second,p50_us,p95_us,mean_batch\n", csv);
    printf("%s on %s\n", path, planrt_engine_get_device_name(model.engine));
    printf("threads  batching  memory    requests/s     p50 us     p95 us    batch\n");
    for (int i = 0; i < count; ++i)
        for (int batching = 1; batching >= 0; --batching)
            measure(&model, batching, counts[i], seconds, memory, csv);
    const bool written = csv == NULL || fclose(csv) == 0;
    planrt_engine_delete(model.engine);
    planrt_runtime_delete(model.runtime);
    return written ? 0 : 1;
}
