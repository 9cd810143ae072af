/* Loads a model, says what is in it, runs it on zeros or on raw files, and says what came out.
 *
 * C11, and nothing but planrt. It shows both ways to run: planrt_context_run, from host memory to host memory in one
 * call; and, with --device-memory, buffers, a stream, planrt_context_bind and planrt_context_enqueue, for applications
 * that keep their data on the GPU. */

#include <planrt.h>

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage[] =
    "usage: run_model MODEL [options]\n"
    "\n"
    "MODEL is a TensorRT plan or an ONNX file.\n"
    "\n"
    "  --input NAME=FILE    raw elements of an input, in the model's own element type (default: zeros)\n"
    "  --shape NAME=1x1x32  shape of an input (default: opt of the first profile; without profiles 1 where dynamic)\n"
    "  --output NAME=FILE   where to write an output's raw elements\n"
    "  --repeat N           runs (default 1)\n"
    "  --device-memory      bind buffers and enqueue on a stream, instead of the one call from host to host\n"
    "  --device N           ordinal of the GPU\n"
    "  --tensorrt PATH      TensorRT's library or its folder\n"
    "  --plugin PATH        a library of TensorRT plugins; may be repeated\n"
    "  --threads N          threads of the CPU\n";

/* ---- The command line -------------------------------------------------------------------------------------------- */

enum { MAX_NAMED = 64 };

/* NAME=VALUE, as it stands in argv. */
struct named {
    const char *name;
    size_t name_length;
    const char *value;
};

struct named_list {
    struct named items[MAX_NAMED];
    size_t count;
};

struct arguments {
    const char *model;
    struct named_list inputs, shapes, outputs;
    const char *plugins[MAX_NAMED];
    size_t plugin_count;
    const char *tensorrt;
    int32_t device;
    int32_t threads;
    int32_t repeat;
    bool device_memory;
};

static bool add_named(struct named_list *list, const char *text)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text || list->count == MAX_NAMED)
        return false;
    list->items[list->count++] = (struct named){text, (size_t)(equals - text), equals + 1};
    return true;
}

static const char *find_named(const struct named_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; ++i) {
        const struct named *item = &list->items[i];
        if (strlen(name) == item->name_length && strncmp(name, item->name, item->name_length) == 0)
            return item->value;
    }
    return NULL;
}

static bool parse_number(const char *text, int32_t minimum, int32_t *out)
{
    char *end;
    const long number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || number < minimum || number > INT32_MAX)
        return false;
    *out = (int32_t)number;
    return true;
}

static bool parse_shape(const char *text, int64_t shape[PLANRT_MAX_RANK], int32_t *rank)
{
    for (*rank = 0; *rank < PLANRT_MAX_RANK;) {
        char *end;
        shape[(*rank)++] = strtoll(text, &end, 10);
        if (end == text)
            return false;
        if (*end == '\0')
            return true;
        if (*end != 'x')
            return false;
        text = end + 1;
    }
    return false;
}

static bool parse_arguments(int argc, char **argv, struct arguments *arguments)
{
    *arguments = (struct arguments){.repeat = 1};
    for (int i = 1; i < argc; ++i) {
        const char *option = argv[i];
        if (strcmp(option, "--device-memory") == 0) {
            arguments->device_memory = true;
            continue;
        }
        if (strncmp(option, "--", 2) != 0) {
            if (arguments->model != NULL) {
                fprintf(stderr, "run_model: one model, not %s as well\n", option);
                return false;
            }
            arguments->model = option;
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : "";
        bool good = *value != '\0';
        if (strcmp(option, "--input") == 0)
            good = add_named(&arguments->inputs, value);
        else if (strcmp(option, "--shape") == 0)
            good = add_named(&arguments->shapes, value);
        else if (strcmp(option, "--output") == 0)
            good = add_named(&arguments->outputs, value);
        else if (strcmp(option, "--repeat") == 0)
            good = parse_number(value, 1, &arguments->repeat);
        else if (strcmp(option, "--device") == 0)
            good = parse_number(value, 0, &arguments->device);
        else if (strcmp(option, "--threads") == 0)
            good = parse_number(value, 0, &arguments->threads);
        else if (strcmp(option, "--tensorrt") == 0)
            arguments->tensorrt = value;
        else if (strcmp(option, "--plugin") == 0 && arguments->plugin_count < MAX_NAMED)
            arguments->plugins[arguments->plugin_count++] = value;
        else
            good = false;
        if (!good) {
            fprintf(stderr, "run_model: bad argument: %s %s\n", option, value);
            return false;
        }
    }
    if (arguments->model == NULL)
        fprintf(stderr, "run_model: which model?\n");
    return arguments->model != NULL;
}

/* ---- Errors, shapes, time ---------------------------------------------------------------------------------------- */

/* Prints and deletes the error, if there is one; returns whether there was. */
static bool failed(planrt_error *error)
{
    if (error == NULL)
        return false;
    fprintf(stderr, "run_model: %s\n", planrt_error_get_message(error));
    if (*planrt_error_get_detail(error) != '\0')
        fprintf(stderr, "%s\n", planrt_error_get_detail(error));
    planrt_error_delete(error);
    return true;
}

static void print_log(void *user_data, planrt_log_level level, const char *message)
{
    (void)user_data;
    (void)level;
    fprintf(stderr, "planrt: %s\n", message);
}

static void print_shape(const int64_t *shape, int32_t rank)
{
    for (int32_t i = 0; i < rank; ++i)
        printf("%s%" PRId64, i == 0 ? "" : "x", shape[i]);
}

static double now_ms(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* ---- Describe ---------------------------------------------------------------------------------------------------- */

/* An input or output with its elements in host memory. */
struct tensor {
    planrt_tensor_info info;
    int64_t shape[PLANRT_MAX_RANK];
    int32_t rank;
    void *data;
    size_t bytes;
};

static bool describe(const planrt_engine *engine, const struct tensor *tensors, int32_t count)
{
    printf("model    %s\n", planrt_engine_get_name(engine));
    printf("backend  %s\n", planrt_engine_get_backend(engine) == PLANRT_BACKEND_TENSORRT ? "TensorRT" : "CPU");
    printf("device   %s\n", planrt_engine_get_device_name(engine));
    if (planrt_engine_get_device_memory_size(engine) > 0)
        printf("memory   %zu bytes on the device for each context\n", planrt_engine_get_device_memory_size(engine));

    for (int32_t i = 0; i < count; ++i) {
        const planrt_tensor_info *info = &tensors[i].info;
        printf("%-8s %s %s ", info->role == PLANRT_INPUT ? "input" : "output", info->name,
               planrt_element_type_get_name(info->element_type));
        print_shape(info->shape, info->rank);
        printf("\n");
    }
    const int32_t profiles = planrt_engine_get_profile_count(engine);
    for (int32_t profile = 0; profile < profiles; ++profile) {
        for (int32_t i = 0; i < count; ++i) {
            const char *name = tensors[i].info.name;
            if (tensors[i].info.role != PLANRT_INPUT)
                continue;
            planrt_profile_shape shape = {.struct_size = sizeof shape};
            if (failed(planrt_engine_get_profile_shape(engine, profile, name, &shape)))
                return false;
            printf("profile  %" PRId32 ": %s from ", profile, name);
            print_shape(shape.min, shape.rank);
            printf(" to ");
            print_shape(shape.max, shape.rank);
            printf(", best at ");
            print_shape(shape.opt, shape.rank);
            printf("\n");
        }
    }
    return true;
}

/* ---- Shapes and data --------------------------------------------------------------------------------------------- */

/* The shape of an input: the one asked for, or one that the model takes. */
static bool choose_shape(const planrt_engine *engine, const char *asked, struct tensor *input)
{
    if (asked != NULL) {
        if (parse_shape(asked, input->shape, &input->rank))
            return true;
        fprintf(stderr, "run_model: %s is no shape; 1x1x32 is one\n", asked);
        return false;
    }
    input->rank = input->info.rank;
    memcpy(input->shape, input->info.shape, sizeof input->shape);
    planrt_profile_shape profile = {.struct_size = sizeof profile};
    const bool has_profiles = planrt_engine_get_profile_count(engine) > 0;
    if (has_profiles && failed(planrt_engine_get_profile_shape(engine, 0, input->info.name, &profile)))
        return false;
    for (int32_t i = 0; i < input->rank; ++i) {
        if (input->shape[i] < 0)
            input->shape[i] = has_profiles ? profile.opt[i] : 1;
    }
    return true;
}

static bool read_file(const char *path, void *data, size_t bytes)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return false;
    }
    const bool whole = fread(data, 1, bytes, file) == bytes && fgetc(file) == EOF;
    fclose(file);
    if (!whole)
        fprintf(stderr, "run_model: %s does not hold the %zu bytes of the input's shape\n", path, bytes);
    return whole;
}

static bool write_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    bool written = file != NULL && fwrite(data, 1, bytes, file) == bytes;
    if (file != NULL)
        written = fclose(file) == 0 && written;
    if (!written)
        perror(path);
    return written;
}

/* Sets the inputs' shapes, by which the outputs get theirs, and fills host memory for all of them. */
static bool prepare(const struct arguments *arguments, const planrt_engine *engine, planrt_context *context,
                    struct tensor *tensors, int32_t count)
{
    for (int32_t i = 0; i < count; ++i) {
        struct tensor *tensor = &tensors[i];
        if (tensor->info.role != PLANRT_INPUT)
            continue;
        if (!choose_shape(engine, find_named(&arguments->shapes, tensor->info.name), tensor) ||
            failed(planrt_context_set_shape(context, tensor->info.name, tensor->shape, tensor->rank)))
            return false;
    }
    for (int32_t i = 0; i < count; ++i) {
        struct tensor *tensor = &tensors[i];
        const char *name = tensor->info.name;
        if (failed(planrt_context_get_shape(context, name, tensor->shape, &tensor->rank)) ||
            failed(planrt_context_get_size(context, name, &tensor->bytes)))
            return false;
        tensor->data = calloc(tensor->bytes > 0 ? tensor->bytes : 1, 1);
        if (tensor->data == NULL) {
            fprintf(stderr, "run_model: no memory for the %zu bytes of %s\n", tensor->bytes, name);
            return false;
        }
        const char *path = tensor->info.role == PLANRT_INPUT ? find_named(&arguments->inputs, name) : NULL;
        if (path != NULL && !read_file(path, tensor->data, tensor->bytes))
            return false;
    }
    return true;
}

/* ---- Run --------------------------------------------------------------------------------------------------------- */

/* The first run also pays for what is set up once. */
static void print_time(int32_t run, double ms)
{
    printf("run      %" PRId32 ": %.3f ms\n", run + 1, ms);
}

/* From host memory to host memory, in one call. */
static bool run_on_host(planrt_context *context, const struct tensor *tensors, int32_t count, int32_t repeat)
{
    planrt_tensor *views = calloc((size_t)count, sizeof *views);
    if (views == NULL)
        return false;
    /* Inputs from the front, outputs from the back. */
    size_t input_count = 0, output_count = 0;
    for (int32_t i = 0; i < count; ++i) {
        const bool is_input = tensors[i].info.role == PLANRT_INPUT;
        planrt_tensor *view = is_input ? &views[input_count++] : &views[(size_t)count - ++output_count];
        view->struct_size = sizeof *view;
        view->name = tensors[i].info.name;
        view->input_data = is_input ? tensors[i].data : NULL;
        view->output_data = is_input ? NULL : tensors[i].data;
        view->size_bytes = tensors[i].bytes;
        view->element_type = tensors[i].info.element_type;
        view->rank = tensors[i].rank;
        memcpy(view->shape, tensors[i].shape, sizeof view->shape);
    }
    bool good = true;
    for (int32_t run = 0; good && run < repeat; ++run) {
        const double start = now_ms();
        good = !failed(planrt_context_run(context, views, input_count, views + input_count, output_count));
        if (good)
            print_time(run, now_ms() - start);
    }
    free(views);
    return good;
}

/* Waits for the work on a stream; on the CPU there is none to wait for. */
static bool finish(planrt_stream *stream)
{
    return stream == NULL || !failed(planrt_stream_synchronize(stream));
}

/* Copies a tensor between host memory and its buffer, which on the CPU is host memory too. */
static bool copy(planrt_stream *stream, void *to, const void *from, size_t bytes)
{
    if (stream != NULL)
        return !failed(planrt_stream_copy(stream, to, from, bytes));
    memcpy(to, from, bytes);
    return true;
}

/* Buffers where the model wants its tensors, bound to the context, and runs on a stream. Timed without the copies. */
static bool run_on_device(planrt_runtime *runtime, planrt_context *context, planrt_backend backend,
                          const struct tensor *tensors, int32_t count, int32_t repeat)
{
    planrt_stream *stream = NULL; /* stays null on the CPU, where a run is done when enqueue returns */
    planrt_buffer **buffers = calloc((size_t)count, sizeof *buffers);
    bool good = buffers != NULL &&
                (backend == PLANRT_BACKEND_CPU || !failed(planrt_stream_new(runtime, 0, &stream)));

    for (int32_t i = 0; good && i < count; ++i) {
        const struct tensor *tensor = &tensors[i];
        good = !failed(planrt_buffer_new(runtime, tensor->info.memory_kind, tensor->bytes, &buffers[i]));
        if (!good)
            break;
        void *address = planrt_buffer_get_data(buffers[i]);
        good = !failed(planrt_context_bind(context, tensor->info.name, address, tensor->bytes));
        if (good && tensor->info.role == PLANRT_INPUT)
            good = copy(stream, address, tensor->data, tensor->bytes);
    }
    good = good && finish(stream);
    for (int32_t run = 0; good && run < repeat; ++run) {
        const double start = now_ms();
        good = !failed(planrt_context_enqueue(context, stream)) && finish(stream);
        if (good)
            print_time(run, now_ms() - start);
    }
    for (int32_t i = 0; good && i < count; ++i) {
        if (tensors[i].info.role == PLANRT_OUTPUT)
            good = copy(stream, tensors[i].data, planrt_buffer_get_data(buffers[i]), tensors[i].bytes);
    }
    good = good && finish(stream);

    for (int32_t i = 0; buffers != NULL && i < count; ++i)
        planrt_buffer_delete(buffers[i]);
    free(buffers);
    planrt_stream_delete(stream);
    return good;
}

/* ---- What came out ----------------------------------------------------------------------------------------------- */

static double float_from_bits(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static double half_from_bits(uint16_t bits)
{
    const uint32_t exponent = bits >> 10 & 0x1F;
    const uint32_t fraction = bits & 0x3FF;
    double magnitude;
    if (exponent == 0)
        magnitude = fraction / 16777216.0; /* subnormal: in units of 2^-24 */
    else /* a float's fraction is 13 bits longer, and its exponent counts from 112 lower; 31 stays "all ones" */
        magnitude = float_from_bits((exponent == 0x1F ? 0xFF : exponent + 112) << 23 | fraction << 13);
    return bits >> 15 ? -magnitude : magnitude;
}

static double element_at(const void *data, planrt_element_type type, size_t index)
{
    switch (type) {
    case PLANRT_FLOAT32: return ((const float *)data)[index];
    case PLANRT_FLOAT16: return half_from_bits(((const uint16_t *)data)[index]);
    case PLANRT_BFLOAT16: return float_from_bits((uint32_t)((const uint16_t *)data)[index] << 16);
    case PLANRT_INT8: return ((const int8_t *)data)[index];
    case PLANRT_INT32: return ((const int32_t *)data)[index];
    case PLANRT_INT64: return (double)((const int64_t *)data)[index];
    default: return ((const uint8_t *)data)[index];
    }
}

static void print_statistics(const struct tensor *output)
{
    const planrt_element_type type = output->info.element_type;
    const size_t count = output->bytes / planrt_element_type_get_size(type);
    double minimum = INFINITY, maximum = -INFINITY, sum = 0;
    for (size_t i = 0; i < count; ++i) {
        const double element = element_at(output->data, type, i);
        minimum = element < minimum ? element : minimum;
        maximum = element > maximum ? element : maximum;
        sum += element;
    }
    printf("result   %s %s ", output->info.name, planrt_element_type_get_name(type));
    print_shape(output->shape, output->rank);
    printf(": min %g, mean %g, max %g\n", minimum, sum / (double)count, maximum);
}

static bool report(const struct named_list *files, const struct tensor *tensors, int32_t count)
{
    for (int32_t i = 0; i < count; ++i) {
        if (tensors[i].info.role != PLANRT_OUTPUT)
            continue;
        print_statistics(&tensors[i]);
        const char *path = find_named(files, tensors[i].info.name);
        if (path != NULL && !write_file(path, tensors[i].data, tensors[i].bytes))
            return false;
    }
    return true;
}

/* ---- All of it --------------------------------------------------------------------------------------------------- */

static bool make_runtime(const struct arguments *arguments, planrt_runtime **runtime)
{
    planrt_runtime_options *options = NULL;
    if (failed(planrt_runtime_options_new(&options)))
        return false;
    bool good = !failed(planrt_runtime_options_set_log(options, print_log, NULL, NULL, PLANRT_LOG_WARNING)) &&
                !failed(planrt_runtime_options_set_device(options, arguments->device));
    if (good && arguments->tensorrt != NULL)
        good = !failed(planrt_runtime_options_set_tensorrt_path(options, arguments->tensorrt));
    for (size_t i = 0; good && i < arguments->plugin_count; ++i)
        good = !failed(planrt_runtime_options_add_plugin_library(options, arguments->plugins[i]));
    good = good && !failed(planrt_runtime_new(options, runtime));
    planrt_runtime_options_delete(options);
    return good;
}

static bool load_engine(const struct arguments *arguments, planrt_runtime *runtime, planrt_engine **engine)
{
    planrt_engine_options *options = NULL;
    const double start = now_ms();
    const bool good = !failed(planrt_engine_options_new(&options)) &&
                      !failed(planrt_engine_options_set_cpu_threads(options, arguments->threads)) &&
                      !failed(planrt_engine_load_file(runtime, arguments->model, options, engine));
    planrt_engine_options_delete(options);
    if (good)
        printf("loaded   %s in %.1f ms\n", arguments->model, now_ms() - start);
    return good;
}

/* Refuses a NAME=VALUE whose name is no tensor of that role: it would pass unnoticed. */
static bool check_names(const planrt_engine *engine, const struct tensor *tensors, planrt_tensor_role role,
                        const struct named_list *list)
{
    for (size_t i = 0; i < list->count; ++i) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)list->items[i].name_length, list->items[i].name);
        int32_t index;
        if (failed(planrt_engine_find_tensor(engine, name, &index)))
            return false;
        if (tensors[index].info.role != role) {
            fprintf(stderr, "run_model: %s is an %s\n", name, role == PLANRT_INPUT ? "output" : "input");
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    struct arguments arguments;
    if (!parse_arguments(argc, argv, &arguments)) {
        fputs(usage, stderr);
        return 2;
    }
    uint32_t major, minor;
    planrt_api_version(&major, &minor);
    if (major != PLANRT_API_MAJOR || minor != PLANRT_API_MINOR) {
        fprintf(stderr, "run_model: this program was not compiled for libplanrt %s\n", planrt_version());
        return 1;
    }

    planrt_runtime *runtime = NULL;
    planrt_engine *engine = NULL;
    planrt_context *context = NULL;
    struct tensor *tensors = NULL;
    int32_t count = 0;

    bool good = make_runtime(&arguments, &runtime) && load_engine(&arguments, runtime, &engine);
    if (good) {
        count = planrt_engine_get_tensor_count(engine);
        tensors = calloc((size_t)count, sizeof *tensors);
        good = tensors != NULL;
    }
    for (int32_t i = 0; good && i < count; ++i) {
        tensors[i].info.struct_size = sizeof tensors[i].info;
        good = !failed(planrt_engine_get_tensor_info(engine, i, &tensors[i].info));
    }
    good = good && describe(engine, tensors, count) &&
           check_names(engine, tensors, PLANRT_INPUT, &arguments.shapes) &&
           check_names(engine, tensors, PLANRT_INPUT, &arguments.inputs) &&
           check_names(engine, tensors, PLANRT_OUTPUT, &arguments.outputs) &&
           !failed(planrt_context_new(engine, &context)) &&
           prepare(&arguments, engine, context, tensors, count) &&
           (arguments.device_memory ? run_on_device(runtime, context, planrt_engine_get_backend(engine), tensors, count,
                                                    arguments.repeat)
                                    : run_on_host(context, tensors, count, arguments.repeat)) &&
           report(&arguments.outputs, tensors, count);

    for (int32_t i = 0; tensors != NULL && i < count; ++i)
        free(tensors[i].data);
    free(tensors);
    planrt_context_delete(context);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
    return good ? 0 : 1;
}
