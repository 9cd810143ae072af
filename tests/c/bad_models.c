/* Files that are no models, or no longer: each is refused with an error that says why, from a file and from memory.
   Further plans to damage may be named on the command line. */

#include "small_model.h"

enum { CUTS = 20 };

static planrt_runtime *runtime;

struct bytes {
    unsigned char *data;
    size_t size;
};

static struct bytes read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    CHECK(file);
    fseek(file, 0, SEEK_END);
    struct bytes bytes = {NULL, (size_t)ftell(file)};
    rewind(file);
    bytes.data = malloc(bytes.size);
    CHECK(bytes.data && fread(bytes.data, 1, bytes.size, file) == bytes.size);
    fclose(file);
    return bytes;
}

static void write_file(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, size, file) == size);
    CHECK(fclose(file) == 0);
}

static planrt_error *load_path(const char *path) {
    static planrt_engine *const none = (planrt_engine *)&runtime;
    planrt_engine *engine = none;
    planrt_error *error = planrt_engine_load_file(runtime, path, NULL, &engine);
    if (error) CHECK(engine == none); /* untouched */
    else planrt_engine_delete(engine);
    return error;
}

static planrt_error *load_bytes(const void *data, size_t size) {
    planrt_engine *engine = NULL;
    planrt_error *error = planrt_engine_load_memory(runtime, data, size, NULL, &engine);
    if (error) CHECK(!engine);
    else planrt_engine_delete(engine);
    return error;
}

static void no_models(void) {
    static const char text[] = "This is a text file, not a plan.\n";
    FAILS(PLANRT_ERROR_NOT_FOUND, "no_such_file", load_path(MODELS "/no_such_file.plan"));
    FAILS(PLANRT_ERROR_IO, "small.onnx", load_path(SMALL "/below_a_file.onnx"));
    FAILS(PLANRT_ERROR_IO, "directory", load_path(MODELS));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "empty", load_path(""));
    write_file("empty.onnx", "", 0);
    FAILS(PLANRT_ERROR_INVALID_MODEL, "empty", load_path("empty.onnx"));
    write_file("text.plan", text, sizeof text - 1);
    FAILS(PLANRT_ERROR_INVALID_MODEL, "text.plan", load_path("text.plan"));
    FAILS(PLANRT_ERROR_INVALID_MODEL, "", load_bytes(text, sizeof text - 1));
    FAILS(PLANRT_ERROR_INVALID_MODEL, "", load_bytes(text, 1));
    FAILS(PLANRT_ERROR_INVALID_MODEL, "", load_bytes("", 0));
}

static void cut_short(const char *path) {
    struct bytes whole = read_file(path);
    for (size_t cut = 0; cut < CUTS; cut++) {
        size_t size = whole.size * cut / CUTS + (cut ? 0 : 4); /* the first leaves the magic and no more */
        unsigned char *part = malloc(size); /* of its own, so that a read past the end is seen */
        CHECK(part);
        memcpy(part, whole.data, size);
        FAILS(PLANRT_ERROR_INVALID_MODEL, "", load_bytes(part, size));
        write_file("cut.model", part, size);
        FAILS(PLANRT_ERROR_INVALID_MODEL, "cut.model", load_path("cut.model"));
        free(part);
    }
    FAILS(PLANRT_ERROR_INVALID_MODEL, "", load_bytes(whole.data, whole.size - 1));
    free(whole.data);
}

/* Flipped bytes may be anything, a sound model among it. There is no crash, and what is loaded can be deleted. */
static void flipped(const char *path) {
    struct bytes whole = read_file(path);
    for (size_t i = 0; i < CUTS; i++) {
        size_t at = (whole.size - 1) * i / (CUTS - 1) / (i % 2 ? 1 : 8); /* more of them where the structure is */
        whole.data[at] ^= 0xFF;
        planrt_error *error = load_bytes(whole.data, whole.size);
        if (error) {
            printf("byte %zu flipped, %d: %s\n", at, (int)planrt_error_get_code(error), planrt_error_get_message(error));
            CHECK(planrt_error_get_code(error) != PLANRT_ERROR_INTERNAL);
            planrt_error_delete(error);
        }
        whole.data[at] ^= 0xFF;
    }
    free(whole.data);
}

/* A plan whose header is sound: what is said depends on what this machine lacks, and on a whole one it may run. */
static void plan(const char *path) {
    planrt_error *error = load_path(path);
    if (!error) return;
    printf("%s: %d: %s\n", path, (int)planrt_error_get_code(error), planrt_error_get_message(error));
    switch (planrt_error_get_code(error)) {
    case PLANRT_ERROR_NO_CUDA:
    case PLANRT_ERROR_NO_TENSORRT:
    case PLANRT_ERROR_INCOMPATIBLE_MODEL:
    case PLANRT_ERROR_INVALID_MODEL: /* TensorRT's word on a body of noise */
    case PLANRT_ERROR_MISSING_PLUGIN: break;
    default: CHECK(!"a reason why the plan does not run here");
    }
    planrt_error_delete(error);
}

/* What is found at that path, and why it is no TensorRT, is in the report even where there is no driver. NOT_TENSORRT, a
   libnvinfer.so with nothing of TensorRT in it, comes from CMake. */
static void no_tensorrt(const char *path, const char *why) {
    planrt_runtime_options *options = NULL;
    planrt_runtime *other = NULL;
    OK(planrt_runtime_options_new(&options));
    OK(planrt_runtime_options_set_tensorrt_path(options, path));
    OK(planrt_runtime_new(options, &other));
    FAILS_EITHER(PLANRT_ERROR_NO_TENSORRT, PLANRT_ERROR_NO_CUDA, "", planrt_runtime_load_tensorrt(other));
    planrt_runtime_delete(other);
    char *report = NULL;
    OK(planrt_doctor(options, NULL, &report, NULL));
    puts(report);
    CHECK(strstr(report, path) && strstr(report, why));
    planrt_string_delete(report);
    planrt_runtime_options_delete(options);
}

static void no_plugin(void) {
    planrt_runtime_options *options = NULL;
    OK(planrt_runtime_options_new(&options));
    OK(planrt_runtime_options_add_plugin_library(options, MODELS "/no_such_plugin.so"));
    planrt_runtime *other = NULL;
    OK(planrt_runtime_new(options, &other)); /* loads nothing */
    char *report = NULL;
    OK(planrt_doctor(options, NULL, &report, NULL));
    CHECK(strstr(report, "no_such_plugin.so"));
    planrt_string_delete(report);
    planrt_runtime_delete(other);
    planrt_runtime_options_delete(options);
}

int main(int count, char **arguments) {
    runtime = new_runtime();
    no_models();
    cut_short(SMALL);
    flipped(SMALL);
    cut_short(MODELS "/synthetic.plan");
    flipped(MODELS "/synthetic.plan");
    for (int i = 1; i < count; i++) {
        plan(arguments[i]);
        cut_short(arguments[i]);
        flipped(arguments[i]);
    }
    no_tensorrt(NOT_TENSORRT, "getInferLibVersion");
    no_tensorrt(MODELS "/synthetic.plan", "cannot be loaded");
    no_tensorrt(MODELS "/no_such_file.so", "not found");
    no_plugin();
    planrt_runtime_delete(runtime);
    return 0;
}
