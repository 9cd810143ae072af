/* What the parts of the program share. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <planrt.h>

#include <stdbool.h>
#include <stdio.h>

/* How the program ends. */
enum { USABLE = 0, NOT_USABLE = 1, USAGE = 2, NOT_WRITTEN = 3, INTERRUPTED = 130 };

enum { MOST_INPUTS = 64, NAME = 256 };

void show(FILE *to, const char *argument);
int written(int code);
int failed(planrt_error *error);
int parse_ordinal(const char *text, int32_t *out);

/* --name=value, or --name value. */
struct option {
    char name[64];
    const char *value; /* null where there is none */
    bool is_next;      /* whether the value is the argument behind */
};

/* Of the first of so many arguments; false if it is no option. */
bool split(int count, char **arguments, struct option *option);

/* An option of that command is wrong; how the program ends. */
int wrong_option(const char *command, const char *problem, const char *argument);

/* The next "name:1x1x8x8" of a list with commas, which is moved behind it; false if it is none. */
bool next_shape(const char **list, char name[NAME], int32_t *rank, int64_t extents[PLANRT_MAX_RANK]);

/* "4096", "1.5G": MiB unless a letter says otherwise. */
bool parse_bytes(const char *text, size_t *bytes);

/* Whether a file can be made there, before minutes are spent on what would be in it; errno says why not. */
bool can_write(const char *path);

/* A planrt_log_callback that writes to the standard error. */
void log_line(void *user_data, planrt_log_level level, const char *message);

/* planrt build, inspect, bench and segment, with the arguments that follow. */
int build(int count, char **arguments);
int inspect(int count, char **arguments);
int bench(int count, char **arguments);
int segment(int count, char **arguments);

#endif
