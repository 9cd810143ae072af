/* planrt segment: a scan in a NIfTI file becomes labels in one. */

#define _POSIX_C_SOURCE 200809L
#include "program.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: planrt segment MODEL SCAN... --out MASK [OPTION]...\n"
    "\n"
    "Segments a scan with the model in the folder MODEL: a plan or an ONNX file (fold_0 and so on where there are several), and\n"
    "what is done around it, as a recipe.json, nnU-Net's plans.json and dataset.json, or a MONAI bundle's inference.json. SCAN\n"
    "is a NIfTI file (.nii, .nii.gz); several are the channels of one scan, in the order in which the model takes them.\n"
    "  --out MASK             where the labels are written to, .nii or .nii.gz, on the scan's grid\n"
    "  --overlay PICTURE      a PNG with the scan in grey and the labels in colour\n"
    "  --budget N             the most MiB of memory to work in; N may end in B, K, M or G\n"
    "  --device-budget N      the same of a GPU's memory, beside what the models have there\n"
    "  --configuration NAME   of an nnU-Net the one that the models are, as 3d_fullres\n"
    "  --overlap SHARE        of a tile with its neighbour, 0 to below 1; less is faster\n"
    "  --mirror AXES          none, or those of z, y and x of the model to average mirrored tiles over; none is fastest\n"
    "  --output NAME          of a model that has several outputs the one to segment by\n"
    "  --largest              keeps only the largest connected part of each label\n"
    "  --with MODEL           another model, as another configuration of nnU-Net's: probabilities are averaged; may be given more than once\n"
    "  --coarse MODEL         a small model that finds where to look: the others work on the box around what it finds\n"
    "  --margin MM            millimetres around that box; 20 if not given\n"
    "  --any-direction        takes a scan whose axes are not perpendicular as if they were\n"
    "  --allow-nan            goes on where the network gives what is no number\n"
    "  --tensorrt PATH        the TensorRT library, or the folder it is in\n"
    "  --plugin PATH          a library of TensorRT plugins; may be given more than once\n"
    "  --cpu ENGINE           what runs ONNX models: engine (planrt's own), openvino, or fastest; engine if not given\n"
    "  --allow-cpu            runs the ONNX model of a folder none of whose plans runs here on the CPU, which may take long\n"
    "  --openvino PATH        OpenVINO's library, its folder, or that of the Python environment it is in\n"
    "  --device N             the GPU's ordinal, which has to be there; if not given 0, or the CPU where an ONNX model may run there\n"
    "It prints how large each label is, and exits with 0 if the labels are written, with 1 if the scan cannot be segmented, with 2\n"
    "if it was called wrongly, with 3 if what there is cannot be written, with 130 after Ctrl-C.\n";

enum { MOST_SCANS = 64, MOST_MODELS = 16, LABELS = 65536 };

struct arguments {
    const char *models[MOST_MODELS], *coarse, *scans[MOST_SCANS], *out, *overlay;
    size_t model_count, scan_count, budget, device_budget;
    double margin_mm;
    planrt_backend cpu; /* 0 if it is not said */
    bool cpu_allowed, nan_allowed, any_direction_allowed;
};

static volatile sig_atomic_t interrupted;

/* The next one ends the program at once. */
static void interrupt(int number) {
    (void)number;
    interrupted = 1;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* "none", or letters of z, y and x. */
static bool parse_axes(const char *text, bool axes[3]) {
    memset(axes, 0, 3 * sizeof *axes);
    if (strcmp(text, "none") == 0) return true;
    for (const char *letter = text; *letter; letter++) {
        const char *axis = strchr("zyx", *letter);
        if (!axis || axes[axis - "zyx"]) return false;
        axes[axis - "zyx"] = true;
    }
    return *text;
}

/* How far it is: a bar on a terminal, a line for each tenth elsewhere. */
struct progress {
    bool is_terminal, is_drawn;
    double start; /* when the first tile was begun */
    int64_t shown, first_done;
};

static void show_progress(struct progress *progress, int64_t done, int64_t count) {
    if (count <= 0) return;
    if (progress->start == 0) {
        progress->start = seconds();
        progress->first_done = done;
        progress->shown = -1;
    }
    const int64_t tenth = done * 10 / count;
    if (!progress->is_terminal && tenth == progress->shown) return;
    progress->shown = tenth;
    const int64_t measured = done - progress->first_done;
    const double elapsed = seconds() - progress->start;
    const double left = measured > 0 ? elapsed / (double)measured * (double)(count - done) : 0;
    if (progress->is_terminal) {
        enum { WIDTH = 30 };
        fputs("\r[", stderr);
        for (int i = 0; i < WIDTH; i++) fputc(i < (int)(done * WIDTH / count) ? '#' : '.', stderr);
        fputs("] ", stderr);
        progress->is_drawn = true;
    } else {
        fputs("planrt: ", stderr);
    }
    fprintf(stderr, "%" PRId64 " of %" PRId64 " tiles", done, count);
    if (measured > 0 && done < count) {
        const long whole = (long)(left + 0.5);
        if (whole >= 60) fprintf(stderr, ", %ld min %02ld s left", whole / 60, whole % 60);
        else fprintf(stderr, ", %ld s left", whole);
    }
    fputs(progress->is_terminal ? "\033[K" : "\n", stderr);
    fflush(stderr);
}

/* Waits until it is answered, or cancelled by Ctrl-C. */
static planrt_error *wait_for(planrt_segmentation *segmentation) {
    struct progress progress = {.is_terminal = isatty(STDERR_FILENO)};
    planrt_error *error = NULL;
    bool is_done = false, is_cancelled = false;
    while (!error && !is_done) {
        error = planrt_segmentation_wait(segmentation, 100000, &is_done);
        int64_t done = 0, count = 0;
        planrt_error *unknown = planrt_segmentation_get_progress(segmentation, &done, &count);
        if (!unknown && !error) show_progress(&progress, done, count);
        planrt_error_delete(unknown);
        if (interrupted && !is_cancelled) {
            planrt_segmentation_cancel(segmentation);
            is_cancelled = true;
        }
    }
    if (progress.is_drawn) fputc('\n', stderr);
    return error;
}

/* Reads the scans, and makes one of them. */
static planrt_error *read_scans(const struct arguments *arguments, planrt_scan **out) {
    planrt_scan *scans[MOST_SCANS] = {NULL};
    planrt_error *error = NULL;
    for (size_t i = 0; i < arguments->scan_count && !error; i++) {
        error = planrt_scan_read_file(arguments->scans[i], &scans[i]);
        const char *note = error ? "" : planrt_scan_get_note(scans[i]);
        if (*note) {
            fputs("planrt: ", stderr);
            show(stderr, arguments->scans[i]);
            fprintf(stderr, ": %s\n", note);
        }
    }
    if (!error && arguments->scan_count == 1) {
        *out = scans[0];
        return NULL;
    }
    if (!error) error = planrt_scan_join((const planrt_scan *const *)scans, arguments->scan_count, out);
    for (size_t i = 0; i < arguments->scan_count; i++) planrt_scan_delete(scans[i]);
    return error;
}

/* How large each label is. */
static void print_sizes(const planrt_segmentation *segmentation, const uint16_t *labels, size_t count) {
    static uint64_t counts[LABELS];
    for (size_t i = 0; i < count; i++) counts[labels[i]]++;
    bool any = false;
    for (int label = 1; label < LABELS; label++) {
        if (!counts[label]) continue;
        double ml = 0;
        planrt_error_delete(planrt_segmentation_get_label_volume(segmentation, label, &ml)); /* it is answered */
        printf("label %-5d %12" PRIu64 " voxels %12.3f ml\n", label, counts[label], ml);
        any = true;
    }
    if (!any) fputs("no voxel has a label\n", stdout);
}

/* Labels below 256 need a byte each. */
static bool narrow(uint16_t *labels, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (labels[i] > UINT8_MAX) return false;
    uint8_t *bytes = (uint8_t *)labels;
    for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)labels[i];
    return true;
}

static int write_results(const struct arguments *arguments, const planrt_scan *scan, const planrt_segmentation *segmentation,
                         uint16_t *labels, size_t count) {
    print_sizes(segmentation, labels, count);
    const bool is_narrow = narrow(labels, count);
    const planrt_element_type type = is_narrow ? PLANRT_UINT8 : PLANRT_UINT16;
    const size_t bytes = count * (is_narrow ? 1 : 2);
    const struct {
        const char *path;
        planrt_error *(*write)(const planrt_scan *, const char *, const void *, size_t, planrt_element_type);
    } files[] = {{arguments->out, planrt_scan_write_labels}, {arguments->overlay, planrt_scan_write_overlay}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (!files[i].path) continue;
        planrt_error *error = files[i].write(scan, files[i].path, labels, bytes, type);
        if (error) {
            failed(error);
            return NOT_WRITTEN;
        }
        fputs("planrt: ", stdout);
        show(stdout, files[i].path);
        fputs(" is written\n", stdout);
    }
    return written(USABLE);
}

static bool ends_in(const char *path, const char *ending) {
    const size_t length = strlen(path), least = strlen(ending);
    return length > least && strcasecmp(path + length - least, ending) == 0;
}

/* What is written has the form that its name says, and nothing that is read is written over; -1, or how the program ends. */
static int check_outs(const struct arguments *arguments) {
    struct stat status;
    const char *outs[] = {arguments->out, arguments->overlay};
    for (size_t i = 0; i < sizeof outs / sizeof *outs; i++) {
        if (!outs[i]) continue;
        const bool is_device = stat(outs[i], &status) == 0 && !S_ISREG(status.st_mode);
        if (i == 0 && !is_device && !ends_in(outs[i], ".nii") && !ends_in(outs[i], ".nii.gz"))
            return wrong_option("segment", "--out is to end in .nii or .nii.gz, and not as", outs[i]);
        if (i == 1 && !is_device && !ends_in(outs[i], ".png"))
            return wrong_option("segment", "--overlay is to end in .png, and not as", outs[i]);
        for (size_t scan = 0; scan < arguments->scan_count; scan++)
            if (is_same_file(outs[i], arguments->scans[scan]))
                return wrong_option("segment", "the scan would be written over by what is found in it; name another file than", outs[i]);
        if (!can_write(outs[i])) return NOT_WRITTEN;
    }
    return -1;
}

/* What runs the ONNX models of a segmenter, and when, where that was said. */
static planrt_error *set_cpu(planrt_segmenter_options *options, const struct arguments *arguments) {
    planrt_engine_options *engine = NULL;
    planrt_error *error = planrt_engine_options_new(&engine);
    if (!error && arguments->cpu) error = planrt_engine_options_set_cpu_backend(engine, arguments->cpu);
    if (!error) error = planrt_engine_options_set_cpu_allowed(engine, arguments->cpu_allowed);
    if (!error) error = planrt_segmenter_options_set_engine_options(options, engine);
    planrt_engine_options_delete(engine);
    return error;
}

/* The coarse model is as its folder says; the options are about the others, but for what runs it. */
static planrt_error *load_coarse(const struct arguments *arguments, const planrt_runtime *runtime, planrt_segmenter **out) {
    planrt_segmenter_options *options = NULL;
    planrt_error *error = planrt_segmenter_options_new(&options);
    if (!error) error = set_cpu(options, arguments);
    if (!error) error = planrt_segmenter_load(runtime, arguments->coarse, options, out);
    planrt_segmenter_options_delete(options);
    return error;
}

/* The models, averaged if there are several, within what the coarse one finds. */
static planrt_error *load(const struct arguments *arguments, const planrt_runtime *runtime, planrt_segmenter_options *options,
                          planrt_segmenter **out) {
    planrt_segmenter *models[MOST_MODELS] = {NULL}, *coarse = NULL;
    planrt_error *error = set_cpu(options, arguments);
    if (arguments->coarse) {
        if (!error) error = load_coarse(arguments, runtime, &coarse);
        /* Several are within the box together. */
        if (!error && arguments->model_count == 1) error = planrt_segmenter_options_set_coarse(options, coarse, arguments->margin_mm);
    }
    for (size_t i = 0; i < arguments->model_count && !error; i++)
        error = planrt_segmenter_load(runtime, arguments->models[i], options, &models[i]);
    if (!error && arguments->model_count == 1) {
        *out = models[0];
        models[0] = NULL;
    } else if (!error) {
        if (coarse) error = planrt_segmenter_options_set_coarse(options, coarse, arguments->margin_mm);
        if (!error)
            error = planrt_segmenter_new_ensemble((const planrt_segmenter *const *)models, arguments->model_count, options, out);
    }
    for (size_t i = 0; i < arguments->model_count; i++) planrt_segmenter_delete(models[i]);
    planrt_segmenter_delete(coarse);
    return error;
}

static int run(const struct arguments *arguments, const planrt_runtime_options *runtime_options,
               planrt_segmenter_options *options) {
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);

    planrt_scan *scan = NULL;
    planrt_runtime *runtime = NULL;
    planrt_segmenter *segmenter = NULL;
    planrt_segmentation *segmentation = NULL;
    uint16_t *labels = NULL;
    planrt_volume volume = {.struct_size = sizeof volume};
    planrt_error *error = read_scans(arguments, &scan);
    if (!error) error = planrt_scan_get_volume(scan, &volume);
    if (!error && !interrupted) error = planrt_runtime_new(runtime_options, &runtime);
    if (!error && !interrupted) error = load(arguments, runtime, options, &segmenter);
    int code = interrupted ? INTERRUPTED : USABLE;
    const size_t count = (size_t)(volume.extents[0] * volume.extents[1] * volume.extents[2]);
    if (!error && code == USABLE) {
        labels = calloc(count, sizeof *labels);
        if (!labels) {
            fputs("planrt: there is no memory for the labels\n", stderr);
            code = NOT_USABLE;
        }
        planrt_label_map map = {.struct_size = sizeof map, .data = labels, .size_bytes = count * sizeof *labels,
                                .element_type = PLANRT_UINT16};
        planrt_segmentation_options treatment = {.struct_size = sizeof treatment, .memory_budget_bytes = arguments->budget,
                                                 .device_memory_budget_bytes = arguments->device_budget,
                                                 .nan_allowed = arguments->nan_allowed,
                                                 .any_direction_allowed = arguments->any_direction_allowed};
        const double start = seconds();
        if (labels) error = planrt_segmenter_submit(segmenter, &volume, &map, &treatment, &segmentation);
        if (labels && !error) error = wait_for(segmentation);
        if (labels && !error) printf("segmented in %.1f s\n", seconds() - start);
    }
    if (error) {
        const bool is_cancelled = planrt_error_get_code(error) == PLANRT_ERROR_CANCELLED;
        failed(error);
        code = is_cancelled && interrupted ? INTERRUPTED : NOT_USABLE;
    } else if (code == USABLE) {
        code = write_results(arguments, scan, segmentation, labels, count);
    }
    planrt_segmentation_delete(segmentation);
    planrt_segmenter_delete(segmenter);
    free(labels); /* the segmentation's until here */
    planrt_runtime_delete(runtime);
    planrt_scan_delete(scan);
    return code;
}

/* An option with its value; -1 if it is taken, else how the program ends. */
static int take(struct arguments *all, const char *name, const char *value, planrt_runtime_options *runtime,
                planrt_segmenter_options *options) {
    planrt_error *error = NULL;
    if (strcmp(name, "--out") == 0) {
        all->out = value;
    } else if (strcmp(name, "--overlay") == 0) {
        all->overlay = value;
    } else if (strcmp(name, "--budget") == 0) {
        if (!parse_bytes(value, MIB, &all->budget)) return wrong_option("segment", "--budget takes MiB, not", value);
    } else if (strcmp(name, "--device-budget") == 0) {
        if (!parse_bytes(value, MIB, &all->device_budget)) return wrong_option("segment", "--device-budget takes MiB, not", value);
    } else if (strcmp(name, "--with") == 0) {
        if (all->model_count == MOST_MODELS) return wrong_option("segment", "more models than there can be", value);
        all->models[all->model_count++] = value;
    } else if (strcmp(name, "--coarse") == 0) {
        all->coarse = value;
    } else if (strcmp(name, "--margin") == 0) {
        char *end;
        all->margin_mm = strtod(value, &end);
        if (end == value || *end || !(all->margin_mm >= 0 && all->margin_mm < 1e6))
            return wrong_option("segment", "--margin takes millimetres, not", value);
    } else if (strcmp(name, "--output") == 0) {
        error = planrt_segmenter_options_set_output(options, value);
    } else if (strcmp(name, "--configuration") == 0) {
        error = planrt_segmenter_options_set_configuration(options, value);
    } else if (strcmp(name, "--overlap") == 0) {
        char *end;
        const double overlap = strtod(value, &end);
        if (end == value || *end || !(overlap >= 0 && overlap < 1))
            return wrong_option("segment", "--overlap takes a number from 0 to below 1, not", value);
        error = planrt_segmenter_options_set_overlap(options, overlap);
    } else if (strcmp(name, "--mirror") == 0) {
        bool axes[3];
        if (!parse_axes(value, axes)) return wrong_option("segment", "--mirror takes none or letters of z, y and x, not", value);
        error = planrt_segmenter_options_set_mirrored(options, axes[0], axes[1], axes[2]);
    } else if (strcmp(name, "--tensorrt") == 0) {
        error = planrt_runtime_options_set_tensorrt_path(runtime, value);
    } else if (strcmp(name, "--plugin") == 0) {
        error = planrt_runtime_options_add_plugin_library(runtime, value);
    } else if (strcmp(name, "--cpu") == 0) {
        if (!parse_cpu(value, &all->cpu)) return wrong_option("segment", "--cpu takes engine, openvino or fastest, not", value);
    } else if (strcmp(name, "--openvino") == 0) {
        error = planrt_runtime_options_set_openvino_path(runtime, value);
    } else if (strcmp(name, "--device") == 0) {
        int32_t ordinal;
        if (!parse_ordinal(value, &ordinal)) return wrong_option("segment", "--device takes a GPU's ordinal, not", value);
        const int code = check_device(ordinal);
        if (code >= 0) return code;
        error = planrt_runtime_options_set_device(runtime, ordinal);
    } else {
        return wrong_option("segment", "unknown option", name);
    }
    return error ? failed(error) : -1;
}

int segment(int count, char **arguments) {
    struct arguments all = {.margin_mm = 20, .model_count = 1};
    planrt_runtime_options *runtime = NULL;
    planrt_segmenter_options *options = NULL;
    planrt_error *error = planrt_runtime_options_new(&runtime);
    if (!error) error = planrt_runtime_options_set_log(runtime, log_line, NULL, NULL, PLANRT_LOG_WARNING);
    if (!error) error = planrt_segmenter_options_new(&options);
    int code = error ? failed(error) : -1;
    for (int i = 0; i < count && code < 0; i++) {
        struct option option;
        if (strcmp(arguments[i], "--help") == 0) {
            fputs(usage, stdout);
            code = written(USABLE);
        } else if (strcmp(arguments[i], "--allow-nan") == 0) {
            all.nan_allowed = true;
        } else if (strcmp(arguments[i], "--allow-cpu") == 0) {
            all.cpu_allowed = true;
        } else if (strcmp(arguments[i], "--largest") == 0) {
            error = planrt_segmenter_options_set_largest_component(options, true);
            if (error) code = failed(error);
        } else if (strcmp(arguments[i], "--any-direction") == 0) {
            all.any_direction_allowed = true;
        } else if (arguments[i][0] != '-') {
            if (!all.models[0]) all.models[0] = arguments[i];
            else if (all.scan_count < MOST_SCANS) all.scans[all.scan_count++] = arguments[i];
            else code = wrong_option("segment", "more scans than there can be", arguments[i]);
        } else if (!split(count - i, arguments + i, &option) || !option.value || !*option.value) {
            code = wrong_option("segment", "unknown option, or one without its value", arguments[i]);
        } else if (is_given_again(option.name)) {
            code = wrong_option("segment", "given twice", arguments[i]);
        } else {
            code = take(&all, option.name, option.value, runtime, options);
            i += option.is_next;
        }
    }
    if (code < 0 && (!all.models[0] || !all.scan_count || !all.out))
        code = wrong_option("segment", "MODEL, SCAN and --out MASK are needed", !all.models[0] ? "no MODEL" : !all.out ? "no --out" : "no SCAN");
    if (code < 0) code = check_outs(&all);
    if (code < 0) code = run(&all, runtime, options);
    planrt_segmenter_options_delete(options);
    planrt_runtime_options_delete(runtime);
    return code;
}
