#!/usr/bin/env python3
"""Writes a C program that calls every function of planrt.h with each of its pointers null, the others being good.

    null_arguments.py PLANRT_H OUT.c

A function that can fail has to say PLANRT_ERROR_INVALID_ARGUMENT and to leave its outputs alone, any other has to come
back. A new function in the header is tested without a word here; a new type wants a specimen.
"""

import re
import sys
from pathlib import Path

# Where null is a meaning of its own: (function, index of the argument).
NULLABLE = {
    ("planrt_runtime_options_set_log", 2),  # user data
    ("planrt_runtime_options_set_log", 3),  # its release
    ("planrt_runtime_options_set_tensorrt_path", 1),  # the default
    ("planrt_runtime_options_set_openvino_path", 1),  # the default
    ("planrt_runtime_new", 0),  # options
    ("planrt_engine_options_set_lean_runtime", 1),  # the default
    ("planrt_engine_load_file", 2),  # options
    ("planrt_engine_load_memory", 3),  # options
    ("planrt_engine_options_set_build", 1),  # none
    ("planrt_engine_options_set_build", 2),  # none
    ("planrt_engine_load_folder", 2),  # options
    ("planrt_engine_self_test", 2),  # the report, not asked for
    ("planrt_build_options_set_timing_cache", 1),  # none
    ("planrt_build_options_set_weights_folder", 1),  # none
    ("planrt_build_options_set_progress", 2),  # user data
    ("planrt_build_file", 2),  # options
    ("planrt_build_memory", 3),  # options
    ("planrt_refit_file", 3),  # options
    ("planrt_refit_memory", 5),  # options
    ("planrt_context_enqueue", 1),  # no stream: the CPU
    ("planrt_stream_wrap", 1),  # CUDA's default stream
    ("planrt_session_new", 2),  # options
    ("planrt_session_submit", 5),  # options
    ("planrt_session_run", 5),  # options
    ("planrt_session_pump", 2),  # the count, not asked for
    ("planrt_segmenter_options_set_configuration", 1),  # none
    ("planrt_segmenter_options_set_output", 1),  # none
    ("planrt_segmenter_new_ensemble", 2),  # options
    ("planrt_segmenter_check_company", 2),  # options
    ("planrt_segmenter_new", 3),  # options
    ("planrt_segmenter_new_over_sessions", 3),  # options
    ("planrt_segmenter_load", 2),  # options
    ("planrt_segmenter_run", 3),  # options
    ("planrt_segmenter_submit", 3),  # options
    ("planrt_segmenter_estimate", 2),  # options
    ("planrt_segmenter_estimate", 4),  # the least, not asked for
    ("planrt_segmenter_estimate", 5),  # nor the device's
    ("planrt_segmenter_estimate", 6),  # nor the least of it
    ("planrt_bench", 3),  # settings
    ("planrt_doctor", 0),  # options
    ("planrt_doctor", 1),  # model
    ("planrt_doctor", 3),  # usable, not asked for
}

# A good argument of each type. Without a GPU `stream` is null too: the call is refused all the same.
SPECIMENS = {
    "planrt_error *": "error",
    "planrt_runtime_options *": "runtime_options",
    "planrt_runtime *": "runtime",
    "planrt_engine_options *": "engine_options",
    "planrt_engine *": "engine",
    "planrt_context *": "context",
    "planrt_stream *": "stream",
    "planrt_stream * *": "&stream",
    "planrt_buffer *": "buffer",
    "planrt_tensor_info *": "&info",
    "planrt_profile_shape *": "&profile_shape",
    "planrt_input_shape *": "&input_shape",
    "planrt_bench_settings *": "NULL",
    "planrt_report_format": "PLANRT_REPORT_TEXT",
    "planrt_session_options *": "session_options",
    "planrt_session *": "session",
    "planrt_request *": "request",
    "planrt_tensor *": "&tensor",
    "planrt_request_options *": "NULL",
    "planrt_segmenter_options *": "segmenter_options",
    "planrt_segmenter *": "segmenter",
    "planrt_segmenter * *": "(const planrt_segmenter *const *)&segmenter",
    "float *": "(const float *)bytes",
    "planrt_segmenter_info *": "&segmenter_info",
    "planrt_segmentation *": "segmentation",
    "planrt_segmentation_options *": "NULL",
    "planrt_scan *": "scan",
    "planrt_scan * *": "(const planrt_scan *const *)&scan",
    "planrt_element_type": "PLANRT_UINT8",
    "planrt_volume *": "&volume",
    "planrt_label_map *": "&label_map",
    "planrt_build_options *": "build_options",
    "planrt_plan *": "(const planrt_plan *)NULL",
    "planrt_build_progress": "NULL",
    "planrt_precision": "PLANRT_PRECISION_TF32",
    "planrt_build_features": "PLANRT_BUILD_REFITTABLE",
    "planrt_hardware_compatibility": "PLANRT_HARDWARE_SAME",
    "planrt_tactics": "PLANRT_TACTICS_CUDNN",
    "planrt_instance_normalization": "PLANRT_INSTANCE_NORMALIZATION_DEFAULT",
    "planrt_engine * *": "(const planrt_engine *const *)&engine",
    "planrt_session * *": "(const planrt_session *const *)&session",
    "planrt_log_callback": "NULL",
    "planrt_release_callback": "NULL",
    "char *": '"image"',
    "void *": "bytes",
    "bool": "true",
    "double": "0.5",
    "int32_t": "1",
    "planrt_backend": "PLANRT_BACKEND_CPU",
    "int64_t": "1",
    "size_t": "1",
    "planrt_element_type": "PLANRT_UINT8",
    "planrt_memory_kind": "PLANRT_MEMORY_HOST",
    "planrt_log_level": "PLANRT_LOG_ERROR",
    "planrt_statistic": "PLANRT_STATISTIC_WEIGHTS_SIZE",
    "planrt_when_full": "PLANRT_WHEN_FULL_REFUSE",
}

PROGRAM = """/* Written by null_arguments.py. */
#include "small_session.h"

static _Alignas(16) unsigned char out[256];

#define REFUSED(call)                                        \\
    (memset(out, UNTOUCHED, sizeof out),                     \\
     FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "null", call), CHECK(untouched(out, sizeof out)))

/* A NIfTI-1 file of one voxel. */
static planrt_scan *new_scan(void) {{
    static const char path[] = "null_arguments.nii";
    unsigned char file[356] = {{0}};
    const int32_t header_size = 348;
    const int16_t extents[4] = {{3, 1, 1, 1}}, float32 = 16, bits = 32, aligned = 1;
    const float sizes[4] = {{1, 1, 1, 1}}, offset = 352, rows[12] = {{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0}};
    memcpy(file, &header_size, sizeof header_size);
    memcpy(file + 40, extents, sizeof extents);
    memcpy(file + 70, &float32, sizeof float32);
    memcpy(file + 72, &bits, sizeof bits);
    memcpy(file + 76, sizes, sizeof sizes);
    memcpy(file + 108, &offset, sizeof offset);
    memcpy(file + 254, &aligned, sizeof aligned);
    memcpy(file + 280, rows, sizeof rows);
    memcpy(file + 344, "n+1", 4);
    FILE *stream = fopen(path, "wb");
    CHECK(stream && fwrite(file, sizeof file, 1, stream) == 1 && fclose(stream) == 0);
    planrt_scan *scan = NULL;
    OK(planrt_scan_read_file(path, &scan));
    return scan;
}}

int main(void) {{
    static _Alignas(64) char bytes[64];
    planrt_scan *scan = new_scan();
    planrt_error *error = NULL;
    planrt_runtime_options *runtime_options = NULL;
    planrt_engine_options *engine_options = NULL;
    planrt_build_options *build_options = NULL;
    planrt_buffer *buffer = NULL;
    planrt_stream *stream = NULL;
    planrt_runtime *runtime = new_runtime();
    planrt_engine *engine = load(runtime, SMALL);
    planrt_context *context = new_context(engine);
    planrt_tensor_info info = {{0}};
    planrt_profile_shape profile_shape = {{0}};
    planrt_input_shape input_shape = {{.struct_size = sizeof input_shape, .name = "image", .rank = 5, .shape = {{1, 1, 8, 8, 8}}}};
    info.struct_size = sizeof info, profile_shape.struct_size = sizeof profile_shape;
    static float image[IMAGE];
    planrt_tensor tensor = small_image(image, 1);
    planrt_session_options *session_options = NULL;
    planrt_request *request = NULL;
    planrt_session *session = new_session(engine, NULL);
    planrt_segmenter_options *segmenter_options = NULL;
    planrt_segmenter *segmenter = NULL;
    planrt_segmenter_info segmenter_info = {{.struct_size = sizeof segmenter_info}};
    planrt_segmentation *segmentation = NULL;
    static float voxels[IMAGE];
    static unsigned char labels[IMAGE];
    planrt_volume volume = {{.struct_size = sizeof volume, .data = voxels, .size_bytes = sizeof voxels,
                            .element_type = PLANRT_FLOAT32, .extents = {{8, 8, 8}}, .spacing_mm = {{1, 1, 1}}}};
    planrt_label_map label_map = {{.struct_size = sizeof label_map, .data = labels, .size_bytes = sizeof labels,
                                  .element_type = PLANRT_UINT8}};
    OK(planrt_segmenter_options_new(&segmenter_options));
    OK(planrt_segmenter_new((const planrt_engine *const *)&engine, 1,
                            "{{\\"planrt_recipe\\": 1, \\"tiling\\": {{\\"patch\\": [8, 8, 8]}}, \\"decision\\": {{\\"labels\\": [0, 1]}}}}",
                            NULL, &segmenter));
    OK(planrt_segmenter_submit(segmenter, &volume, &label_map, NULL, &segmentation));
    OK(planrt_segmentation_wait(segmentation, -1, NULL));
    OK(planrt_session_options_new(&session_options));
    OK(planrt_session_submit(session, &tensor, 1, NULL, 0, NULL, &request));
    OK(planrt_runtime_options_new(&runtime_options));
    OK(planrt_engine_options_new(&engine_options));
    OK(planrt_build_options_new(&build_options));
    OK(planrt_buffer_new(runtime, PLANRT_MEMORY_HOST, 64, &buffer));
    planrt_error_delete(planrt_stream_new(runtime, 0, &stream));
    error = planrt_context_set_profile(context, 7);
    CHECK(error);

{calls}
    planrt_error_delete(error);
    planrt_scan_delete(scan);
    planrt_segmentation_delete(segmentation);
    planrt_segmenter_delete(segmenter);
    planrt_segmenter_options_delete(segmenter_options);
    planrt_request_delete(request);
    planrt_session_delete(session);
    planrt_session_options_delete(session_options);
    planrt_stream_delete(stream);
    planrt_buffer_delete(buffer);
    planrt_engine_options_delete(engine_options);
    planrt_build_options_delete(build_options);
    planrt_runtime_options_delete(runtime_options);
    planrt_context_delete(context);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
    return 0;
}}
"""


def prototypes(header: str):
    """(what it returns, name, types of its arguments) of each function."""
    header = re.sub(r"/\*.*?\*/|//[^\n]*|^\s*#.*?$", "", header, flags=re.S | re.M)
    for returns, name, arguments in re.findall(r"([\w\s]+?[\s*]+)(planrt_\w+)\s*\(([^(){}]*)\)\s*;", header):
        yield plain(returns), name, [argument_type(a) for a in arguments.split(",") if plain(a) != "void"]


def plain(c_type: str) -> str:
    c_type = re.sub(r"\b(struct|extern|PLANRT_WARN_UNUSED)\b", " ", c_type)
    return re.sub(r"\s+", " ", c_type.replace("*", " * ")).replace("* *", "**").strip()


def argument_type(argument: str) -> str:
    argument = re.sub(r"(\w+)\s*\[\w*\]\s*$", r"* \1", argument)  # an array is a pointer
    words = plain(argument).split()
    if len(words) > 1 and "*" not in words[-1] and words[-1] not in ("const",):
        words.pop()  # its name
    return " ".join(words)


def specimen(c_type: str) -> str:
    bare = c_type.replace("const ", "")
    if bare in SPECIMENS:
        return SPECIMENS[bare]
    if c_type in ("const int64_t *", "const int32_t *"):
        return f"({c_type})bytes"
    if bare.endswith("*") and "const" not in c_type:
        return f"({c_type})out"
    sys.exit(f"null_arguments.py: no specimen of the type '{c_type}'")


def calls(header: str):
    for returns, name, types in prototypes(header):
        for index, c_type in enumerate(types):
            if not c_type.endswith("*") or (name, index) in NULLABLE:
                continue
            arguments = ", ".join("NULL" if i == index else specimen(t) for i, t in enumerate(types))
            call = f"{name}({arguments})"
            yield f"    REFUSED({call});" if returns == "planrt_error *" else f"    (void){call};"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    lines = list(calls(Path(sys.argv[1]).read_text()))
    if len(lines) < 50:
        sys.exit(f"null_arguments.py: only {len(lines)} calls found: the header is not written as this script reads it")
    Path(sys.argv[2]).write_text(PROGRAM.format(calls="\n".join(lines)))


if __name__ == "__main__":
    main()
