/* planrt refit: a plan gets the weights of an ONNX model of the same graph. */

#include "program.h"

#include <string.h>

static const char usage[] =
    "usage: planrt refit PLAN --onnx=MODEL --saveEngine=NEW [OPTION]...\n"
    "\n"
    "Puts the weights of an ONNX model into PLAN, which was built with --refit or --stripWeights from a model of the same\n"
    "graph, in seconds; NEW may be PLAN. A plan that was built with --stripWeights is whole then.\n"
    "  --instanceNormalization=KIND  native, plugin or decomposed, as when PLAN was built\n"
    "  --plugins=LIBRARY             a library of TensorRT plugins; may be given more than once\n"
    "  --tensorrt=PATH               the TensorRT library, or the folder it is in\n"
    "  --device=N                    the GPU's ordinal; 0 if not given\n"
    "  --verbose                     TensorRT's own lines, too\n"
    "It exits with 0 if NEW is written, with 1 if it is not, with 2 if it was called wrongly, with 130 after Ctrl-C.\n";

struct arguments {
    const char *old, *onnx, *plan;
    bool is_verbose;
};

static int wrong(const char *problem, const char *argument) { return wrong_option("refit", problem, argument); }

/* Takes an option with its value; -1 if it is done, else how the program ends. */
static int take(struct arguments *all, const struct option *option, const char *argument, planrt_build_options *options,
                planrt_runtime_options *runtime) {
    const char *name = option->name, *value = option->value;
    if (!value || !*value) return wrong("unknown option, or one without its value", argument);
    if (is_given_again(name)) return wrong("given twice", argument);
    if (strcmp(name, "--onnx") == 0) {
        all->onnx = value;
    } else if (strcmp(name, "--saveEngine") == 0) {
        all->plan = value;
    } else if (strcmp(name, "--loadEngine") == 0) {
        if (all->old) return wrong("one plan at a time", argument);
        all->old = value;
    } else if (strcmp(name, "--instanceNormalization") == 0) {
        planrt_instance_normalization kind;
        if (!parse_normalization(value, &kind))
            return wrong("--instanceNormalization takes native, plugin or decomposed, not", value);
        planrt_error *error = planrt_build_options_set_instance_normalization(options, kind);
        return error ? failed(error) : -1;
    } else {
        return take_runtime_option("refit", option, argument, runtime);
    }
    return -1;
}

static int run(const struct arguments *all, planrt_build_options *options, planrt_runtime_options *runtime_options) {
    if (!all->old) return wrong("which plan?", "no PLAN");
    if (!all->onnx || !all->plan) return wrong("--onnx=MODEL and --saveEngine=NEW are needed", all->onnx ? "no NEW" : "no MODEL");
    if (is_same_file(all->onnx, all->plan)) return wrong("the plan would take the place of the model", all->plan);
    if (!can_write(all->plan)) return NOT_WRITTEN;
    planrt_runtime *runtime = NULL;
    planrt_plan *plan = NULL;
    planrt_error *error = planrt_build_options_set_progress(options, tell_progress, NULL);
    if (!error)
        error = planrt_runtime_options_set_log(runtime_options, log_line, NULL, NULL,
                                               all->is_verbose ? PLANRT_LOG_DEBUG : PLANRT_LOG_WARNING);
    if (!error) error = planrt_runtime_new(runtime_options, &runtime);
    watch_interrupts();
    if (!error) error = planrt_refit_file(runtime, all->old, all->onnx, options, &plan);
    const int code = keep_plan(error, plan, all->plan);
    planrt_plan_delete(plan);
    planrt_runtime_delete(runtime);
    return code;
}

int refit(int count, char **arguments) {
    struct arguments all = {0};
    planrt_build_options *options = NULL;
    planrt_runtime_options *runtime_options = NULL;
    planrt_error *error = planrt_build_options_new(&options);
    if (!error) error = planrt_runtime_options_new(&runtime_options);
    int code = error ? failed(error) : -1;
    for (int i = 0; i < count && code < 0; i++) {
        struct option option;
        if (strcmp(arguments[i], "--help") == 0) {
            fputs(usage, stdout);
            code = written(0);
        } else if (strcmp(arguments[i], "--verbose") == 0) {
            all.is_verbose = true;
        } else if (split(count - i, arguments + i, &option)) {
            code = take(&all, &option, arguments[i], options, runtime_options);
            if (option.is_next) i++;
        } else if (all.old) {
            code = wrong("one plan at a time", arguments[i]);
        } else {
            all.old = arguments[i];
        }
    }
    if (code < 0) code = run(&all, options, runtime_options);
    planrt_build_options_delete(options);
    planrt_runtime_options_delete(runtime_options);
    return code;
}
