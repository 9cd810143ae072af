/* What the library, a runtime and an engine say of themselves. */

#include "small_model.h"

static void versions(void) {
    uint32_t major = 99, minor = 99;
    planrt_api_version(&major, &minor);
    CHECK(major == PLANRT_API_MAJOR && minor == PLANRT_API_MINOR);
    CHECK(strcmp(planrt_version(), VERSION) == 0);
}

struct log {
    int lines, too_verbose, released;
};

static void count_line(void *user_data, planrt_log_level level, const char *message) {
    struct log *log = user_data;
    log->lines++;
    log->too_verbose += level > PLANRT_LOG_INFO;
    printf("log %d: %s\n", (int)level, message);
}

static void release_log(void *user_data) {
    ((struct log *)user_data)->released++;
}

static void options_and_log(void) {
    struct log log = {0, 0, 0}, other = {0, 0, 0};
    planrt_runtime_options *options = NULL;
    OK(planrt_runtime_options_new(&options));
    OK(planrt_runtime_options_set_device(options, 0));
    OK(planrt_runtime_options_set_standard_plugins(options, false));
    OK(planrt_runtime_options_set_log(options, count_line, &other, release_log, PLANRT_LOG_INFO));
    OK(planrt_runtime_options_set_log(options, count_line, &log, release_log, PLANRT_LOG_INFO));
    CHECK(other.released == 1); /* the other took its place */
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "99", planrt_runtime_options_set_log(options, count_line, &log, release_log, 99));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "-1", planrt_runtime_options_set_device(options, -1));

    planrt_runtime *runtime = NULL;
    OK(planrt_runtime_new(options, &runtime));
    planrt_runtime_options_delete(options);
    planrt_engine *engine = load(runtime, SMALL);
    CHECK(log.released == 0);
    planrt_runtime_delete(runtime);
    planrt_engine_delete(engine);
    CHECK(log.released == 1);
    CHECK(log.lines > 0); /* which backend runs a model is in the log */
    CHECK(log.too_verbose == 0);
}

static void codes(void) {
    CHECK(strcmp(planrt_error_code_get_name(PLANRT_ERROR_INVALID_ARGUMENT), "PLANRT_ERROR_INVALID_ARGUMENT") == 0);
    CHECK(strcmp(planrt_error_code_get_name(PLANRT_ERROR_FORKED), "PLANRT_ERROR_FORKED") == 0);
    CHECK(!planrt_error_code_get_name(0) && !planrt_error_code_get_name(-1) && !planrt_error_code_get_name(9999));
    for (planrt_error_code code = 1; code <= PLANRT_ERROR_OPENVINO; code++)
        CHECK(strncmp(planrt_error_code_get_name(code), "PLANRT_ERROR_", 13) == 0);
}

static void devices(void) {
    char *json = NULL;
    OK(planrt_describe_devices(&json));
    puts(json);
    CHECK(strstr(json, "\"driver\":") && strstr(json, "\"devices\":[") && strstr(json, "\"available\":"));
    CHECK(strstr(json, "\"reason\":") || strstr(json, "\"free_memory_bytes\":"));
    planrt_string_delete(json);
}

static void runtime_json(void) {
    planrt_runtime *runtime = new_runtime();
    char *json = NULL;
    OK(planrt_runtime_describe(runtime, &json));
    CHECK(json[0] == '{');
    puts(json);
    planrt_string_delete(json);
    planrt_runtime_delete(runtime);
}

static void report(void) {
    char *text = NULL;
    bool usable = false;
    OK(planrt_doctor(NULL, SMALL, &text, &usable));
    puts(text);
    CHECK(usable && strstr(text, "image") && strstr(text, "prob"));
    planrt_string_delete(text);

    text = NULL;
    OK(planrt_doctor(NULL, MODELS "/no_such_file.onnx", &text, &usable));
    CHECK(!usable && strstr(text, "no_such_file.onnx"));
    planrt_string_delete(text);
}

static void tensor(const planrt_engine *engine, const char *name, planrt_tensor_role role, int64_t channels) {
    int32_t index = -1;
    OK(planrt_engine_find_tensor(engine, name, &index));
    planrt_tensor_info info = {sizeof info, NULL, 0, 0, 0, 0, {0}};
    OK(planrt_engine_get_tensor_info(engine, index, &info));
    CHECK(strcmp(info.name, name) == 0);
    CHECK(info.role == role && info.element_type == PLANRT_FLOAT32 && info.memory_kind == PLANRT_MEMORY_HOST);
    CHECK(info.rank == 5 && info.shape[0] == -1 && info.shape[1] == channels && info.shape[4] == 8);
}

static void engine(void) {
    planrt_runtime *runtime = new_runtime();
    planrt_engine *engine = load(runtime, SMALL);
    CHECK(planrt_engine_get_backend(engine) == PLANRT_BACKEND_CPU);
    CHECK(*planrt_engine_get_name(engine) && *planrt_engine_get_device_name(engine));
    CHECK(planrt_engine_get_tensor_count(engine) == 2);
    for (int32_t i = 0; i < 2; i++) {
        CHECK(strcmp(planrt_engine_get_dimension_name(engine, i, 0), "batch") == 0);
        CHECK(!planrt_engine_get_dimension_name(engine, i, 1) && !planrt_engine_get_dimension_name(engine, i, 5));
    }
    CHECK(!planrt_engine_get_dimension_name(engine, 2, 0) && !planrt_engine_get_dimension_name(engine, -1, 0));
    char *metadata = NULL;
    OK(planrt_engine_get_metadata_json(engine, &metadata));
    puts(metadata);
    CHECK(strstr(metadata, "\"format\":\"onnx\"") && strstr(metadata, "\"name\":\"small\""));
    CHECK(strstr(metadata, "\"opsets\":[{\"domain\":\"\",\"version\":13}]") && strstr(metadata, "\"properties\":{"));
    planrt_string_delete(metadata);
    tensor(engine, "image", PLANRT_INPUT, 1);
    tensor(engine, "prob", PLANRT_OUTPUT, 2);
    CHECK(planrt_engine_get_profile_count(engine) == 0);
    CHECK(planrt_engine_get_device_memory_size(engine) == 0);

    planrt_tensor_info info = {sizeof info, NULL, 0, 0, 0, 0, {0}};
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "2", planrt_engine_get_tensor_info(engine, 2, &info));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "-1", planrt_engine_get_tensor_info(engine, -1, &info));
    info.struct_size = 0;
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "struct_size", planrt_engine_get_tensor_info(engine, 0, &info));
    CHECK(info.name == NULL);

    int32_t index = 77;
    FAILS(PLANRT_ERROR_NOT_FOUND, "\"prob\"", planrt_engine_find_tensor(engine, "mask", &index));
    FAILS(PLANRT_ERROR_NOT_FOUND, "", planrt_engine_find_tensor(engine, "", &index));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "UTF-8", planrt_engine_find_tensor(engine, "\xff", &index));
    CHECK(index == 77);

    planrt_profile_shape shape = {sizeof shape, 0, {0}, {0}, {0}};
    FAILS_EITHER(PLANRT_ERROR_INVALID_ARGUMENT, PLANRT_ERROR_UNSUPPORTED, "profile",
                 planrt_engine_get_profile_shape(engine, 0, "image", &shape));
    char *json = NULL;
    OK(planrt_engine_get_layers_json(engine, &json));
    CHECK(json[0] == '{' || json[0] == '[');
    planrt_string_delete(json);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
}

static void engine_options(void) {
    planrt_engine_options *options = NULL;
    OK(planrt_engine_options_new(&options));
    OK(planrt_engine_options_set_cpu_threads(options, 1));
    OK(planrt_engine_options_set_cpu_shape_cache(options, 2));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "-1", planrt_engine_options_set_cpu_threads(options, -1));
    FAILS(PLANRT_ERROR_INVALID_ARGUMENT, "-1", planrt_engine_options_set_cpu_shape_cache(options, -1));
    planrt_runtime *runtime = new_runtime();
    planrt_engine *engine = NULL;
    OK(planrt_engine_load_file(runtime, SMALL, options, &engine));
    planrt_engine_options_delete(options);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
}

int main(void) {
    versions();
    options_and_log();
    codes();
    devices();
    runtime_json();
    report();
    engine();
    engine_options();
    return 0;
}
