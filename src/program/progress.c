/* How far a build is, on the standard error, and how it is ended. */

#define _POSIX_C_SOURCE 200809L
#include "program.h"

#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

/* The next one ends the program: before TensorRT 10 a build cannot be ended while it is under way. */
static void interrupt(int number) {
    static const char line[] = "\nplanrt: it ends at its next step; once more ends it at once\n";
    (void)number;
    const int kept = errno;
    if (write(STDERR_FILENO, line, sizeof line - 1) < 0) interrupted = 1;
    interrupted = 1;
    errno = kept;
}

void watch_interrupts(void) {
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* The phase that is part of no other, and how far it is. */
static struct {
    char phase[96];
    int32_t done, steps;
    time_t told;
} outermost;

/* The beginning of a name, of which TensorRT makes lines of hundreds of bytes. */
static void show_beginning(const char *name) {
    enum { MOST = 36 };
    char beginning[MOST + 1];
    snprintf(beginning, sizeof beginning, "%s", name);
    show(stderr, beginning);
    if (strlen(name) > MOST) fputs("...", stderr);
}

static void draw_bar(const char *within) {
    enum { WIDTH = 30 };
    const int full = outermost.steps > 0 ? (int)((int64_t)outermost.done * WIDTH / outermost.steps) : 0;
    fputs("\r[", stderr);
    for (int i = 0; i < WIDTH; i++) fputc(i < full ? '#' : '.', stderr);
    fprintf(stderr, "] %d/%d ", (int)outermost.done, (int)outermost.steps);
    show(stderr, outermost.phase);
    if (within) {
        fputs(": ", stderr);
        show_beginning(within);
    }
    fputs("\033[K", stderr);
    if (outermost.done >= outermost.steps) fputc('\n', stderr);
}

/* A line every ten seconds, for those who read along in a log. */
static void tell_line(const char *within) {
    enum { SECONDS = 10 };
    if (time(NULL) - outermost.told < SECONDS) return;
    outermost.told = time(NULL);
    fputs("planrt: ", stderr);
    show(stderr, outermost.phase);
    fprintf(stderr, ": %d/%d, ", (int)outermost.done, (int)outermost.steps);
    show_beginning(within);
    fputc('\n', stderr);
}

/* A bar on a terminal; elsewhere a line for each phase, and now and then one for what is done in it. */
bool tell_progress(void *user_data, const char *phase, const char *parent, int32_t done, int32_t steps) {
    (void)user_data;
    const bool is_terminal = isatty(STDERR_FILENO);
    if (parent) {
        if (done == 0 && is_terminal) draw_bar(phase);
        if (done == 0 && !is_terminal) tell_line(phase);
        return !interrupted;
    }
    const bool has_begun = outermost.done < outermost.steps && strncmp(outermost.phase, phase, sizeof outermost.phase - 1) == 0;
    snprintf(outermost.phase, sizeof outermost.phase, "%s", phase);
    outermost.done = done;
    outermost.steps = steps;
    if (is_terminal) {
        draw_bar(NULL);
    } else if (!has_begun || done >= steps) {
        outermost.told = time(NULL);
        fputs("planrt: ", stderr);
        show(stderr, phase);
        fputs(done >= steps ? ": done\n" : "\n", stderr);
    }
    return !interrupted;
}

/* Whether a file can be made there, before minutes are spent on what would be in it; errno says why not. */
static bool can_write_there(const char *path) {
    struct stat there;
    if (stat(path, &there) == 0) {
        if (!S_ISDIR(there.st_mode)) return access(path, W_OK) == 0;
        errno = EISDIR;
        return false;
    }
    char *copy = strdup(path);
    const bool can = copy && access(dirname(copy), W_OK | X_OK) == 0;
    free(copy);
    return can;
}

bool can_write(const char *path) {
    if (can_write_there(path)) return true;
    const int why = errno;
    fputs("planrt: ", stderr);
    show(stderr, path);
    fprintf(stderr, " cannot be written: %s\n", strerror(why));
    return false;
}

int keep_plan(planrt_error *error, const planrt_plan *plan, const char *path) {
    if (!error && interrupted) {
        fputs("planrt: interrupted; nothing was written\n", stderr);
        return INTERRUPTED;
    }
    if (!error) error = planrt_plan_save(plan, path);
    if (!error) {
        fputs("planrt: ", stdout);
        show(stdout, path);
        printf(" is written, %zu bytes\n", planrt_plan_get_size(plan));
        return written(USABLE);
    }
    const planrt_error_code kind = planrt_error_get_code(error);
    if (isatty(STDERR_FILENO)) fputc('\n', stderr);
    failed(error);
    return kind == PLANRT_ERROR_CANCELLED ? INTERRUPTED : NOT_USABLE;
}
