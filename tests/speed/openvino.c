/* What planrt costs over plain OpenVINO: the same model, shape and threads, through OpenVINO's own C interface and through planrt,
 * in turns. By hand, on a machine that does nothing else, with a library that is built for release:
 *
 *   cc -O2 -I$OPENVINO/include -I$PREFIX/include tests/speed/openvino.c -o openvino_speed $OPENVINO/libs/libopenvino_c.so.2641 \
 *      -L$PREFIX/lib -lplanrt -Wl,-rpath,$PREFIX/lib:$OPENVINO/libs
 *   ./openvino_speed MODEL.onnx 1x1x96x96x96 THREADS ROUNDS
 *
 * On a machine that does other things, -DCLOCK=CLOCK_PROCESS_CPUTIME_ID compares what both compute with.
 * OPENVINO is the folder openvino of the package on PyPI. The model has one input and one output, both float32, with the batch first.
 * It prints the medians of the rounds, in ms an item, and how many times faster planrt is: one item after the other, then
 * eight at once, which plain OpenVINO has as eight requests over its own streams, and planrt as a batch and as a session. */

#include <openvino/c/openvino.h>
#include <planrt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef CLOCK
#define CLOCK CLOCK_MONOTONIC
#endif

enum { ITEMS = 8, MOST_ROUNDS = 1000, RANK = 5 };

#define OK(call)                                                                                     \
    do {                                                                                             \
        planrt_error *error_ = (call);                                                               \
        if (error_) {                                                                                \
            fprintf(stderr, "%s: %s\n%s\n", #call, planrt_error_get_message(error_), planrt_error_get_detail(error_)); \
            exit(1);                                                                                 \
        }                                                                                            \
    } while (0)
#define OV(call)                                                                       \
    do {                                                                               \
        if ((call) != 0) {                                                             \
            fprintf(stderr, "%s: %s\n", #call, ov_get_last_err_msg());                 \
            exit(1);                                                                   \
        }                                                                              \
    } while (0)

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *times, int count) {
    qsort(times, (size_t)count, sizeof *times, ascending);
    return times[count / 2];
}

static ov_compiled_model_t *compile(ov_core_t *core, ov_model_t *model, const char *hint, const char *threads) {
    ov_compiled_model_t *compiled = NULL;
    OV(ov_core_compile_model(core, model, "CPU", 8, &compiled, "PERFORMANCE_HINT", hint, "INFERENCE_PRECISION_HINT", "f32",
                             "EXECUTION_MODE_HINT", "ACCURACY", "INFERENCE_NUM_THREADS", threads));
    return compiled;
}

static ov_infer_request_t *request(ov_compiled_model_t *compiled, const int64_t *in, const int64_t *out, int64_t out_rank, float *x, float *y) {
    ov_infer_request_t *request = NULL;
    OV(ov_compiled_model_create_infer_request(compiled, &request));
    ov_shape_t shape;
    ov_tensor_t *tensor = NULL;
    OV(ov_shape_create(RANK, in, &shape));
    OV(ov_tensor_create_from_host_ptr(F32, shape, x, &tensor));
    OV(ov_infer_request_set_input_tensor_by_index(request, 0, tensor));
    OV(ov_shape_create(out_rank, out, &shape));
    OV(ov_tensor_create_from_host_ptr(F32, shape, y, &tensor));
    OV(ov_infer_request_set_output_tensor_by_index(request, 0, tensor));
    return request;
}

int main(int count, char **arguments) {
    if (count != 5) return fprintf(stderr, "usage: %s MODEL.onnx 1x1xDxHxW THREADS ROUNDS\n", arguments[0]), 2;
    int64_t in[RANK];
    const char *text = arguments[2];
    size_t elements = 1;
    for (int i = 0; i < RANK; i++) {
        in[i] = strtoll(text, (char **)&text, 10);
        elements *= (size_t)in[i];
        text += *text == 'x';
    }
    const int rounds = atoi(arguments[4]) < MOST_ROUNDS ? atoi(arguments[4]) : MOST_ROUNDS;

    /* planrt */
    planrt_runtime *runtime = NULL;
    planrt_engine_options *options = NULL;
    planrt_engine *engine = NULL;
    planrt_context *context = NULL, *batched = NULL;
    planrt_session *session = NULL;
    OK(planrt_runtime_new(NULL, &runtime)); /* takes the OpenVINO that is in the process */
    OK(planrt_engine_options_new(&options));
    OK(planrt_engine_options_set_cpu_backend(options, PLANRT_BACKEND_OPENVINO));
    OK(planrt_engine_options_set_cpu_threads(options, atoi(arguments[3])));
    OK(planrt_engine_load_file(runtime, arguments[1], options, &engine));
    OK(planrt_context_new(engine, &context));
    OK(planrt_context_new(engine, &batched));
    OK(planrt_session_new(&(const planrt_engine *){engine}, 1, NULL, &session));
    planrt_tensor_info input = {.struct_size = sizeof input}, output = {.struct_size = sizeof output};
    OK(planrt_engine_get_tensor_info(engine, 0, &input));
    OK(planrt_engine_get_tensor_info(engine, 1, &output));
    OK(planrt_context_set_shape(context, input.name, in, RANK));
    int64_t out[PLANRT_MAX_RANK];
    int32_t out_rank = 0;
    OK(planrt_context_get_shape(context, output.name, out, &out_rank));
    size_t out_elements = 1;
    for (int i = 0; i < out_rank; i++) out_elements *= (size_t)out[i];
    float *x = malloc(ITEMS * elements * sizeof *x), *y = malloc(ITEMS * out_elements * sizeof *y),
          *z = malloc(ITEMS * out_elements * sizeof *z);
    for (size_t i = 0; i < ITEMS * elements; i++) x[i] = (float)rand() / (float)RAND_MAX;

    /* plain OpenVINO */
    ov_core_t *core = NULL;
    ov_model_t *model = NULL;
    OV(ov_core_create(&core));
    OV(ov_core_read_model(core, arguments[1], NULL, &model));
    ov_partial_shape_t partial;
    OV(ov_partial_shape_create_static(RANK, in, &partial));
    OV(ov_model_reshape_single_input(model, partial));
    ov_infer_request_t *one = request(compile(core, model, "LATENCY", arguments[3]), in, out, out_rank, x, y);
    ov_compiled_model_t *many = compile(core, model, "THROUGHPUT", arguments[3]);
    ov_infer_request_t *all[ITEMS];
    for (int i = 0; i < ITEMS; i++)
        all[i] = request(many, in, out, out_rank, x + (size_t)i * elements, y + (size_t)i * out_elements);

    planrt_tensor given[2 * ITEMS], taken[2 * ITEMS];
    memset(given, 0, sizeof given);
    memset(taken, 0, sizeof taken);
    for (int i = 0; i <= ITEMS; i++) { /* the last is the batch */
        const int items = i < ITEMS ? 1 : ITEMS, first = i < ITEMS ? i : 0;
        given[i] = (planrt_tensor){.struct_size = sizeof *given, .name = input.name, .input_data = x + (size_t)first * elements,
                                   .size_bytes = (size_t)items * elements * sizeof *x, .element_type = PLANRT_FLOAT32,
                                   .memory_kind = PLANRT_MEMORY_HOST, .rank = RANK};
        memcpy(given[i].shape, in, sizeof in);
        given[i].shape[0] = items;
        taken[i] = (planrt_tensor){.struct_size = sizeof *taken, .name = output.name, .output_data = z + (size_t)first * out_elements,
                                   .size_bytes = (size_t)items * out_elements * sizeof *z, .element_type = PLANRT_FLOAT32,
                                   .memory_kind = PLANRT_MEMORY_HOST};
    }

    enum { PLAIN_ONE, PLANRT_ONE, PLAIN_MANY, PLANRT_BATCH, PLANRT_SESSION, KINDS };
    static double times[KINDS][MOST_ROUNDS];
    for (int round = -1; round < rounds; round++) {
        double start[KINDS + 1];
        for (int kind = 0; kind < KINDS; kind++) {
            start[kind] = now();
            planrt_request *requests[ITEMS];
            switch (kind) {
            case PLAIN_ONE: OV(ov_infer_request_infer(one)); break;
            case PLANRT_ONE: OK(planrt_context_run(context, given, 1, taken, 1)); break;
            case PLAIN_MANY:
                for (int i = 0; i < ITEMS; i++) OV(ov_infer_request_start_async(all[i]));
                for (int i = 0; i < ITEMS; i++) OV(ov_infer_request_wait(all[i]));
                break;
            case PLANRT_BATCH: OK(planrt_context_run(batched, given + ITEMS, 1, taken + ITEMS, 1)); break;
            default:
                for (int i = 0; i < ITEMS; i++)
                    OK(planrt_session_submit(session, given + i, 1, taken + i, 1, NULL, &requests[i]));
                for (int i = 0; i < ITEMS; i++) {
                    bool done = false;
                    OK(planrt_request_wait(requests[i], -1, &done));
                    planrt_request_delete(requests[i]);
                }
            }
            if (round >= 0) times[kind][round] = (now() - start[kind]) / (kind < PLAIN_MANY ? 1 : ITEMS);
        }
    }
    double most = 0;
    for (size_t i = 0; i < ITEMS * out_elements; i++) {
        const double off = y[i] > z[i] ? y[i] - z[i] : z[i] - y[i];
        most = off > most ? off : most;
    }
    double medians[KINDS];
    for (int kind = 0; kind < KINDS; kind++) medians[kind] = median(times[kind], rounds);
    printf("one:   OpenVINO %.3f ms, planrt %.3f ms (%.3f)\n", medians[PLAIN_ONE], medians[PLANRT_ONE],
           medians[PLAIN_ONE] / medians[PLANRT_ONE]);
    printf("eight: OpenVINO %.3f ms, planrt's batch %.3f ms (%.3f), session %.3f ms (%.3f)\n", medians[PLAIN_MANY],
           medians[PLANRT_BATCH], medians[PLAIN_MANY] / medians[PLANRT_BATCH], medians[PLANRT_SESSION],
           medians[PLAIN_MANY] / medians[PLANRT_SESSION]);
    printf("the answers differ by %.1e at most\n", most);
    return 0;
}
