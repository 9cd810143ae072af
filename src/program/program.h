/* What the parts of the program share. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <planrt.h>

#include <stdio.h>

/* How the program ends. */
enum { USABLE = 0, NOT_USABLE = 1, USAGE = 2, NOT_WRITTEN = 3, INTERRUPTED = 130 };

void show(FILE *to, const char *argument);
int written(int code);
int failed(planrt_error *error);
int parse_ordinal(const char *text, int32_t *out);

/* planrt build, with the arguments that follow. */
int build(int count, char **arguments);

#endif
