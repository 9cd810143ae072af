/* planrt inspect and planrt bench: a model's layers, and how fast it runs. */

#include "program.h"

#include <stdlib.h>
#include <string.h>

static const char inspect_usage[] =
    "usage: planrt inspect MODEL [OPTION]...\n"
    "\n"
    "Tells the layers of MODEL, a TensorRT plan or an ONNX file, with their precisions; with --runs their times.\n"
    "  --runs=N                 runs it so often, and tells how long each layer takes on the mean\n";

static const char bench_usage[] =
    "usage: planrt bench MODEL [OPTION]...\n"
    "\n"
    "Measures throughput and latency of MODEL, a TensorRT plan or an ONNX file, as trtexec does.\n"
    "  --streams=N              contexts that run side by side; 1 if not given\n"
    "  --concurrency=N          measures a session that so many threads ask, instead\n"
    "  --largestBatch=N         the session's largest batch\n"
    "  --useCudaGraph           runs are CUDA graphs\n"
    "  --noDataTransfers        inputs and outputs stay on the device\n"
    "  --duration=SECONDS       how long it is measured; 3 if not given\n"
    "  --warmUp=MILLISECONDS    how long it runs before; 200 if not given\n"
    "  --iterations=N           how often it runs at least; 10 if not given\n"
    "  --percentile=P,...       percentiles beside the median; 90,95,99 if not given\n";

static const char common_usage[] =
    "  --shapes=NAME:1x1x8x8,...  the inputs' shapes; of those left out the plan's best ones, or a batch of 1\n"
    "  --json                   JSON, and no table\n"
    "  --cpu=ENGINE             what runs ONNX models: engine (planrt's own), openvino, or fastest; engine if not given\n"
    "  --cpuThreads=N           how many threads that has; as many as there are cores if not given\n"
    "  --weightStreamingBudget=N  the most bytes of streamed weights that stay on the device; N may end in K, M, G or %, of all\n"
    "                           that can be streamed; -1 or auto: as TensorRT thinks right; -2: none are streamed\n"
    "  --leanDLLPath=LIBRARY    the lean runtime for a version-compatible plan without its own\n"
    "  --plugins=LIBRARY        a library of TensorRT plugins; may be given more than once\n"
    "  --tensorrt=PATH          the TensorRT library, or the folder it is in\n"
    "  --openvino=PATH          OpenVINO's library, its folder, or that of the Python environment it is in\n"
    "  --device=N               the GPU's ordinal; 0 if not given\n"
    "  --verbose                TensorRT's own lines, too\n"
    "It exits with 0 if the model was run and told of, with 1 if it was not, with 2 if it was called wrongly, with 3 if the\n"
    "output could not be written.\n";

/* trtexec's options that do nothing here, and what is so or stands in their place. */
static const struct replaced others[] = {
    {"--explicitBatch", "a plan's batch is that of its inputs: --shapes", false},
    {"--skipInference", "a plan's batch is that of its inputs: --shapes", false},
    {"--useSpinWait", "streams have threads of their own, and each run is timed by events", false},
    {"--threads", "streams have threads of their own, and each run is timed by events", false},
    {"--separateProfileRun", "streams have threads of their own, and each run is timed by events", false},
    {"--exposeDMA", "streams have threads of their own, and each run is timed by events", false},
    {"--avgRuns", "streams have threads of their own, and each run is timed by events", false},
    {"--batch", "say --shapes", true},
    {"--useProfile", "contexts take the profiles in their order", true},
    {"--dumpProfile", "planrt inspect tells the layers, with --runs their times, with --json as JSON", true},
    {"--exportProfile", "planrt inspect tells the layers, with --runs their times, with --json as JSON", true},
    {"--dumpLayerInfo", "planrt inspect tells the layers, with --runs their times, with --json as JSON", true},
    {"--exportLayerInfo", "planrt inspect tells the layers, with --runs their times, with --json as JSON", true},
    {"--dumpOptimizationProfile", "planrt inspect tells the layers, with --runs their times, with --json as JSON", true},
    {"--profilingVerbosity", "planrt inspect tells the layers, with --runs their times, with --json as JSON", true},
    {"--exportTimes", "with --json the times come as JSON", true},
    {"--loadInputs", "inputs hold numbers from -1 to 1; planrt doctor FOLDER runs a model folder's test vectors, and compares", true},
    {"--dumpOutput", "inputs hold numbers from -1 to 1; planrt doctor FOLDER runs a model folder's test vectors, and compares", true},
    {"--exportOutput", "inputs hold numbers from -1 to 1; planrt doctor FOLDER runs a model folder's test vectors, and compares", true},
    {"--dumpRawBindingsToFile", "inputs hold numbers from -1 to 1; planrt doctor FOLDER runs a model folder's test vectors, and compares", true},
    {"--idleTime", "runs come one after the other, in memory that is allocated before", true},
    {"--sleepTime", "runs come one after the other, in memory that is allocated before", true},
    {"--useManagedMemory", "runs come one after the other, in memory that is allocated before", true},
    {"--timeDeserialize", "runs come one after the other, in memory that is allocated before", true},
    {"--persistentCacheRatio", "runs come one after the other, in memory that is allocated before", true},
    {"--allocationStrategy", "runs come one after the other, in memory that is allocated before", true},
    {"--asyncFileReader", "runs come one after the other, in memory that is allocated before", true},
    {"--monitorMemory", "runs come one after the other, in memory that is allocated before", true},
    {"--timeRefit", "planrt refit puts other weights into a plan, and says how long that takes", true},
    {"--dumpRefit", "planrt refit puts other weights into a plan, and says how long that takes", true},
    {"--useRuntime", "say --tensorrt=LIBRARY", true},
    {"--getPlanVersionOnly", "planrt doctor PLAN tells what built it", true},
    {"--useDLACore", "planrt runs plans on GPUs", true},
    {"--allowGPUFallback", "planrt runs plans on GPUs", true},
    {"--ignoreParsedPluginLibs", "say --plugins=LIBRARY", true},
    {"--staticPlugins", "say --plugins=LIBRARY", true},
    {"--setPluginsToSerialize", "say --plugins=LIBRARY", true},
    {"--saveEngine", "it is an option of planrt build, which makes the plan", true},
    {"--fp16", "it is an option of planrt build, which makes the plan", true},
    {"--bf16", "it is an option of planrt build, which makes the plan", true},
    {"--int8", "it is an option of planrt build, which makes the plan", true},
    {"--best", "it is an option of planrt build, which makes the plan", true},
    {"--noTF32", "it is an option of planrt build, which makes the plan", true},
    {"--minShapes", "it is an option of planrt build, which makes the plan", true},
    {"--optShapes", "it is an option of planrt build, which makes the plan", true},
    {"--maxShapes", "it is an option of planrt build, which makes the plan", true},
    {"--workspace", "it is an option of planrt build, which makes the plan", true},
    {"--memPoolSize", "it is an option of planrt build, which makes the plan", true},
    {"--timingCacheFile", "it is an option of planrt build, which makes the plan", true},
    {"--stronglyTyped", "it is an option of planrt build, which makes the plan", true},
    {"--refit", "it is an option of planrt build, which makes the plan", true},
    {"--stripWeights", "it is an option of planrt build, which makes the plan", true},
    {"--allowWeightStreaming", "it is an option of planrt build, which makes the plan", true},
    {"--versionCompatible", "it is an option of planrt build, which makes the plan", true},
    {"--vc", "it is an option of planrt build, which makes the plan", true},
    {"--builderOptimizationLevel", "it is an option of planrt build, which makes the plan", true},
    {"--hardwareCompatibilityLevel", "it is an option of planrt build, which makes the plan", true},
    {"--tacticSources", "it is an option of planrt build, which makes the plan", true},
    {"--sparsity", "it is an option of planrt build, which makes the plan", true},
    {"--layerPrecisions", "it is an option of planrt build, which makes the plan", true},
    {"--precisionConstraints", "it is an option of planrt build, which makes the plan", true},
    {"--calib", "it is an option of planrt build, which makes the plan", true},
    {"--buildOnly", "it is an option of planrt build, which makes the plan", true},
};

enum { MOST_PERCENTILES = 16 };

struct measurement {
    const char *command, *model;
    planrt_input_shape shapes[MOST_INPUTS];
    char names[MOST_INPUTS][NAME];
    size_t shape_count;
    bool is_json, is_verbose;
    int32_t runs;
    double streamed_percent; /* of the weights that can be streamed, as many stay on the device; -1 if that is not said */
    planrt_bench_settings settings;
    double percentiles[MOST_PERCENTILES];
};

/* Null, or what is wrong with them. */
static const char *parse_shapes(struct measurement *all, const char *value) {
    while (*value) {
        if (all->shape_count == MOST_INPUTS) return "more inputs than there can be, in";
        planrt_input_shape *shape = &all->shapes[all->shape_count];
        *shape = (planrt_input_shape){.struct_size = sizeof *shape, .name = all->names[all->shape_count]};
        if (!next_shape(&value, all->names[all->shape_count], &shape->rank, shape->shape)) return "shapes are NAME:1x1x8x8,..., not";
        for (size_t i = 0; i < all->shape_count; i++)
            if (strcmp(all->names[i], shape->name) == 0) return "an input has a shape already, in";
        all->shape_count++;
    }
    return NULL;
}

/* A time in some unit as microseconds; -1 for 0, which stands for none. */
static bool parse_time(const char *value, double unit, int64_t *micros) {
    char *end;
    const double number = strtod(value, &end);
    if (end == value || *end || !(number >= 0) || number * unit > 1e15) return false;
    *micros = (int64_t)(number * unit);
    if (*micros == 0) *micros = -1;
    return true;
}

static bool parse_percentiles(struct measurement *all, const char *value) {
    all->settings.percentile_count = 0;
    while (*value) {
        char *end;
        const double number = strtod(value, &end);
        if (end == value || (*end && *end != ',') || all->settings.percentile_count == MOST_PERCENTILES) return false;
        all->percentiles[all->settings.percentile_count++] = number;
        value = end + (*end == ',');
    }
    all->settings.percentiles = all->percentiles;
    return true;
}

/* "50%" */
static bool parse_percent(const char *value, double *percent) {
    char *end;
    const double number = strtod(value, &end);
    if (end == value || strcmp(end, "%") != 0 || !(number >= 0 && number <= 100)) return false;
    *percent = number;
    return true;
}

/* How many weights can be streamed is known when the plan is loaded, which is done once more then. */
static planrt_error *set_streamed_part(const struct measurement *all, const planrt_runtime *runtime,
                                       planrt_engine_options *options) {
    planrt_engine *engine = NULL;
    int64_t streamable = 0;
    planrt_error *error = planrt_engine_load_file(runtime, all->model, options, &engine);
    if (!error) error = planrt_engine_get_statistic(engine, PLANRT_STATISTIC_STREAMABLE_WEIGHTS_SIZE, &streamable);
    if (!error)
        error = planrt_engine_options_set_weight_streaming_budget(
            options, (int64_t)((double)streamable * all->streamed_percent / 100));
    planrt_engine_delete(engine);
    return error;
}

/* Takes an option, and says whether with its value; -1 if it is done, else how the program ends. */
static int take(struct measurement *all, const struct option *option, const char *argument, bool *is_used,
                planrt_engine_options *engine, planrt_runtime_options *runtime) {
    const char *name = option->name, *value = option->value;
    const bool is_bench = strcmp(all->command, "bench") == 0;
    planrt_bench_settings *settings = &all->settings;
    const struct { const char *name; bool is_of_bench; bool *flag; int32_t *number; } flags[] = {
        {"--json", false, &all->is_json, NULL},
        {"--verbose", false, &all->is_verbose, NULL},
        {"--useCudaGraph", true, NULL, &settings->use_cuda_graph},
        {"--noDataTransfers", true, NULL, &settings->no_data_transfers},
    };
    const struct { const char *name; bool is_of_bench; int32_t *number; } numbers[] = {
        {"--runs", false, &all->runs},
        {"--streams", true, &settings->streams},
        {"--infStreams", true, &settings->streams},
        {"--concurrency", true, &settings->concurrency},
        {"--largestBatch", true, &settings->largest_batch},
        {"--iterations", true, &settings->least_runs},
    };
    *is_used = false;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (strcmp(argument, flags[i].name) != 0 || (flags[i].is_of_bench && !is_bench)) continue;
        if (flags[i].flag) *flags[i].flag = true;
        else *flags[i].number = 1;
        return -1;
    }
    int code;
    if (is_replaced(others, sizeof others / sizeof *others, name, &code)) return code;
    if (!value || !*value) return wrong_option(all->command, "unknown option, or one without its value", argument);
    if (is_given_again(name)) return wrong_option(all->command, "given twice", argument);
    *is_used = true;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(name, numbers[i].name) != 0 || (numbers[i].is_of_bench ? !is_bench : is_bench)) continue;
        if (!parse_ordinal(value, numbers[i].number)) return wrong_option(all->command, "that takes a number, not", argument);
        return -1;
    }
    planrt_error *error = NULL;
    int32_t number;
    if (strcmp(name, "--shapes") == 0) {
        const char *problem = parse_shapes(all, value);
        if (problem) return wrong_option(all->command, problem, argument);
    } else if (is_bench && strcmp(name, "--duration") == 0) {
        if (!parse_time(value, 1e6, &settings->duration_us))
            return wrong_option(all->command, "--duration takes seconds, not", value);
    } else if (is_bench && strcmp(name, "--warmUp") == 0) {
        if (!parse_time(value, 1e3, &settings->warm_up_us))
            return wrong_option(all->command, "--warmUp takes milliseconds, not", value);
    } else if (is_bench && strcmp(name, "--percentile") == 0) {
        if (!parse_percentiles(all, value)) return wrong_option(all->command, "--percentile takes P,..., not", value);
    } else if (strcmp(name, "--cpu") == 0) {
        planrt_backend backend;
        if (!parse_cpu(value, &backend)) return wrong_option(all->command, "--cpu takes engine, openvino or fastest, not", value);
        error = planrt_engine_options_set_cpu_backend(engine, backend);
    } else if (strcmp(name, "--openvino") == 0) {
        error = planrt_runtime_options_set_openvino_path(runtime, value);
    } else if (strcmp(name, "--cpuThreads") == 0) {
        if (!parse_ordinal(value, &number)) return wrong_option(all->command, "--cpuThreads takes a number, not", value);
        error = planrt_engine_options_set_cpu_threads(engine, number);
    } else if (strcmp(name, "--weightStreamingBudget") == 0) {
        if (strcmp(value, "-2") == 0) return -1; /* as if nothing were said */
        size_t bytes = 0;
        const bool is_automatic = strcmp(value, "auto") == 0 || strcmp(value, "-1") == 0;
        if (parse_percent(value, &all->streamed_percent)) return -1;
        if (!is_automatic && strcmp(value, "0") != 0 && !parse_bytes(value, 1, &bytes))
            return wrong_option(all->command, "--weightStreamingBudget takes a size, a percentage, -1 or -2, not", value);
        error = planrt_engine_options_set_weight_streaming_budget(
            engine, is_automatic ? PLANRT_WEIGHT_STREAMING_AUTOMATIC : (int64_t)bytes);
    } else if (strcmp(name, "--leanDLLPath") == 0) {
        error = planrt_engine_options_set_lean_runtime(engine, value);
    } else if (strcmp(name, "--loadEngine") == 0 || strcmp(name, "--onnx") == 0) {
        if (all->model) return wrong_option(all->command, "one model at a time", argument);
        all->model = value;
    } else {
        return take_runtime_option(all->command, option, argument, runtime);
    }
    return error ? failed(error) : -1;
}

static int run(struct measurement *all, planrt_engine_options *engine_options, planrt_runtime_options *runtime_options) {
    planrt_runtime *runtime = NULL;
    planrt_engine *engine = NULL;
    char *report = NULL;
    const planrt_report_format format = all->is_json ? PLANRT_REPORT_JSON : PLANRT_REPORT_TEXT;
    planrt_error *error = planrt_runtime_options_set_log(runtime_options, log_line, NULL, NULL,
                                                         all->is_verbose ? PLANRT_LOG_DEBUG : PLANRT_LOG_WARNING);
    if (!error) error = planrt_runtime_new(runtime_options, &runtime);
    if (!error) error = planrt_engine_options_set_features_allowed(engine_options, true); /* nothing is taken for an answer */
    if (!error && all->streamed_percent >= 0) error = set_streamed_part(all, runtime, engine_options);
    if (!error) error = planrt_engine_load_file(runtime, all->model, engine_options, &engine);
    if (!error && strcmp(all->command, "bench") == 0)
        error = planrt_bench(engine, all->shapes, all->shape_count, &all->settings, format, &report);
    else if (!error)
        error = planrt_inspect(engine, all->shapes, all->shape_count, all->runs, format, &report);
    int code = error ? failed(error) : USABLE;
    if (report) {
        fputs(report, stdout);
        if (all->is_json) fputc('\n', stdout);
        code = written(code);
    }
    planrt_string_delete(report);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
    return code;
}

static int measure(const char *command, const char *usage, int count, char **arguments) {
    static struct measurement all;
    all.command = command;
    all.settings.struct_size = sizeof all.settings;
    all.streamed_percent = -1;
    planrt_engine_options *engine_options = NULL;
    planrt_runtime_options *runtime_options = NULL;
    planrt_error *error = planrt_engine_options_new(&engine_options);
    if (!error) error = planrt_runtime_options_new(&runtime_options);
    int code = error ? failed(error) : -1;
    for (int i = 0; i < count && code < 0; i++) {
        struct option option;
        bool is_used = false;
        if (strcmp(arguments[i], "--help") == 0) {
            printf("%s%s", usage, common_usage);
            code = written(0);
        } else if (split(count - i, arguments + i, &option)) {
            code = take(&all, &option, arguments[i], &is_used, engine_options, runtime_options);
            if (option.is_next && is_used) i++;
        } else if (all.model) {
            code = wrong_option(command, "one model at a time", arguments[i]);
        } else {
            all.model = arguments[i];
        }
    }
    if (code < 0 && !all.model) code = wrong_option(command, "which model?", "no MODEL");
    if (code < 0) code = run(&all, engine_options, runtime_options);
    planrt_engine_options_delete(engine_options);
    planrt_runtime_options_delete(runtime_options);
    return code;
}

int inspect(int count, char **arguments) { return measure("inspect", inspect_usage, count, arguments); }

int bench(int count, char **arguments) { return measure("bench", bench_usage, count, arguments); }
