/* What the test programs check with, in C and C++. The first check that fails says where and what, and ends the program. */
#ifndef CHECK_H
#define CHECK_H

#include <planrt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, ""))

/* The call succeeds. */
#define OK(call) check_ok(__FILE__, __LINE__, #call, call)

/* The call fails with that code, and its message holds that text. The message is printed: people should read them. */
#define FAILS(code, text, call) check_fails(__FILE__, __LINE__, #call, code, 0, text, call)

/* The same with either code: which one depends on what the machine has. */
#define FAILS_EITHER(code, other, text, call) check_fails(__FILE__, __LINE__, #call, code, other, text, call)

static inline void check_failed(const char *file, int line, const char *what, const char *why) {
    fprintf(stderr, "%s:%d: %s%s%s\n", file, line, what, *why ? ": " : "", why);
    exit(1);
}

static inline void check_ok(const char *file, int line, const char *call, planrt_error *error) {
    if (error) check_failed(file, line, call, planrt_error_get_message(error));
}

static inline void check_fails(const char *file, int line, const char *call, planrt_error_code code,
                               planrt_error_code other, const char *text, planrt_error *error) {
    if (!error) check_failed(file, line, call, "succeeded, and should have failed");
    const char *message = planrt_error_get_message(error);
    printf("%d: %s\n", (int)planrt_error_get_code(error), message);
    if (planrt_error_get_code(error) != code && planrt_error_get_code(error) != other)
        check_failed(file, line, call, "another code was expected");
    if (strlen(message) < 10) check_failed(file, line, call, "the message says nothing");
    if (!strstr(message, text)) check_failed(file, line, call, "the message does not hold the text that was expected");
    planrt_error_delete(error);
}

#endif
