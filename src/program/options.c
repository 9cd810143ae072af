/* Options as trtexec spells them, for the commands that take them. */

#define _POSIX_C_SOURCE 200809L
#include "program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool split(int count, char **arguments, struct option *option) {
    const char *equals = strchr(arguments[0], '=');
    const size_t length = equals ? (size_t)(equals - arguments[0]) : strlen(arguments[0]);
    if (arguments[0][0] != '-' || length >= sizeof option->name) return false;
    memcpy(option->name, arguments[0], length);
    option->name[length] = 0;
    option->is_next = !equals && count > 1 && arguments[1][0] != '-';
    option->value = equals ? equals + 1 : option->is_next ? arguments[1] : NULL;
    return true;
}

int wrong_option(const char *command, const char *problem, const char *argument) {
    fprintf(stderr, "planrt: %s: ", problem);
    show(stderr, argument);
    fprintf(stderr, "\nplanrt %s --help says what there is\n", command);
    return USAGE;
}

/* The name that an option goes by, of several of its names. */
static const char *one_name(const char *name) {
    static const char *const others[][2] = {
        {"--memPoolSize", "--workspace"},
        {"--infStreams", "--streams"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(name, others[i][0]) == 0) return others[i][1];
    return name;
}

bool is_given_again(const char *name) {
    /* What each of them says is added to what the last one said, or it looks after that itself. */
    static const char *const many[] = {
        "--plugin", "--plugins", "--dynamicPlugins", "--with", "--profile", "--minShapes", "--optShapes", "--maxShapes", "--shapes",
        "--layerPrecisions", "--float32Operators", "--tacticSources",
    };
    static struct { char name[sizeof ((struct option *)0)->name]; } given[64];
    static size_t count;
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        if (strcmp(name, many[i]) == 0) return false;
    name = one_name(name);
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, given[i].name) == 0) return true;
    if (count < sizeof given / sizeof *given) snprintf(given[count++].name, sizeof given->name, "%s", name);
    return false;
}

bool is_replaced(const struct replaced *others, size_t count, const char *name, int *code) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, others[i].name) != 0) continue;
        fprintf(stderr, "planrt: %s %s: %s\n", name, others[i].is_error ? "is not here" : "is not needed", others[i].instead);
        *code = others[i].is_error ? USAGE : -1;
        return true;
    }
    return false;
}

/* "1x1x8x8" */
static bool parse_extents(const char *text, int32_t *rank, int64_t extents[PLANRT_MAX_RANK]) {
    for (*rank = 0; *rank < PLANRT_MAX_RANK;) {
        char *end;
        errno = 0;
        extents[*rank] = strtoll(text, &end, 10);
        if (end == text || errno) return false;
        ++*rank;
        if (!*end) return true;
        if (*end != 'x') return false;
        text = end + 1;
    }
    return false;
}

bool next_shape(const char **list, char name[NAME], int32_t *rank, int64_t extents[PLANRT_MAX_RANK]) {
    const size_t length = strcspn(*list, ",");
    char one[NAME + 200];
    if (length >= sizeof one) return false;
    memcpy(one, *list, length);
    one[length] = 0;
    char *colon = strrchr(one, ':');
    if (!colon || colon == one || colon - one >= NAME) return false;
    *colon = 0;
    memcpy(name, one, (size_t)(colon - one) + 1);
    *list += length + ((*list)[length] == ',');
    return parse_extents(colon + 1, rank, extents);
}

bool parse_bytes(const char *text, double unit, size_t *bytes) {
    char *end;
    double number = strtod(text, &end);
    switch (*end) {
        case 'B': case 'b': unit = 1, end++; break;
        case 'K': case 'k': unit = 1024, end++; break;
        case 'M': case 'm': unit = 1048576, end++; break;
        case 'G': case 'g': unit = 1073741824, end++; break;
        default: break;
    }
    if (end == text || *end || !(number * unit >= 1) || number * unit > 1e15) return false;
    *bytes = (size_t)(number * unit);
    return true;
}

bool parse_normalization(const char *text, planrt_instance_normalization *kind) {
    static const struct { const char *name; planrt_instance_normalization kind; } kinds[] = {
        {"native", PLANRT_INSTANCE_NORMALIZATION_NATIVE},
        {"plugin", PLANRT_INSTANCE_NORMALIZATION_PLUGIN},
        {"decomposed", PLANRT_INSTANCE_NORMALIZATION_DECOMPOSED},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(text, kinds[i].name) != 0) continue;
        *kind = kinds[i].kind;
        return true;
    }
    return false;
}

bool parse_cpu(const char *text, planrt_backend *backend) {
    static const struct { const char *name; planrt_backend backend; } all[] = {
        {"engine", PLANRT_BACKEND_CPU},
        {"openvino", PLANRT_BACKEND_OPENVINO},
        {"fastest", PLANRT_BACKEND_FASTEST_CPU},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(text, all[i].name) != 0) continue;
        *backend = all[i].backend;
        return true;
    }
    return false;
}

int check_device(int32_t ordinal) {
    char *json = NULL;
    planrt_error *error = planrt_describe_devices(&json);
    if (error) return failed(error);
    static const char key[] = "\"ordinal\":", name_key[] = "\"name\":\"";
    int count = 0;
    bool is_there = false;
    for (const char *at = json; (at = strstr(at, key)); count++) is_there |= strtol(at += sizeof key - 1, NULL, 10) == ordinal;
    if (!is_there) {
        fprintf(stderr, "planrt: there is no GPU %d here: %s", (int)ordinal, count > 0 ? "there is" : "there is none");
        for (const char *at = json; (at = strstr(at, key));) {
            const char *object = at;
            while (object > json && *object != '{') object--;
            const char *name = strstr(object, name_key), *behind = strchr(at, '}');
            const bool has_name = name && behind && name < behind;
            const char *text = has_name ? name + sizeof name_key - 1 : "";
            at += sizeof key - 1;
            fprintf(stderr, " %ld, %.*s%s", strtol(at, NULL, 10), (int)strcspn(text, "\""), text, --count > 0 ? ";" : "");
        }
        fputc('\n', stderr);
    }
    planrt_string_delete(json);
    return is_there ? -1 : NOT_USABLE;
}

int take_runtime_option(const char *command, const struct option *option, const char *argument, planrt_runtime_options *runtime) {
    planrt_error *error = NULL;
    int32_t number;
    if (strcmp(option->name, "--plugins") == 0 || strcmp(option->name, "--dynamicPlugins") == 0) {
        error = planrt_runtime_options_add_plugin_library(runtime, option->value);
    } else if (strcmp(option->name, "--tensorrt") == 0) {
        error = planrt_runtime_options_set_tensorrt_path(runtime, option->value);
    } else if (strcmp(option->name, "--device") == 0) {
        if (!parse_ordinal(option->value, &number)) return wrong_option(command, "--device takes a GPU's ordinal, not", option->value);
        const int code = check_device(number);
        if (code >= 0) return code;
        error = planrt_runtime_options_set_device(runtime, number);
    } else {
        return wrong_option(command, "unknown option", argument);
    }
    return error ? failed(error) : -1;
}

bool is_same_file(const char *path, const char *other) {
    struct stat a, b;
    return stat(path, &a) == 0 && stat(other, &b) == 0 && S_ISREG(a.st_mode) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

void log_line(void *user_data, planrt_log_level level, const char *message) {
    static const char *const levels[] = {"", "error: ", "warning: ", "", ""};
    (void)user_data;
    fprintf(stderr, "planrt: %s%s\n", level >= 1 && level <= 4 ? levels[level] : "", message);
}
