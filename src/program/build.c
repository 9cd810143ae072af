/* planrt build: an ONNX model becomes a plan. Options that mean the same as trtexec's are spelled as there. */

#include "program.h"

#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: planrt build --onnx=MODEL --saveEngine=PLAN [OPTION]...\n"
    "\n"
    "Builds a TensorRT plan from an ONNX model. Options are spelled as trtexec's where they mean the same.\n"
    "  --minShapes=NAME:1x1x8x8,...   the smallest shapes of inputs with open dimensions,\n"
    "  --optShapes=, --maxShapes=     those to be fastest with, and the largest; the second alone stands for all three\n"
    "  --profile=N                    the shapes that follow are those of optimization profile N\n"
    "  --fp16 --bf16 --int8 --best    computes in these where it is faster; int8 as QuantizeLinear nodes say\n"
    "  --tf32, --noTF32               whether TF32 may be used: with the former, or with --fp16 and the like\n"
    "  --stronglyTyped                computes in exactly the model's types\n"
    "  --layerPrecisions=NODE:fp32,...  keeps nodes in float32\n"
    "  --float32Operators=OP,...      keeps all nodes of these operators in float32\n"
    "  --instanceNormalization=KIND   native, plugin or decomposed; if not given, the first of these that there is\n"
    "  --memPoolSize=workspace:N      the most MiB that a layer may take; N may end in B, K, M or G\n"
    "  --timingCacheFile=FILE         read where it is there, and written\n"
    "  --builderOptimizationLevel=N   0 to 5\n"
    "  --tacticSources=-CUDNN,+...    kernels not to use, or to use too: CUBLAS, CUBLAS_LT, CUDNN, EDGE_MASK_CONVOLUTIONS,\n"
    "                                 JIT_CONVOLUTIONS\n"
    "  --versionCompatible, --excludeLeanRuntime, --hardwareCompatibilityLevel=none|ampere+|sameComputeCapability\n"
    "  --refit, --stripWeights, --allowWeightStreaming, --sparsity=enable|disable\n"
    "  --profilingVerbosity=detailed  the plan can tell all of its layers\n"
    "  --plugins=LIBRARY              a library of TensorRT plugins; may be given more than once\n"
    "  --tensorrt=PATH                the TensorRT library, or the folder it is in\n"
    "  --device=N                     the GPU's ordinal; 0 if not given\n"
    "  --verbose                      TensorRT's own lines, too\n"
    "It exits with 0 if the plan is written, with 1 if it is not, with 2 if it was called wrongly, with 130 after Ctrl-C.\n";

/* trtexec's options that do nothing here, and what is so or stands in their place. */
static const struct replaced others[] = {
    {"--explicitBatch", "batches are always explicit", false},
    {"--explicitPrecision", "QuantizeLinear and DequantizeLinear nodes always count", false},
    {"--buildOnly", "planrt build only builds", false},
    {"--skipInference", "planrt build only builds", false},
    {"--separateProfileRun", "planrt build only builds", false},
    {"--precisionConstraints", "layers that are kept in float32 always are", false},
    {"--noBuilderCache", "without --timingCacheFile no times are kept", false},
    {"--heuristic", "say --builderOptimizationLevel=N with a small N", true},
    {"--cpuOnly", "TensorRT-RTX builds without a GPU where there is none", false},
    {"--nvtxMode", "say --profilingVerbosity", true},
    {"--nvtxVerbosity", "say --profilingVerbosity", true},
    {"--minTiming", "TensorRT times a kernel as often as it thinks right", true},
    {"--avgTiming", "TensorRT times a kernel as often as it thinks right", true},
    {"--calib", "int8 takes its scales from the model: quantize it with QuantizeLinear and DequantizeLinear nodes", true},
    {"--minShapesCalib", "int8 takes its scales from the model: quantize it with QuantizeLinear and DequantizeLinear nodes", true},
    {"--optShapesCalib", "int8 takes its scales from the model: quantize it with QuantizeLinear and DequantizeLinear nodes", true},
    {"--maxShapesCalib", "int8 takes its scales from the model: quantize it with QuantizeLinear and DequantizeLinear nodes", true},
    {"--calibProfile", "int8 takes its scales from the model: quantize it with QuantizeLinear and DequantizeLinear nodes", true},
    {"--fp8", "have the types in the model, and build it with --stronglyTyped", true},
    {"--int4", "have the types in the model, and build it with --stronglyTyped", true},
    {"--loadEngine", "a plan is run by planrt bench PLAN, and its layers are told by planrt inspect PLAN", true},
    {"--maxBatch", "say --minShapes, --optShapes and --maxShapes", true},
    {"--batch", "say --minShapes, --optShapes and --maxShapes", true},
    {"--maxBatchSize", "say --minShapes, --optShapes and --maxShapes", true},
    {"--calibBatchSize", "say --minShapes, --optShapes and --maxShapes", true},
    {"--pluginInstanceNorm", "say --instanceNormalization=plugin", true},
    {"--nativeInstanceNorm", "say --instanceNormalization=native", true},
    {"--inputIOFormats", "inputs and outputs are what the model says, in rows", true},
    {"--outputIOFormats", "inputs and outputs are what the model says, in rows", true},
    {"--directIO", "inputs and outputs are what the model says, in rows", true},
    {"--output", "outputs are those of the model: planrt-convert compares what lies between", true},
    {"--markDebug", "outputs are those of the model: planrt-convert compares what lies between", true},
    {"--markUnfusedTensorsAsDebugTensors", "outputs are those of the model: planrt-convert compares what lies between", true},
    {"--saveDebugTensors", "outputs are those of the model: planrt-convert compares what lies between", true},
    {"--saveAllDebugTensors", "outputs are those of the model: planrt-convert compares what lies between", true},
    {"--debugTensorFormats", "outputs are those of the model: planrt-convert compares what lies between", true},
    {"--dumpRawBindingsToFile", "outputs are those of the model: planrt-convert compares what lies between", true},
    {"--uff", "convert the model to ONNX", true},
    {"--uffInput", "convert the model to ONNX", true},
    {"--uffNHWC", "convert the model to ONNX", true},
    {"--deploy", "convert the model to ONNX", true},
    {"--model", "convert the model to ONNX", true},
    {"--layerOutputTypes", "a layer that --layerPrecisions keeps in float32 gives float32", true},
    {"--useDLACore", "planrt runs plans on GPUs", true},
    {"--allowGPUFallback", "planrt runs plans on GPUs", true},
    {"--layerDeviceTypes", "planrt runs plans on GPUs", true},
    {"--buildDLAStandalone", "planrt runs plans on GPUs", true},
    {"--safe", "planrt's plans are for TensorRT's standard runtime", true},
    {"--consistency", "planrt's plans are for TensorRT's standard runtime", true},
    {"--restricted", "planrt's plans are for TensorRT's standard runtime", true},
    {"--staticPlugins", "say --plugins=LIBRARY, also to what runs the plan", true},
    {"--setPluginsToSerialize", "say --plugins=LIBRARY, also to what runs the plan", true},
    {"--ignoreParsedPluginLibs", "plugins that a plan needs are loaded where it runs", true},
    {"--preview", "TensorRT's own default holds", true},
    {"--maxAuxStreams", "TensorRT's own default holds", true},
    {"--maxNbTactics", "TensorRT's own default holds", true},
    {"--maxTactics", "TensorRT's own default holds", true},
    {"--tilingOptimizationLevel", "TensorRT's own default holds", true},
    {"--l2LimitForTiling", "TensorRT's own default holds", true},
    {"--runtimePlatform", "TensorRT's own default holds", true},
    {"--remoteAutoTuningConfig", "TensorRT's own default holds", true},
    {"--computeCapabilities", "TensorRT's own default holds", true},
    {"--distributiveIndependence", "TensorRT's own default holds", true},
    {"--errorOnTimingCacheMiss", "TensorRT's own default holds", true},
    {"--noCompilationCache", "TensorRT's own default holds", true},
    {"--tempdir", "TensorRT's own default holds", true},
    {"--tempfileControls", "TensorRT's own default holds", true},
    {"--monitorMemory", "TensorRT's own default holds", true},
    {"--stripAllWeights", "say --stripWeights", true},
    {"--getPlanVersionOnly", "planrt doctor PLAN tells what built it", true},
    {"--useRuntime", "say --tensorrt=LIBRARY to planrt bench", true},
    {"--leanDLLPath", "it is an option of planrt bench, for the plan that is built", true},
    {"--weightStreamingBudget", "it is an option of planrt bench, for the plan that is built", true},
    {"--iterations", "it is an option of planrt bench, for the plan that is built", true},
    {"--duration", "it is an option of planrt bench, for the plan that is built", true},
    {"--warmUp", "it is an option of planrt bench, for the plan that is built", true},
    {"--percentile", "it is an option of planrt bench, for the plan that is built", true},
    {"--streams", "it is an option of planrt bench, for the plan that is built", true},
    {"--infStreams", "it is an option of planrt bench, for the plan that is built", true},
    {"--useCudaGraph", "it is an option of planrt bench, for the plan that is built", true},
    {"--noDataTransfers", "it is an option of planrt bench, for the plan that is built", true},
    {"--dumpProfile", "planrt inspect tells the layers of the plan that is built, with --runs their times", true},
    {"--exportProfile", "planrt inspect tells the layers of the plan that is built, with --runs their times", true},
    {"--dumpLayerInfo", "planrt inspect tells the layers of the plan that is built, with --runs their times", true},
    {"--exportLayerInfo", "planrt inspect tells the layers of the plan that is built, with --runs their times", true},
    {"--dumpOptimizationProfile", "planrt inspect tells the layers of the plan that is built, with --runs their times", true},
    {"--dumpRefit", "planrt refit puts other weights into the plan that is built", true},
    {"--timeRefit", "planrt refit puts other weights into the plan that is built", true},
    {"--avgRuns", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--useSpinWait", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--threads", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--exposeDMA", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--idleTime", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--sleepTime", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--loadInputs", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--dumpOutput", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--exportOutput", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--exportTimes", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--useManagedMemory", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--timeDeserialize", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--persistentCacheRatio", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--useProfile", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--allocationStrategy", "planrt build only builds, and measures nothing; planrt bench does", true},
    {"--asyncFileReader", "planrt build only builds, and measures nothing; planrt bench does", true},
};

enum { MIN, OPT, MAX, BOUNDS };

/* What is said of one input in one profile. */
struct input {
    int32_t profile;
    char name[NAME];
    int32_t rank[BOUNDS]; /* -1 where it is not said */
    int64_t extents[BOUNDS][PLANRT_MAX_RANK];
};

struct arguments {
    const char *onnx, *plan, *timing_cache;
    int32_t profile;
    struct input inputs[MOST_INPUTS];
    int input_count;
    planrt_precision precision;
    planrt_build_features features;
    planrt_tactics tactics, no_tactics;
    bool tf32, no_tf32, keeps_float32, verbose;
};

static int wrong(const char *problem, const char *argument) { return wrong_option("build", problem, argument); }

/* "x:1x1x8x8,y:4": bounds of inputs in the current profile; null, or what is wrong with them. */
static const char *parse_shapes(struct arguments *all, const char *value, int bound) {
    while (*value) {
        char one[NAME];
        int32_t rank;
        int64_t extents[PLANRT_MAX_RANK];
        if (!next_shape(&value, one, &rank, extents)) return "shapes are NAME:1x1x8x8,..., not";
        struct input *input = NULL;
        for (int i = 0; i < all->input_count && !input; i++)
            if (all->inputs[i].profile == all->profile && strcmp(all->inputs[i].name, one) == 0) input = &all->inputs[i];
        if (!input) {
            if (all->input_count == MOST_INPUTS) return "more inputs than there can be, in";
            input = &all->inputs[all->input_count++];
            input->profile = all->profile;
            memcpy(input->name, one, sizeof one);
            for (int i = 0; i < BOUNDS; i++) input->rank[i] = -1;
        }
        if (input->rank[bound] >= 0) return "an input has that shape already, of the same profile, in";
        input->rank[bound] = rank;
        memcpy(input->extents[bound], extents, sizeof extents);
    }
    return NULL;
}

/* Each part of "a,b,c". */
static planrt_error *each(const char *list, planrt_build_options *options,
                          planrt_error *(*take)(planrt_build_options *, const char *)) {
    planrt_error *error = NULL;
    while (*list && !error) {
        size_t length = strcspn(list, ",");
        char *one = malloc(length + 1);
        if (!one) return NULL;
        memcpy(one, list, length);
        one[length] = 0;
        error = take(options, one);
        free(one);
        list += length + (list[length] == ',');
    }
    return error;
}

/* "node:fp32" */
static planrt_error *keep_node(planrt_build_options *options, const char *one) {
    const char *colon = strrchr(one, ':');
    size_t length = colon ? (size_t)(colon - one) : strlen(one);
    char *name = malloc(length + 1);
    if (!name) return NULL;
    memcpy(name, one, length);
    name[length] = 0;
    planrt_error *error = planrt_build_options_keep_float32_node(options, name);
    free(name);
    return error;
}

static bool only_fp32(const char *list) {
    for (const char *colon = list; (colon = strchr(colon, ':')); colon++) {
        size_t length = strcspn(colon + 1, ",:");
        if (colon[1 + length] == ':') continue;
        if (length != 4 || strncmp(colon + 1, "fp32", 4) != 0) return false;
    }
    return strchr(list, ':') != NULL;
}

/* "-CUDNN,+JIT_CONVOLUTIONS" */
static bool parse_tactics(const char *list, planrt_tactics *use_too, planrt_tactics *use_not) {
    static const struct { const char *name; planrt_tactics bit; } sources[] = {
        {"CUBLAS", PLANRT_TACTICS_CUBLAS},
        {"CUBLAS_LT", PLANRT_TACTICS_CUBLAS_LT},
        {"CUDNN", PLANRT_TACTICS_CUDNN},
        {"EDGE_MASK_CONVOLUTIONS", PLANRT_TACTICS_EDGE_MASK_CONVOLUTIONS},
        {"JIT_CONVOLUTIONS", PLANRT_TACTICS_JIT_CONVOLUTIONS},
    };
    enum { COUNT = sizeof sources / sizeof *sources };
    while (*list) {
        const char sign = *list++;
        const size_t length = strcspn(list, ",");
        size_t i = 0;
        while (i < COUNT && (strlen(sources[i].name) != length || strncmp(list, sources[i].name, length) != 0)) i++;
        if ((sign != '+' && sign != '-') || i == COUNT) return false;
        *(sign == '+' ? use_too : use_not) |= sources[i].bit;
        list += length + (list[length] == ',');
    }
    return true;
}

/* Takes an option, and says whether with its value; -1 if it is done, else how the program ends. */
static int take(struct arguments *all, const char *argument, const struct option *option, bool *is_used,
                planrt_build_options *options, planrt_runtime_options *runtime) {
    const char *name = option->name, *value = option->value;
    planrt_error *error = NULL;
    *is_used = false;
    size_t bytes;
    int32_t number;
    const struct { const char *name; planrt_precision precision; planrt_build_features features; bool *said; } flags[] = {
        {"--fp16", PLANRT_PRECISION_FLOAT16, 0, NULL},
        {"--bf16", PLANRT_PRECISION_BFLOAT16, 0, NULL},
        {"--int8", PLANRT_PRECISION_INT8, 0, NULL},
        {"--best", PLANRT_PRECISION_BEST, 0, NULL},
        {"--stronglyTyped", PLANRT_PRECISION_TYPED, 0, NULL},
        {"--tf32", 0, 0, &all->tf32},
        {"--noTF32", 0, 0, &all->no_tf32},
        {"--verbose", 0, 0, &all->verbose},
        {"--versionCompatible", 0, PLANRT_BUILD_VERSION_COMPATIBLE, NULL},
        {"--vc", 0, PLANRT_BUILD_VERSION_COMPATIBLE, NULL},
        {"--excludeLeanRuntime", 0, PLANRT_BUILD_EXCLUDE_LEAN_RUNTIME, NULL},
        {"--refit", 0, PLANRT_BUILD_REFITTABLE, NULL},
        {"--stripWeights", 0, PLANRT_BUILD_STRIP_WEIGHTS, NULL},
        {"--allowWeightStreaming", 0, PLANRT_BUILD_WEIGHT_STREAMING, NULL},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (strcmp(argument, flags[i].name) != 0) continue;
        all->precision |= flags[i].precision;
        all->features |= flags[i].features;
        if (flags[i].said) *flags[i].said = true;
        return -1;
    }
    int code;
    if (is_replaced(others, sizeof others / sizeof *others, name, &code)) return code;
    if (!value || !*value) return wrong("unknown option, or one without its value", argument);
    if (is_given_again(name)) return wrong("given twice", argument);
    *is_used = true;
    if (strcmp(name, "--onnx") == 0) {
        all->onnx = value;
    } else if (strcmp(name, "--saveEngine") == 0) {
        all->plan = value;
    } else if (strcmp(name, "--profile") == 0) {
        if (!parse_ordinal(value, &all->profile)) return wrong("--profile takes a number from 0, not", value);
    } else if (strcmp(name, "--minShapes") == 0 || strcmp(name, "--optShapes") == 0 || strcmp(name, "--maxShapes") == 0 ||
               strcmp(name, "--shapes") == 0) {
        int bound = name[3] == 'i' ? MIN : name[3] == 'a' ? MAX : OPT;
        const char *problem = parse_shapes(all, value, bound);
        if (problem) return wrong(problem, argument);
    } else if (strcmp(name, "--workspace") == 0) {
        if (!parse_bytes(value, MIB, &bytes)) return wrong("--workspace takes MiB, not", value);
        error = planrt_build_options_set_workspace_limit(options, bytes);
    } else if (strcmp(name, "--memPoolSize") == 0) {
        const char *pool = "workspace:";
        if (strncmp(value, pool, strlen(pool)) != 0 || !parse_bytes(value + strlen(pool), MIB, &bytes))
            return wrong("--memPoolSize takes workspace:N, not", value);
        error = planrt_build_options_set_workspace_limit(options, bytes);
    } else if (strcmp(name, "--timingCacheFile") == 0) {
        all->timing_cache = value;
        error = planrt_build_options_set_timing_cache(options, value);
    } else if (strcmp(name, "--builderOptimizationLevel") == 0) {
        if (!parse_ordinal(value, &number)) return wrong("--builderOptimizationLevel takes 0 to 5, not", value);
        error = planrt_build_options_set_optimization_level(options, number);
    } else if (strcmp(name, "--tacticSources") == 0) {
        if (!parse_tactics(value, &all->tactics, &all->no_tactics) || (all->tactics & all->no_tactics))
            return wrong("--tacticSources takes (+|-)CUBLAS|CUBLAS_LT|CUDNN|EDGE_MASK_CONVOLUTIONS|JIT_CONVOLUTIONS,..., not", value);
        error = planrt_build_options_set_tactics(options, all->tactics, all->no_tactics);
    } else if (strcmp(name, "--hardwareCompatibilityLevel") == 0) {
        const char *levels[] = {"none", "ampere+", "sameComputeCapability"};
        for (number = 0; number < 3 && strcmp(value, levels[number]) != 0;) number++;
        if (number == 3) return wrong("--hardwareCompatibilityLevel takes none, ampere+ or sameComputeCapability, not", value);
        error = planrt_build_options_set_hardware_compatibility(options, number);
    } else if (strcmp(name, "--sparsity") == 0) {
        if (strcmp(value, "enable") == 0) all->features |= PLANRT_BUILD_SPARSE_WEIGHTS;
        else if (strcmp(value, "disable") != 0) return wrong("--sparsity takes enable or disable, not", value);
    } else if (strcmp(name, "--profilingVerbosity") == 0) {
        if (strcmp(value, "detailed") == 0) all->features |= PLANRT_BUILD_DETAILED_LAYERS;
        else if (strcmp(value, "layer_names_only") != 0)
            return wrong("--profilingVerbosity takes detailed or layer_names_only, not", value);
    } else if (strcmp(name, "--layerPrecisions") == 0) {
        if (!only_fp32(value)) return wrong("--layerPrecisions takes NODE:fp32,..., not", value);
        all->keeps_float32 = true;
        error = each(value, options, keep_node);
    } else if (strcmp(name, "--float32Operators") == 0) {
        all->keeps_float32 = true;
        error = each(value, options, planrt_build_options_keep_float32_operator);
    } else if (strcmp(name, "--instanceNormalization") == 0) {
        planrt_instance_normalization kind;
        if (!parse_normalization(value, &kind))
            return wrong("--instanceNormalization takes native, plugin or decomposed, not", value);
        error = planrt_build_options_set_instance_normalization(options, kind);
    } else {
        return take_runtime_option("build", option, argument, runtime);
    }
    return error ? failed(error) : -1;
}

/* The inputs' shapes; the best alone stands for all three. */
static int take_shapes(const struct arguments *all, planrt_build_options *options) {
    for (int i = 0; i < all->input_count; i++) {
        const struct input *input = &all->inputs[i];
        const bool only_opt = input->rank[MIN] < 0 && input->rank[MAX] < 0;
        planrt_profile_shape shape = {.struct_size = sizeof shape, .rank = input->rank[OPT]};
        int64_t *to[BOUNDS] = {shape.min, shape.opt, shape.max};
        for (int bound = 0; bound < BOUNDS; bound++) {
            const int from = only_opt ? OPT : bound;
            if (input->rank[from] < 0 || input->rank[from] != shape.rank)
                return wrong("--minShapes, --optShapes and --maxShapes, of as many dimensions each, are needed for", input->name);
            memcpy(to[bound], input->extents[from], sizeof input->extents[from]);
        }
        planrt_error *error = planrt_build_options_set_profile_shape(options, input->profile, input->name, &shape);
        if (error) return failed(error);
    }
    return -1;
}

static int run(struct arguments *all, planrt_build_options *options, planrt_runtime_options *runtime_options) {
    if (!all->onnx || !all->plan) return wrong("--onnx=MODEL and --saveEngine=PLAN are needed", all->onnx ? "no PLAN" : "no MODEL");
    if (is_same_file(all->onnx, all->plan)) return wrong("the plan would take the place of the model", all->plan);
    if (all->timing_cache && (strcmp(all->timing_cache, all->plan) == 0 || is_same_file(all->timing_cache, all->plan)))
        return wrong("the plan would take the place of the timing cache", all->plan);
    int code = take_shapes(all, options);
    if (code >= 0) return code;
    const bool is_reduced = all->precision & ~(planrt_precision)PLANRT_PRECISION_TYPED;
    if (all->tf32 || (is_reduced && !all->no_tf32 && !all->keeps_float32)) all->precision |= PLANRT_PRECISION_TF32;
    if (!is_reduced && !all->tf32 && !all->no_tf32)
        fputs("planrt: float32 is computed as such; --tf32 allows what trtexec does unless --noTF32 is said\n", stderr);
    if (!can_write(all->plan)) return NOT_WRITTEN;
    planrt_runtime *runtime = NULL;
    planrt_plan *plan = NULL;
    planrt_error *error = planrt_build_options_set_precision(options, all->precision);
    if (!error) error = planrt_build_options_set_features(options, all->features);
    if (!error) error = planrt_build_options_set_progress(options, tell_progress, NULL);
    if (!error)
        error = planrt_runtime_options_set_log(runtime_options, log_line, NULL, NULL,
                                               all->verbose ? PLANRT_LOG_DEBUG : PLANRT_LOG_WARNING);
    if (!error) error = planrt_runtime_new(runtime_options, &runtime);
    watch_interrupts();
    if (!error) error = planrt_build_file(runtime, all->onnx, options, &plan);
    code = keep_plan(error, plan, all->plan);
    planrt_plan_delete(plan);
    planrt_runtime_delete(runtime);
    return code;
}

int build(int count, char **arguments) {
    static struct arguments all;
    planrt_build_options *options = NULL;
    planrt_runtime_options *runtime_options = NULL;
    planrt_error *error = planrt_build_options_new(&options);
    if (!error) error = planrt_runtime_options_new(&runtime_options);
    int code = error ? failed(error) : -1;
    for (int i = 0; i < count && code < 0; i++) {
        if (strcmp(arguments[i], "--help") == 0) {
            fputs(usage, stdout);
            code = written(0);
            break;
        }
        struct option option;
        if (!split(count - i, arguments + i, &option)) {
            code = wrong("unknown option", arguments[i]);
            break;
        }
        bool is_used;
        code = take(&all, arguments[i], &option, &is_used, options, runtime_options);
        if (option.is_next && is_used) i++;
    }
    if (code < 0) code = run(&all, options, runtime_options);
    planrt_build_options_delete(options);
    planrt_runtime_options_delete(runtime_options);
    return code;
}
