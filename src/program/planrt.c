/* planrt: what the library finds on this machine, and whether a model will run here; plans are built in build.c and refitted
 * in refit.c, models measured in measure.c, scans segmented in segment.c. */

#include "program.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: planrt doctor [MODEL] [--tensorrt PATH] [--plugin PATH]... [--openvino PATH] [--device N]\n"
    "       planrt build --onnx=MODEL --saveEngine=PLAN [OPTION]...     (planrt build --help)\n"
    "       planrt refit PLAN --onnx=MODEL --saveEngine=NEW [OPTION]... (planrt refit --help)\n"
    "       planrt inspect MODEL [OPTION]...                            (planrt inspect --help)\n"
    "       planrt bench MODEL [OPTION]...                              (planrt bench --help)\n"
    "       planrt segment MODEL SCAN... --out MASK [OPTION]...         (planrt segment --help)\n"
    "       planrt --version\n"
    "\n"
    "planrt doctor says which CUDA driver, GPUs, TensorRT, plugins and OpenVINO it finds, and what is in MODEL (a TensorRT plan,\n"
    "an ONNX file, or a model folder, which it tests) and whether it will run here.\n"
    "  --tensorrt PATH  the TensorRT library, or the folder it is in\n"
    "  --plugin PATH    a library of TensorRT plugins; may be given more than once\n"
    "  --openvino PATH  OpenVINO's library, its folder, or that of the Python environment it is in\n"
    "  --device N       the GPU's ordinal; 0 if not given\n"
    "It exits with 0 if what was asked about is usable, with 1 if it is not, with 2 if it was called wrongly, with 3 if\n"
    "the output could not be written.\n";

/* Writes an argument so that a terminal shows it, and does not act on it; a long one is cut. */
void show(FILE *to, const char *argument) {
    enum { MOST = 200 };
    for (int i = 0; argument[i]; i++) {
        const unsigned char byte = (unsigned char)argument[i];
        if (i == MOST) {
            fputs("...", to);
            return;
        }
        if (byte >= ' ' && byte <= '~')
            fputc(byte, to);
        else
            fprintf(to, "\\x%02x", byte);
    }
}

/* The program's exit code, if all of its output has gone where it was to go. */
int written(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fprintf(stderr, "planrt: the output could not be written: %s\n", strerror(errno));
    return NOT_WRITTEN;
}

static int wrong_usage(const char *problem, const char *argument) {
    fprintf(stderr, "planrt: %s: ", problem);
    show(stderr, argument);
    fprintf(stderr, "\n\n%s", usage);
    return USAGE;
}

int failed(planrt_error *error) {
    fprintf(stderr, "planrt: %s\n", planrt_error_get_message(error));
    if (*planrt_error_get_detail(error)) fprintf(stderr, "%s\n", planrt_error_get_detail(error));
    planrt_error_delete(error);
    return NOT_USABLE;
}

static int version(void) {
    uint32_t major = 0, minor = 0;
    planrt_api_version(&major, &minor);
    printf("planrt %s (C interface %" PRIu32 ".%" PRIu32 ")\n", planrt_version(), major, minor);
    return written(0);
}

int parse_ordinal(const char *text, int32_t *out) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < 0 || value > INT32_MAX) return 0;
    *out = (int32_t)value;
    return 1;
}

static int doctor(int count, char **arguments, planrt_runtime_options *options) {
    const char *model = NULL;
    for (int i = 0; i < count; i++) {
        const char *argument = arguments[i];
        if (argument[0] != '-') {
            if (model) return wrong_usage("one model at a time", argument);
            model = argument;
            continue;
        }
        planrt_error *error = NULL;
        const char *value = i + 1 < count ? arguments[i + 1] : NULL;
        if (value && is_given_again(argument)) return wrong_usage("given twice", argument);
        if (strcmp(argument, "--tensorrt") == 0 && value) {
            error = planrt_runtime_options_set_tensorrt_path(options, value);
        } else if (strcmp(argument, "--plugin") == 0 && value) {
            error = planrt_runtime_options_add_plugin_library(options, value);
        } else if (strcmp(argument, "--openvino") == 0 && value) {
            error = planrt_runtime_options_set_openvino_path(options, value);
        } else if (strcmp(argument, "--device") == 0 && value) {
            int32_t ordinal;
            if (!parse_ordinal(value, &ordinal)) return wrong_usage("--device takes a GPU's ordinal, not", value);
            error = planrt_runtime_options_set_device(options, ordinal);
        } else {
            return wrong_usage("unknown option, or one without its value", argument);
        }
        if (error) return failed(error);
        i++;
    }

    char *report = NULL;
    bool usable = false;
    planrt_error *error = planrt_doctor(options, model, &report, &usable);
    if (error) return failed(error);
    fputs(report, stdout);
    planrt_string_delete(report);
    return written(usable ? USABLE : NOT_USABLE);
}

int main(int count, char **arguments) {
    const char *command = count > 1 ? arguments[1] : "";
    if (strcmp(command, "--version") == 0) return version();
    if (strcmp(command, "--help") == 0) {
        fputs(usage, stdout);
        return written(0);
    }
    if (strcmp(command, "build") == 0) return build(count - 2, arguments + 2);
    if (strcmp(command, "refit") == 0) return refit(count - 2, arguments + 2);
    if (strcmp(command, "inspect") == 0) return inspect(count - 2, arguments + 2);
    if (strcmp(command, "bench") == 0) return bench(count - 2, arguments + 2);
    if (strcmp(command, "segment") == 0) return segment(count - 2, arguments + 2);
    if (strcmp(command, "doctor") != 0) return wrong_usage("unknown command", *command ? command : "(none)");

    planrt_runtime_options *options = NULL;
    planrt_error *error = planrt_runtime_options_new(&options);
    if (error) return failed(error);
    int code = doctor(count - 2, arguments + 2, options);
    planrt_runtime_options_delete(options);
    return code;
}
