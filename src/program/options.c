/* Options as trtexec spells them, for the commands that take them. */

#include "program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

bool parse_bytes(const char *text, size_t *bytes) {
    char *end;
    double number = strtod(text, &end);
    double unit = 1048576;
    switch (*end) {
        case 'B': case 'b': unit = 1, end++; break;
        case 'K': case 'k': unit = 1024, end++; break;
        case 'M': case 'm': end++; break;
        case 'G': case 'g': unit = 1073741824, end++; break;
        default: break;
    }
    if (end == text || *end || !(number > 0) || number * unit > 1e15) return false;
    *bytes = (size_t)(number * unit);
    return true;
}

void log_line(void *user_data, planrt_log_level level, const char *message) {
    static const char *const levels[] = {"", "error: ", "warning: ", "", ""};
    (void)user_data;
    fprintf(stderr, "planrt: %s%s\n", level >= 1 && level <= 4 ? levels[level] : "", message);
}
