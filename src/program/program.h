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

/* -1 if there is such a GPU. Else it says which there are, and is how the program ends: who asks for a GPU does not mean the CPU. */
int check_device(int32_t ordinal);

/* --name=value, or --name value. */
struct option {
    char name[64];
    const char *value; /* null where there is none */
    bool is_next;      /* whether the value is the argument behind */
};

/* Of the first of so many arguments; false if it is no option. */
bool split(int count, char **arguments, struct option *option);

/* Whether an option with a value that may be given once was there before, by this name or another of its names. */
bool is_given_again(const char *name);

/* An option of trtexec's that is not one here. */
struct replaced {
    const char *name, *instead;
    bool is_error;
};

/* Says what stands in the place of one of these; how the program ends, -1 if it goes on. */
bool is_replaced(const struct replaced *others, size_t count, const char *name, int *code);

/* An option of that command is wrong; how the program ends. */
int wrong_option(const char *command, const char *problem, const char *argument);

/* The next "name:1x1x8x8" of a list with commas, which is moved behind it; false if it is none. */
bool next_shape(const char **list, char name[NAME], int32_t *rank, int64_t extents[PLANRT_MAX_RANK]);

enum { MIB = 1048576 };

/* "4096", "1.5G": in bytes, or so many, unless a letter says otherwise; a byte at least. */
bool parse_bytes(const char *text, double unit, size_t *bytes);

/* "native", "plugin" or "decomposed". */
bool parse_normalization(const char *text, planrt_instance_normalization *kind);

/* What runs ONNX models, "engine", "openvino" or "fastest"; false if it is none of them. */
bool parse_cpu(const char *text, planrt_backend *backend);

/* --plugins, --tensorrt and --device, which all commands have; -1 if it is done, else how the program ends. */
int take_runtime_option(const char *command, const struct option *option, const char *argument, planrt_runtime_options *runtime);

/* Whether a file can be made there, before minutes are spent on what would be in it; says why not. */
bool can_write(const char *path);

/* Whether both are there and are one file: what is read would be written over. */
bool is_same_file(const char *path, const char *other);

/* A planrt_log_callback that writes to the standard error. */
void log_line(void *user_data, planrt_log_level level, const char *message);

/* A planrt_build_progress that tells how far it is on the standard error, and ends it after an interrupt. */
bool tell_progress(void *user_data, const char *phase, const char *parent, int32_t done, int32_t steps);
void watch_interrupts(void);

/* Writes a plan that was made, or says why there is none; how the program ends. */
int keep_plan(planrt_error *error, const planrt_plan *plan, const char *path);

/* planrt build, refit, inspect, bench and segment, with the arguments that follow. */
int build(int count, char **arguments);
int refit(int count, char **arguments);
int inspect(int count, char **arguments);
int bench(int count, char **arguments);
int segment(int count, char **arguments);

#endif
