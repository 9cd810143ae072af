/**
 * planrt: runs TensorRT plans on NVIDIA GPUs, and ONNX models on any CPU, inside C and C++ applications.
 *
 * Errors. A function that can fail returns planrt_error*, null on success. The caller owns it and deletes it. Outputs are
 * untouched on failure. Null and impossible arguments are errors, not crashes. What a function lists comes on top of what
 * any may fail with: PLANRT_ERROR_INVALID_ARGUMENT, _OUT_OF_MEMORY, _FORKED, _POISONED, _INTERNAL, _IN_USE inside a log
 * callback, and where it uses a GPU _CUDA and _DEVICE_LOST.
 *
 * Ownership. What planrt_..._new, _load and _wrap give is the caller's, for the _delete of its kind; these accept null. A
 * handle keeps what it was made from, so any order of deletion is harmless.
 *
 * Threads. A handle in a const parameter may be used by several threads at once; its type says more.
 *
 * The calling thread. A call computes in the default floating-point mode and gives the caller's back, with errno and the
 * floating-point exceptions as they were; a pthread_cancel waits until the call has returned. A callback on a thread of the
 * application's has that thread's mode. Threads of planrt's take no signals but those of their own faults,
 * and neither do threads that a callback starts there.
 * 16 KiB of stack are enough, but for calls that have TensorRT work on the thread (contexts; requests of new shapes): with
 * less than 256 KiB left these fail with PLANRT_ERROR_OUT_OF_MEMORY.
 *
 * Fork. In the child of a fork, calls with handles of the parent's fail with PLANRT_ERROR_FORKED, and deletes of them free
 * nothing: begin with planrt_runtime_new there. The GPU is out of the child's reach where the parent has used it.
 *
 * Memory. What would take more host memory than there is, on the machine, of the control group's limit or of RLIMIT_AS and
 * RLIMIT_DATA, is PLANRT_ERROR_OUT_OF_MEMORY before it begins: planrt estimates what the CPU engine takes. Where others take
 * what was free meanwhile, small allocations come from a reserve of 16 MiB, and the call fails when it can; one of more than
 * 1 MiB that the CPU engine makes just then and that cannot fail ends the process.
 *
 * Units. Strings are UTF-8, paths whatever bytes the file system takes; sizes are in bytes, times in microseconds, shapes in
 * elements, outermost dimension first.
 *
 * Values. Constants are never renumbered. Structs begin with struct_size, set by the caller, and grow at their end.
 *
 * This file is generated from src/ffi (`make header`).
 */

#ifndef PLANRT_H
#define PLANRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * On each function that returns an error: the compiler warns where it is dropped, which would leak it.
 */
#if defined(__cplusplus) && (__cplusplus >= 201703L || (defined(_MSVC_LANG) && _MSVC_LANG >= 201703L))
#define PLANRT_WARN_UNUSED [[nodiscard]]
#elif defined(__GNUC__)
#define PLANRT_WARN_UNUSED __attribute__((warn_unused_result))
#elif defined(_MSC_VER)
#include <sal.h>
#define PLANRT_WARN_UNUSED _Check_return_
#else
#define PLANRT_WARN_UNUSED
#endif

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/* ---- Version ------------------------------------------------------------------------------------------------------- */

/**
 * Major version of the interface that this header describes. It changes when something is removed or changed; 0 as
 * long as nothing is promised.
 */
#define PLANRT_API_MAJOR 0

/**
 * Minor version of the interface that this header describes. It changes when something is added; while the major is 0,
 * also when something is removed or changed.
 */
#define PLANRT_API_MINOR 2

/**
 * The version of the interface that the loaded library offers. A program may use it if the major is the one of its
 * header and the minor at least the one of its header; while the major is 0, the minor too must be the same. Null
 * arguments are accepted. Any thread.
 *
 * Requires: Each pointer is null or writable.
 */
void planrt_api_version(uint32_t *major, uint32_t *minor);

/**
 * The library's release, "0.2.0"; it lives as long as the process. Any thread.
 */
const char *planrt_version(void);

/* ---- Strings ------------------------------------------------------------------------------------------------------- */

/**
 * Frees a string that planrt gave. Null is accepted.
 *
 * Requires: `string` is null, or came from a planrt function that says so and is deleted once.
 */
void planrt_string_delete(char *string);

/* ---- Errors -------------------------------------------------------------------------------------------------------- */

/**
 * What went wrong: a code for programs, a message for people, and what TensorRT and CUDA said.
 *
 * Every fallible function returns one, or null on success. The caller owns it and deletes it with
 * `planrt_error_delete`. It belongs to its holder: any thread may read it.
 */
typedef struct planrt_error planrt_error;

/**
 * The kind of an error: one of the `PLANRT_ERROR_` constants. New ones may be added.
 */
typedef int32_t planrt_error_code;

/**
 * A null or otherwise impossible argument: an unknown constant, a struct of the wrong size.
 */
#define PLANRT_ERROR_INVALID_ARGUMENT 1

/**
 * No such file, or no such tensor in the model.
 */
#define PLANRT_ERROR_NOT_FOUND 2

/**
 * The file is there but cannot be read.
 */
#define PLANRT_ERROR_IO 3

/**
 * The model is damaged, cut short, or no model at all.
 */
#define PLANRT_ERROR_INVALID_MODEL 4

/**
 * A sound plan, but of another TensorRT version or for another GPU.
 */
#define PLANRT_ERROR_INCOMPATIBLE_MODEL 5

/**
 * The plan needs a plugin that is not loaded; the message names it and the library that it is in.
 */
#define PLANRT_ERROR_MISSING_PLUGIN 6

/**
 * No CUDA driver, or no device of that ordinal.
 */
#define PLANRT_ERROR_NO_CUDA 7

/**
 * No TensorRT library, or one that cannot be used.
 */
#define PLANRT_ERROR_NO_TENSORRT 8

/**
 * This backend, TensorRT version or build of planrt cannot do that.
 */
#define PLANRT_ERROR_UNSUPPORTED 9

/**
 * A shape that fits no profile, is not set, or does not agree with the model.
 */
#define PLANRT_ERROR_SHAPE 10

/**
 * Memory given for a tensor is smaller than the tensor.
 */
#define PLANRT_ERROR_BUFFER_TOO_SMALL 11

/**
 * Host or device memory is used up.
 */
#define PLANRT_ERROR_OUT_OF_MEMORY 12

/**
 * A context was used from two threads at once, or its profile is taken by another context; or planrt was called from
 * inside its log callback.
 */
#define PLANRT_ERROR_IN_USE 13

/**
 * The run was ended by `planrt_context_cancel`, or the request by `planrt_request_cancel`.
 */
#define PLANRT_ERROR_CANCELLED 14

/**
 * A CUDA call failed; `planrt_error_get_cuda_code` gives the driver's number.
 */
#define PLANRT_ERROR_CUDA 15

/**
 * A TensorRT call failed; `planrt_error_get_detail` gives its lines.
 */
#define PLANRT_ERROR_TENSORRT 16

/**
 * An earlier call on this handle failed inside planrt; the handle can only be deleted.
 */
#define PLANRT_ERROR_POISONED 17

/**
 * A defect of planrt, caught: the message says where.
 */
#define PLANRT_ERROR_INTERNAL 18

/**
 * The request's time-out (`timeout_us`) passed before it ran.
 */
#define PLANRT_ERROR_DEADLINE 19

/**
 * As many requests wait in the session's queue as it holds.
 */
#define PLANRT_ERROR_QUEUE_FULL 20

/**
 * The session was deleted before the request ran.
 */
#define PLANRT_ERROR_SHUT_DOWN 21

/**
 * The handle was made before the process forked: load anew in the child. Or the parent has used CUDA, which its
 * children cannot.
 */
#define PLANRT_ERROR_FORKED 22

/**
 * The CUDA device does nothing any more for this process, as after a kernel that went wrong or a fault of the
 * hardware: every further call fails. Start the process anew; a session over several devices goes on with the others.
 * `planrt_error_get_cuda_code` gives the driver's number.
 */
#define PLANRT_ERROR_DEVICE_LOST 23

/**
 * What the model answers on this machine is not what its folder's test vectors hold; `planrt_error_get_detail` says
 * where.
 */
#define PLANRT_ERROR_SELF_TEST 24

/**
 * No OpenVINO was found, or what was found is none that planrt supports, or is damaged.
 */
#define PLANRT_ERROR_NO_OPENVINO 25

/**
 * OpenVINO failed; the detail has what it said.
 */
#define PLANRT_ERROR_OPENVINO 26

/**
 * The name of a code as this header has it, "PLANRT_ERROR_SHAPE", for logs; it lives as long as the process. Null for
 * an unknown code, and for 0. Any thread.
 */
const char *planrt_error_code_get_name(planrt_error_code code);

/**
 * The error's code: one of the `PLANRT_ERROR_` constants; 0 for null.
 *
 * Requires: `error` is null or alive.
 */
planrt_error_code planrt_error_get_code(const struct planrt_error *error);

/**
 * One sentence that names what was wrong and what to do, in UTF-8; it lives as long as the error. Empty for null.
 * Names and paths in it are cut where they are long, and characters that a terminal would act on are escaped.
 *
 * Requires: `error` is null or alive.
 */
const char *planrt_error_get_message(const struct planrt_error *error);

/**
 * What the library underneath said of it (TensorRT's last lines), in UTF-8, lines ended by `\n`; it lives as long as
 * the error. Empty where there is none, and for null.
 *
 * Requires: `error` is null or alive.
 */
const char *planrt_error_get_detail(const struct planrt_error *error);

/**
 * The CUDA driver's number (`CUresult`) where a CUDA call failed, else 0.
 *
 * Requires: `error` is null or alive.
 */
int32_t planrt_error_get_cuda_code(const struct planrt_error *error);

/**
 * Frees an error. Null is accepted.
 *
 * Requires: `error` is null, or came from planrt and is deleted once.
 */
void planrt_error_delete(struct planrt_error *error);

/* ---- Tensors ------------------------------------------------------------------------------------------------------- */

/**
 * The most dimensions a tensor has.
 */
#define PLANRT_MAX_RANK 8

/**
 * The type of one element of a tensor: one of the constants below, from `PLANRT_FLOAT32` on.
 */
typedef int32_t planrt_element_type;

/**
 * IEEE 754 binary32.
 */
#define PLANRT_FLOAT32 1

/**
 * IEEE 754 binary16.
 */
#define PLANRT_FLOAT16 2

/**
 * The upper half of a binary32.
 */
#define PLANRT_BFLOAT16 3

/**
 * Signed, 8 bits.
 */
#define PLANRT_INT8 4

/**
 * Unsigned, 8 bits.
 */
#define PLANRT_UINT8 5

/**
 * Signed, 32 bits.
 */
#define PLANRT_INT32 6

/**
 * Signed, 64 bits.
 */
#define PLANRT_INT64 7

/**
 * One byte, 0 or 1.
 */
#define PLANRT_BOOL 8

/**
 * Signed, 16 bits, as CT has it. Of host memory, which planrt converts, and of models on the CPU.
 */
#define PLANRT_INT16 9

/**
 * Unsigned, 16 bits. Of host memory and of models on the CPU.
 */
#define PLANRT_UINT16 10

/**
 * IEEE 754 binary64. Of host memory and of models on the CPU.
 */
#define PLANRT_FLOAT64 11

/**
 * Whether a tensor is read or written: `PLANRT_INPUT` or `PLANRT_OUTPUT`.
 */
typedef int32_t planrt_tensor_role;

/**
 * The model reads it.
 */
#define PLANRT_INPUT 1

/**
 * The model writes it.
 */
#define PLANRT_OUTPUT 2

/**
 * Where memory lies: one of the `PLANRT_MEMORY_` constants.
 */
typedef int32_t planrt_memory_kind;

/**
 * Ordinary host memory.
 */
#define PLANRT_MEMORY_HOST 1

/**
 * Page-locked host memory, which the GPU copies from and to directly.
 */
#define PLANRT_MEMORY_PINNED 2

/**
 * Memory on the CUDA device.
 */
#define PLANRT_MEMORY_DEVICE 3

/**
 * The name of an element type, "float32", for people; it lives as long as the process. Null for an unknown constant.
 * Any thread.
 */
const char *planrt_element_type_get_name(planrt_element_type element_type);

/**
 * Bytes of one element; 0 for an unknown constant. Any thread.
 */
size_t planrt_element_type_get_size(planrt_element_type element_type);

/**
 * An input or output with the memory that the application lends for it: for `planrt_context_run` until it returns, for
 * `planrt_session_submit` until the request is answered. Fill it with zeros first, then set `struct_size` to
 * `sizeof(planrt_tensor)`.
 */
typedef struct planrt_tensor {
  /**
   * Bytes of this struct, as the caller knows it; the same in all elements of an array.
   */
  size_t struct_size;
  /**
   * The tensor's name in the model, in UTF-8; read during the call only.
   */
  const char *name;
  /**
   * For inputs, and null for outputs: where the elements are read from, a host address or a `CUdeviceptr`. They are
   * dense, the last dimension runs fastest; in host memory no alignment is asked for.
   */
  const void *input_data;
  /**
   * For outputs, and null for inputs: where the elements are written to.
   */
  void *output_data;
  /**
   * Bytes behind `input_data` or `output_data`: at least what the tensor takes.
   */
  size_t size_bytes;
  /**
   * The type of the elements there: the model's. In host memory, page-locked or not, planrt also converts: float32
   * where the model has float16 or bfloat16 (and the other way round), and int16, uint16 and float64 where it has
   * float32, float16 or bfloat16. It takes the nearest value, ties to even; what is beyond the range of a
   * floating-point type becomes infinite, what is beyond that of an integer becomes its smallest or largest, and NaN
   * becomes the integer 0.
   */
  planrt_element_type element_type;
  /**
   * Where the memory is: one of the `PLANRT_MEMORY_` constants; 0 for `PLANRT_MEMORY_HOST`. `planrt_context_run`
   * takes host memory and page-locked memory only.
   */
  planrt_memory_kind memory_kind;
  /**
   * For inputs: the number of dimensions. Ignored for outputs, whose shape follows from the run:
   * `planrt_context_get_output_shape` and `planrt_request_get_output_shape` tell it.
   */
  int32_t rank;
  /**
   * For inputs: the extents in elements, outermost first. Where the model has a batch it is the first one.
   */
  int64_t shape[PLANRT_MAX_RANK];
} planrt_tensor;

/* ---- The log ------------------------------------------------------------------------------------------------------- */

/**
 * How serious a line of the log is: one of the `PLANRT_LOG_` constants, lower is more serious.
 */
typedef int32_t planrt_log_level;

/**
 * Something failed.
 */
#define PLANRT_LOG_ERROR 1

/**
 * Something works, but not as one would wish.
 */
#define PLANRT_LOG_WARNING 2

/**
 * What was found and loaded.
 */
#define PLANRT_LOG_INFO 3

/**
 * For those who look for a fault; TensorRT's own verbose lines are here.
 */
#define PLANRT_LOG_DEBUG 4

/**
 * Receives a line of the log, in UTF-8 with what a terminal would act on escaped, valid during the call. It may be
 * called from any thread, several at once, so long as the runtime, or an engine, context or session made from it, is
 * alive. The delete of the last of these returns when no callback is under way but one that it is called from itself,
 * and none comes after it, wherever it is called from. The callback must return: neither throw nor end its thread.
 *
 * Inside it calls that return a `planrt_error` fail with `PLANRT_ERROR_IN_USE`, since whoever logs may hold what they
 * would wait for; other calls work. A delete ends the log as said above where it is the last one; everything else that
 * it does is put off to the end of the call that the line came from, or left to a thread of planrt's where it came
 * from none of the application's: work of a session and its callbacks may then go on for a while after the delete.
 *
 * Lines that differ in numbers only come at most once a second; the next one says how many were left out.
 */
typedef void (*planrt_log_callback)(void *user_data, planrt_log_level level, const char *message);

/**
 * Takes `user_data` back: nothing of planrt's uses it any more. Called once, from any thread. It must neither throw
 * nor end its thread, nor call planrt.
 */
typedef void (*planrt_release_callback)(void *user_data);

/* ---- Devices ------------------------------------------------------------------------------------------------------- */

/**
 * The GPUs that the CUDA driver shows this process, as JSON, for an application that wants to choose one before it
 * makes a runtime: an object with
 *
 * - `driver`: an object with `available`, true or false; if true `cuda_version` ("12.4", the newest CUDA that it speaks), a
 *   string; if false `reason`, a string for people;
 * - `devices`: an array, empty where there is no driver, with an object for each GPU: `ordinal`, for
 *   `planrt_runtime_options_set_device`, and `total_memory_bytes`, numbers; `name` and `compute_capability` ("9.0"), strings;
 *   `free_memory_bytes`, a number, or null with `reason`, a string, where the GPU cannot be used just now.
 *
 * The free memory is asked of the GPU itself: that takes some tenths of a second for each that this process does not
 * use yet. No GPU, and no driver, is no error. Any thread. `*json_out` is the caller's, for `planrt_string_delete`.
 *
 * Requires: `json_out` is null or writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_describe_devices(char **json_out);

/* ---- Runtimes ------------------------------------------------------------------------------------------------------ */

/**
 * How a runtime is to be made. One thread at a time. Made by `planrt_runtime_options_new`, owned by the caller, free
 * to be deleted as soon as the runtime is made.
 */
typedef struct planrt_runtime_options planrt_runtime_options;

/**
 * What was found and loaded: the CUDA driver, the device, the TensorRT library, and the log they share. Any thread may
 * use it, several at once. Engines, streams and buffers keep what they need of it: it may be deleted before them.
 */
typedef struct planrt_runtime planrt_runtime;

/**
 * Makes options that hold the defaults. `*options_out` is the caller's, for `planrt_runtime_options_delete`.
 *
 * Requires: `options_out` is null or writable.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_runtime_options_new(struct planrt_runtime_options **options_out);

/**
 * Frees options. Null is accepted.
 *
 * Requires: `options` is null, or alive and deleted once.
 */
void planrt_runtime_options_delete(struct planrt_runtime_options *options);

/**
 * The CUDA device by its ordinal, as `nvidia-smi` and `CUDA_VISIBLE_DEVICES` leave it. Default 0.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_runtime_options_set_device(struct planrt_runtime_options *options,
                                                       int32_t ordinal);

/**
 * The TensorRT library to use: its file, or the folder that it is in. Without it planrt looks at the environment
 * variable `PLANRT_TENSORRT` (the same; it is read when TensorRT is looked for, and no thread may change the environment
 * meanwhile), then for a libnvinfer that the process has loaded already, then on the loader's path. Null sets the default
 * again.
 *
 * Requires: `options` is alive, `path` null or a string.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_runtime_options_set_tensorrt_path(struct planrt_runtime_options *options,
                                                              const char *path);

/**
 * The OpenVINO to use where an engine is to run on it (`planrt_engine_options_set_cpu_backend`): the file of its library with
 * the C interface (`libopenvino_c.so…`), the folder that it is in, the folder of an unpacked archive of OpenVINO, or that of a
 * Python environment that has the package `openvino`. Without it planrt looks at the environment variable `PLANRT_OPENVINO`
 * (the same; it is read when OpenVINO is looked for, and no thread may change the environment meanwhile), then beside an
 * OpenVINO that the process has loaded already, then on the loader's path. Null sets the default again. OpenVINO 2025.1 and
 * later.
 *
 * Requires: `options` is alive, `path` null or a string.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_runtime_options_set_openvino_path(struct planrt_runtime_options *options,
                                                              const char *path);

/**
 * A library with TensorRT plugins of the application's, loaded before the first plan. May be called more than once.
 *
 * Requires: `options` is alive, `path` a string.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_runtime_options_add_plugin_library(struct planrt_runtime_options *options,
                                                               const char *path);

/**
 * Whether libnvinfer_plugin, TensorRT's own plugins, may be loaded. It is looked for beside TensorRT and on the
 * loader's path, and only when a plan asks for a plugin. Default true.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_runtime_options_set_standard_plugins(struct planrt_runtime_options *options,
                                                                 bool enabled);

/**
 * Whether a plan may bring code that runs on the host, as version-compatible plans do: they hold the lean runtime that
 * runs them. It runs with all the rights of the process, so allow it only where the plans come from someone trusted.
 * Default false. TensorRT 8.6 and later have it; an earlier one refuses to start with it
 * (`PLANRT_ERROR_UNSUPPORTED`).
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_runtime_options_set_engine_host_code_allowed(struct planrt_runtime_options *options,
                                                                         bool allowed);

/**
 * Where the log goes. Without a callback planrt writes nothing anywhere. A null callback turns the log off, and the
 * rest is ignored.
 *
 * `user_data` is handed to each call and must stay valid as long as the callback may be called. `release` is null, or
 * is called with it when that is over: inside the delete of the last runtime, engine, context or session that logs
 * there, or of the options if they go later; where that delete is called from inside the log callback, when the
 * callback has returned. It is called, too, where other options of the log take the place of these; not where this
 * call fails.
 *
 * Requires: `options` is alive; the callback and `release` may be called from any thread.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_runtime_options_set_log(struct planrt_runtime_options *options,
                                                    planrt_log_callback callback,
                                                    void *user_data,
                                                    planrt_release_callback release,
                                                    planrt_log_level most_verbose);

/**
 * Makes a runtime. It loads nothing: the CUDA driver, TensorRT and OpenVINO are looked for when the first call needs them, so it
 * succeeds on every machine. `options` may be null for the defaults and is copied. `*runtime_out` is the caller's, for
 * `planrt_runtime_delete`.
 *
 * Requires: `options` is null or alive, `runtime_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_runtime_new(const struct planrt_runtime_options *options,
                                        struct planrt_runtime **runtime_out);

/**
 * Lets go of a runtime; what was made from it goes on. Null is accepted.
 *
 * Requires: `runtime` is null, or alive and deleted once.
 */
void planrt_runtime_delete(struct planrt_runtime *runtime);

/**
 * Loads the driver and TensorRT now, for an application that wants to know at its start. Any thread.
 *
 * Errors: `PLANRT_ERROR_NO_CUDA`, `PLANRT_ERROR_NO_TENSORRT`, with every place that was looked at;
 * `PLANRT_ERROR_MISSING_PLUGIN` where a plugin library of the application's does not load.
 *
 * Requires: `runtime` is alive.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_runtime_load_tensorrt(const struct planrt_runtime *runtime);

/**
 * Loads OpenVINO now, for an application that wants to know at its start. Any thread.
 *
 * Errors: `PLANRT_ERROR_NO_OPENVINO`, with every place that was looked at, or what is wrong with what was found;
 * `PLANRT_ERROR_UNSUPPORTED` where planrt was built without the CPU engine.
 *
 * Requires: `runtime` is alive.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_runtime_load_openvino(const struct planrt_runtime *runtime);

/**
 * What there is and what there is not, with reasons, as JSON: an object with
 *
 * - `planrt`: this library's release, a string;
 * - `device`: `available`, true or false; if true `ordinal` and `total_memory_bytes`, numbers, and `name` and
 *   `compute_capability` ("9.0"), strings; if false `reason`, a string for people;
 * - `tensorrt`: `available`; if true `version` ("10.13.3"), `flavor` ("full", "lean", "dispatch" or "RTX") and `path` (the
 *   library's file), strings; if false `reason`;
 * - `cpu`, the CPU engine: `available`; if false `reason`;
 * - `openvino`: `available`; if true `version` ("2026.4.1") and `path` (the library's file), strings; if false `reason`.
 *
 * Fields may be added. It looks for the driver, TensorRT and OpenVINO, and loads what it finds. Any thread. `*json_out` is the
 * caller's, for `planrt_string_delete`.
 *
 * Requires: `runtime` is alive, `json_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_runtime_describe(const struct planrt_runtime *runtime,
                                             char **json_out);

/* ---- Engines ------------------------------------------------------------------------------------------------------- */

/**
 * The engine that runs a model: one of the `PLANRT_BACKEND_` constants.
 */
typedef int32_t planrt_backend;

/**
 * TensorRT, on an NVIDIA GPU: runs plans.
 */
#define PLANRT_BACKEND_TENSORRT 1

/**
 * The CPU engine inside planrt: runs ONNX models.
 */
#define PLANRT_BACKEND_CPU 2

/**
 * OpenVINO, on the CPU: runs ONNX models where the application asks for it.
 */
#define PLANRT_BACKEND_OPENVINO 3

/**
 * For `planrt_engine_options_set_cpu_backend` only: OpenVINO where it is found and takes the model, else the CPU engine. The log
 * says why OpenVINO is not taken, and `planrt_engine_get_backend` which of them runs.
 */
#define PLANRT_BACKEND_FASTEST_CPU 4

/**
 * A number that TensorRT knows of a plan: one of the `PLANRT_STATISTIC_` constants.
 */
typedef int32_t planrt_statistic;

/**
 * Bytes of all weights. TensorRT 10.14 and later, TensorRT-RTX.
 */
#define PLANRT_STATISTIC_WEIGHTS_SIZE 1

/**
 * Bytes of the weights that were left out of the plan. TensorRT 10.14 and later, TensorRT-RTX.
 */
#define PLANRT_STATISTIC_STRIPPED_WEIGHTS_SIZE 2

/**
 * Bytes of the weights that can be streamed; 0 where the plan was not built for it. TensorRT 10 and later,
 * TensorRT-RTX.
 */
#define PLANRT_STATISTIC_STREAMABLE_WEIGHTS_SIZE 3

/**
 * Bytes of device memory that these may take. TensorRT 10.1 and later, TensorRT-RTX.
 */
#define PLANRT_STATISTIC_WEIGHT_STREAMING_BUDGET 4

/**
 * How many streams besides the one that it is given a run can use. TensorRT 8.6 and later, TensorRT-RTX.
 */
#define PLANRT_STATISTIC_AUX_STREAMS 5

/**
 * How a model is to be loaded. One thread at a time. Made by `planrt_engine_options_new`, owned by the caller, free to
 * be deleted as soon as the engine is loaded.
 */
typedef struct planrt_engine_options planrt_engine_options;

/**
 * A loaded model: a plan on the GPU, or an ONNX model on the CPU, and what it says of itself. Any thread may use it,
 * several at once. Contexts keep it: it may be deleted before them.
 */
typedef struct planrt_engine planrt_engine;

/**
 * One input or output of a model. Set `struct_size` to `sizeof(planrt_tensor_info)` before the call.
 */
typedef struct planrt_tensor_info {
  /**
   * Bytes of this struct, as the caller knows it.
   */
  size_t struct_size;
  /**
   * UTF-8; it lives as long as the engine.
   */
  const char *name;
  /**
   * `PLANRT_INPUT` or `PLANRT_OUTPUT`.
   */
  planrt_tensor_role role;
  /**
   * The type of its elements.
   */
  planrt_element_type element_type;
  /**
   * Where memory for `planrt_context_bind` must lie.
   */
  planrt_memory_kind memory_kind;
  /**
   * The number of dimensions.
   */
  int32_t rank;
  /**
   * Extents in elements, outermost first; -1 where the model leaves one open.
   */
  int64_t shape[PLANRT_MAX_RANK];
} planrt_tensor_info;

/**
 * The shapes that an input may have under one optimization profile. Set `struct_size` to
 * `sizeof(planrt_profile_shape)` before the call.
 */
typedef struct planrt_profile_shape {
  /**
   * Bytes of this struct, as the caller knows it.
   */
  size_t struct_size;
  /**
   * The number of dimensions.
   */
  int32_t rank;
  /**
   * The smallest extents, in elements.
   */
  int64_t min[PLANRT_MAX_RANK];
  /**
   * The extents that the plan was tuned for.
   */
  int64_t opt[PLANRT_MAX_RANK];
  /**
   * The largest extents.
   */
  int64_t max[PLANRT_MAX_RANK];
} planrt_profile_shape;

/**
 * Makes options that hold the defaults. `*options_out` is the caller's, for `planrt_engine_options_delete`.
 *
 * Requires: `options_out` is null or writable.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_engine_options_new(struct planrt_engine_options **options_out);

/**
 * Frees options. Null is accepted.
 *
 * Requires: `options` is null, or alive and deleted once.
 */
void planrt_engine_options_delete(struct planrt_engine_options *options);

/**
 * What runs ONNX models, those of model folders too: `PLANRT_BACKEND_CPU` (the default), `PLANRT_BACKEND_OPENVINO` or
 * `PLANRT_BACKEND_FASTEST_CPU`.
 *
 * OpenVINO is faster, and its answers differ from the CPU engine's by what float32 rounds, so it is taken only where the
 * application says so. planrt has it compute in float32 and hands it the whole model, with the weights that lie in other files,
 * after the same checks as for the CPU engine; up to 2 GiB. Contexts, sessions, batches of independent items, cancelling and
 * threads are the same, but: the last bits of an answer may depend on the number of threads, and in a batch on how many items
 * run beside it; float64 inputs and outputs, and int64 inputs beyond 32 bits, are refused, since OpenVINO computes them in half
 * their width, and so is NaN in an input, of which its Relu, Clip, Max and others make numbers: NaN that comes up within the
 * model may not be seen in its outputs. What else of ONNX is known to come out otherwise is refused when the model is loaded, and
 * models of more than 10,000 nodes. OpenVINO has threads of its own, as many as `planrt_engine_options_set_cpu_threads` says. Which OpenVINO it is,
 * `planrt_runtime_options_set_openvino_path` says. Where there is none, or it does not take the model, loading with
 * `PLANRT_BACKEND_OPENVINO` fails.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_options_set_cpu_backend(struct planrt_engine_options *options,
                                                           planrt_backend backend);

/**
 * How many threads the CPU engine may use for a run; 0 (the default) for one a core, at most 1024. With 1 a run works
 * on the thread that calls; with more the engine has that many of its own, which its contexts share and which end with
 * it.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_options_set_cpu_threads(struct planrt_engine_options *options,
                                                           int32_t threads);

/**
 * How many input shapes the CPU engine keeps ready. Each costs memory for the weights as that shape wants them, each
 * new shape the time to prepare it. 1 to 1024; 0 for the default, 4. Beside them an engine keeps the memory that its last
 * runs worked in, of as many runs as it has threads, until it is deleted or memory is short: the next run begins at once.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_options_set_cpu_shape_cache(struct planrt_engine_options *options,
                                                               int32_t shapes);

/**
 * The lean runtime (`libnvinfer_lean`) that is to run a plan: the one of the TensorRT that built it, for a plan that
 * is version-compatible and was built without its lean runtime inside (`kEXCLUDE_LEAN_RUNTIME`). The TensorRT that
 * planrt found, which may be the dispatch runtime, loads it. Null sets the default again: none. Plans only. TensorRT
 * 8.6 and later have it; with an earlier one the plan fails to load (`PLANRT_ERROR_UNSUPPORTED`).
 *
 * Requires: `options` is alive, `path` null or a string.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_options_set_lean_runtime(struct planrt_engine_options *options,
                                                            const char *path);

/**
 * As a budget for weight streaming: what TensorRT recommends for the memory that is free when the plan is loaded.
 */
#define PLANRT_WEIGHT_STREAMING_AUTOMATIC -1

/**
 * How many bytes of device memory the weights of a plan may take; the rest stays in host memory and is streamed at
 * each run. For plans built with `kWEIGHT_STREAMING`; see `PLANRT_STATISTIC_STREAMABLE_WEIGHTS_SIZE`. A number of
 * bytes, or `PLANRT_WEIGHT_STREAMING_AUTOMATIC`. Without a call TensorRT's own default holds. Plans only. TensorRT
 * 10.1 and later have it; with an earlier one, or a plan that cannot stream, loading fails
 * (`PLANRT_ERROR_UNSUPPORTED`).
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_options_set_weight_streaming_budget(struct planrt_engine_options *options,
                                                                       int64_t budget_bytes);

/**
 * Whether `planrt_engine_load_folder` may run the folder's ONNX model on the CPU where none of its plans runs here: slower
 * by far than the GPU, for an application that would rather wait than fail. Default false.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_options_set_cpu_allowed(struct planrt_engine_options *options,
                                                           bool allowed);

/**
 * Whether `planrt_engine_load_folder` may load a folder whose passport has a `head` (`planrt-convert --fold-head`), and
 * `planrt_engine_load_file` a model in one: they give features, of which the model's channels have yet to be made. Segmenters over such an engine, or over its sessions, do that; whoever
 * else runs it has to. Default false: what comes out would be taken for the model's answer.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_options_set_features_allowed(struct planrt_engine_options *options,
                                                                bool allowed);

struct planrt_build_options;

/**
 * What `planrt_engine_load_folder` does where none of the folder's plans runs here: it builds one from its ONNX model, as
 * `build` says, and keeps it in the file `plan_path`, with what it was built from beside it (`.json`). A plan that is there
 * already is taken, if it is whole, of this model, and runs here; `build` is not compared: name another file for another. Of
 * several processes and threads one builds, and the others wait for it (`.lock`), hearing of that by the progress that `build`
 * has, by which they too can be cancelled. The file is there whole or not at all. Where no TensorRT can build it the
 * ONNX model may run on the CPU, as `planrt_engine_options_set_cpu_allowed` says. Null, the default, for both: none is built.
 *
 * `build` is copied; what its progress is called with must be valid while a folder is loaded.
 *
 * Requires: `options` is alive, `build` null or alive, `plan_path` null or a string.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_options_set_build(struct planrt_engine_options *options,
                                                     const struct planrt_build_options *build,
                                                     const char *plan_path);

/**
 * Loads a model from a file, which is mapped, not copied, and read to the end before the call returns; nobody may
 * shorten it meanwhile. What it is, is told by its content: a TensorRT plan runs on the runtime's CUDA device, an ONNX
 * model on the CPU. `options` may be null for the defaults. `*engine_out` is the caller's, for `planrt_engine_delete`.
 * Any thread.
 *
 * Where an ONNX model's weights come to more than 16 MiB, the CPU engine does not keep them as the file has them, beside the
 * order in which its layers read them: it holds the file open, and those beside it that weights are in, and reads them again
 * when it prepares a shape. The files may be deleted and others be put in their places. A run for which they are read after
 * somebody wrote into them is an error, `PLANRT_ERROR_IO`.
 *
 * Errors: `PLANRT_ERROR_NOT_FOUND`, `_IO`, `_INVALID_MODEL`, `_INCOMPATIBLE_MODEL`, `_MISSING_PLUGIN`, `_NO_CUDA`,
 * `_NO_TENSORRT`, `_NO_OPENVINO`, `_UNSUPPORTED`, `_OUT_OF_MEMORY`, `_TENSORRT`, `_OPENVINO`. `PLANRT_ERROR_UNSUPPORTED` also for a
 * model in a model folder with a `head`, which gives features (`planrt_engine_options_set_features_allowed`).
 *
 * Requires: `runtime` is alive, `path` a string, `options` null or alive, `engine_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_load_file(const struct planrt_runtime *runtime,
                                             const char *path,
                                             const struct planrt_engine_options *options,
                                             struct planrt_engine **engine_out);

/**
 * Loads a model from memory: as `planrt_engine_load_file`. `data` is read during the call only.
 *
 * Requires: As for `planrt_engine_load_file`; `data` is readable for `size_bytes` bytes.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_load_memory(const struct planrt_runtime *runtime,
                                               const void *data,
                                               size_t size_bytes,
                                               const struct planrt_engine_options *options,
                                               struct planrt_engine **engine_out);

/**
 * Loads a model from a model folder: as a model is delivered, with the ONNX model, plans of it for GPUs and TensorRTs, test
 * vectors, and the passport `planrt.json`, which has a hash of each (docs/folder.md describes it). Every file is held
 * against its hash first, once a process as long as it stays as it is, by all threads there are.
 *
 * The first plan that runs here is taken, those for a GPU of this one's name before others. Where none runs the error
 * says of each why not; or one is built (`planrt_engine_options_set_build`), or the ONNX model runs on the CPU, if
 * `planrt_engine_options_set_cpu_allowed` allows that or the folder has no plans and none is to be built. `options` may be
 * null for the defaults. `*engine_out` is the caller's, for `planrt_engine_delete`. Any thread.
 *
 * Errors: those of `planrt_engine_load_file`; `PLANRT_ERROR_INVALID_MODEL` where a file, or the passport, was changed, or a
 * link leads out of the folder, `_NOT_FOUND` where one is missing, `_UNSUPPORTED` for a passport of a later format:
 * the message names the file. `_UNSUPPORTED` also for what `planrt_segmenter_load` makes one model of: an ensemble of folders,
 * and a folder with a `head`, unless `planrt_engine_options_set_features_allowed` allows the engine without it. Where no plan
 * runs the code is that of all of them, or else `PLANRT_ERROR_INCOMPATIBLE_MODEL`.
 *
 * Requires: `runtime` is alive, `folder` a string, `options` null or alive, `engine_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_load_folder(const struct planrt_runtime *runtime,
                                               const char *folder,
                                               const struct planrt_engine_options *options,
                                               struct planrt_engine **engine_out);

/**
 * Runs the test vectors of a model folder on an engine that was loaded from it, on the machine where it is to work, and
 * holds the answers against the passport's, within the tolerance that it names for that plan. Files are held against their
 * hashes as in `planrt_engine_load_folder`. Any thread.
 *
 * `report_out` is null, or `*report_out` receives what was found, as JSON, for `planrt_string_delete`: an object with
 * `agrees`, true; `tolerance`, an object with `rtol` and `atol`; and `tests`, an array of objects with `name` and `outputs`,
 * an array of objects with `name`, `agrees`, `elements`, `elements_off`, `largest_difference` and `mean_difference`.
 *
 * Errors: `PLANRT_ERROR_SELF_TEST` where an answer is another: do not use the model here; the detail says which outputs are
 * off and by how much. `_INVALID_ARGUMENT` where the engine was not loaded from this folder; `_NOT_FOUND` where the folder
 * has no test vectors; those of `planrt_engine_load_folder` and `planrt_context_run`.
 *
 * Requires: `engine` is alive, `folder` a string, `report_out` null or writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_self_test(const struct planrt_engine *engine,
                                             const char *folder,
                                             char **report_out);

/**
 * Lets go of an engine; its contexts go on. Null is accepted.
 *
 * Requires: `engine` is null, or alive and deleted once.
 */
void planrt_engine_delete(struct planrt_engine *engine);

/**
 * Which engine runs the model: one of the `PLANRT_BACKEND_` constants; 0 for a bad handle. Any thread.
 *
 * Requires: `engine` is null or alive.
 */
planrt_backend planrt_engine_get_backend(const struct planrt_engine *engine);

/**
 * The model's name, as its builder gave it, in UTF-8; it lives as long as the engine. Empty where it has none. Any
 * thread.
 *
 * Requires: `engine` is null or alive.
 */
const char *planrt_engine_get_name(const struct planrt_engine *engine);

/**
 * What the model runs on, for people: "NVIDIA H100 80GB HBM3", "CPU, 8 threads". It lives as long as the engine. Any
 * thread.
 *
 * Requires: `engine` is null or alive.
 */
const char *planrt_engine_get_device_name(const struct planrt_engine *engine);

/**
 * The number of inputs and outputs together; 0 for a bad handle. Any thread.
 *
 * Requires: `engine` is null or alive.
 */
int32_t planrt_engine_get_tensor_count(const struct planrt_engine *engine);

/**
 * One input or output: inputs come first, each in the model's order. Any thread.
 *
 * Requires: `engine` is alive, `info_out` writable, its `struct_size` set.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_get_tensor_info(const struct planrt_engine *engine,
                                                   int32_t index,
                                                   struct planrt_tensor_info *info_out);

/**
 * The index of the tensor of that name. Any thread.
 *
 * Errors: `PLANRT_ERROR_NOT_FOUND`, with the names that there are.
 *
 * Requires: `engine` is alive, `name` a string, `index_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_find_tensor(const struct planrt_engine *engine,
                                               const char *name,
                                               int32_t *index_out);

/**
 * The number of optimization profiles; 0 where there are none: an engine on the CPU takes every shape that the model
 * does. Any thread.
 *
 * Requires: `engine` is null or alive.
 */
int32_t planrt_engine_get_profile_count(const struct planrt_engine *engine);

/**
 * The shapes that an input may have under a profile. Any thread.
 *
 * Requires: `engine` is alive, `input` a string, `shape_out` writable, its `struct_size` set.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_get_profile_shape(const struct planrt_engine *engine,
                                                     int32_t profile,
                                                     const char *input,
                                                     struct planrt_profile_shape *shape_out);

/**
 * Bytes of device memory that one context takes, besides its inputs and outputs; 0 on the CPU. Any thread.
 *
 * Requires: `engine` is null or alive.
 */
size_t planrt_engine_get_device_memory_size(const struct planrt_engine *engine);

/**
 * Bytes of device memory that one context takes under a profile, besides its inputs and outputs; 0 on the CPU.
 * TensorRT 8 knows the largest profile's only, which it is then. Any thread.
 *
 * Errors: `PLANRT_ERROR_INVALID_ARGUMENT` where there is no such profile.
 *
 * Requires: `engine` is alive, `size_bytes_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_get_profile_device_memory_size(const struct planrt_engine *engine,
                                                                  int32_t profile,
                                                                  size_t *size_bytes_out);

/**
 * A number that TensorRT knows of a plan. Any thread.
 *
 * Errors: `PLANRT_ERROR_UNSUPPORTED` with the version that has it where this TensorRT has not, and on the CPU.
 *
 * Requires: `engine` is alive, `value_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_get_statistic(const struct planrt_engine *engine,
                                                 planrt_statistic statistic,
                                                 int64_t *value_out);

/**
 * The name that the model gives to an extent that it leaves open (ONNX's `dim_param`), in UTF-8; it lives as long as
 * the engine. Extents of the same name have to be the same in one run. Null where there is no name: for extents that
 * are fixed, for a model that gives none, for a plan, since TensorRT keeps none, and where there is no such tensor or
 * axis. Any thread.
 *
 * Requires: `engine` is null or alive.
 */
const char *planrt_engine_get_dimension_name(const struct planrt_engine *engine, int32_t tensor, int32_t axis);

/**
 * What the model's file says of itself, as JSON: an object with `format`, "onnx" or "plan", and `name`, the model's.
 *
 * For "onnx" also `producer_name`, `producer_version`, `domain` and `description`, strings, empty where the file says
 * nothing; `ir_version` and `model_version`, numbers; `opsets`, an array of objects with `domain`, a string, and
 * `version`, a number; `properties`, an object with what the model's maker put there (`metadata_props`), strings by
 * their keys.
 *
 * For "plan" also `builder` ("TensorRT" or "TensorRT-RTX"), `builder_version` ("10.13.3") and `compute_capability`
 * ("9.0", of the GPU that it was built for), strings, null where the plan's header does not say.
 *
 * Any thread. `*json_out` is the caller's, for `planrt_string_delete`.
 *
 * Requires: `engine` is alive, `json_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_get_metadata_json(const struct planrt_engine *engine,
                                                     char **json_out);

/**
 * The model's layers as JSON: `{"Layers": [...]}`. Of a plan it is what TensorRT's engine inspector says: names, or
 * objects with fields of that TensorRT version where the plan was built with detailed profiling. Of an ONNX model each
 * layer is an object with `Name` and `LayerType` (the operator), strings, and `Inputs` and `Outputs`, arrays of
 * tensors' names. Any thread. `*json_out` is the caller's, for `planrt_string_delete`.
 *
 * Requires: `engine` is alive, `json_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_engine_get_layers_json(const struct planrt_engine *engine,
                                                   char **json_out);

/* ---- Building plans ------------------------------------------------------------------------------------------------ */

/**
 * In what a plan may compute: `PLANRT_PRECISION_` constants, joined by `|`; 0 for float32 alone.
 */
typedef uint32_t planrt_precision;

/**
 * Float32 with the multiplications' mantissas cut to 10 bits. TensorRT's own default, but not planrt's.
 */
#define PLANRT_PRECISION_TF32 1

/**
 * Float16 where it is faster. TensorRT 8 and 10.
 */
#define PLANRT_PRECISION_FLOAT16 2

/**
 * Bfloat16 where it is faster. TensorRT 10.
 */
#define PLANRT_PRECISION_BFLOAT16 4

/**
 * Int8, with the scales that the model's QuantizeLinear and DequantizeLinear nodes say; a model without is refused.
 */
#define PLANRT_PRECISION_INT8 8

/**
 * All of these that this TensorRT, GPU and model have. Scales are never made up.
 */
#define PLANRT_PRECISION_BEST 16

/**
 * Exactly the types in the model. TensorRT 10; all plans of TensorRT 11 and TensorRT-RTX are such.
 */
#define PLANRT_PRECISION_TYPED 32

/**
 * What a plan is to be capable of: `PLANRT_BUILD_` constants, joined by `|`.
 */
typedef uint32_t planrt_build_features;

/**
 * It runs with later TensorRTs. 8.6 and later.
 */
#define PLANRT_BUILD_VERSION_COMPATIBLE 1

/**
 * It does so without its lean runtime inside; see `planrt_engine_options_set_lean_runtime`.
 */
#define PLANRT_BUILD_EXCLUDE_LEAN_RUNTIME 2

/**
 * Its weights can be replaced.
 */
#define PLANRT_BUILD_REFITTABLE 4

/**
 * It lacks its weights, which are put in by refitting. TensorRT 10 and later.
 */
#define PLANRT_BUILD_STRIP_WEIGHTS 8

/**
 * Its weights can be streamed; see `planrt_engine_options_set_weight_streaming_budget`. TensorRT 10 and later.
 */
#define PLANRT_BUILD_WEIGHT_STREAMING 16

/**
 * Weights that are sparse may be taken for such.
 */
#define PLANRT_BUILD_SPARSE_WEIGHTS 32

/**
 * `planrt_engine_get_layers_json` tells all of its layers.
 */
#define PLANRT_BUILD_DETAILED_LAYERS 64

/**
 * On which GPUs a plan runs beside the kind it was built on. TensorRT 8.6 and later.
 */
typedef int32_t planrt_hardware_compatibility;

/**
 * On none.
 */
#define PLANRT_HARDWARE_SAME 0

/**
 * On Ampere and everything newer.
 */
#define PLANRT_HARDWARE_AMPERE_PLUS 1

/**
 * On all of the same compute capability. TensorRT 10.9 and later.
 */
#define PLANRT_HARDWARE_SAME_COMPUTE_CAPABILITY 2

/**
 * Where TensorRT may take kernels from, beside its own: `PLANRT_TACTICS_` constants, joined by `|`.
 */
typedef uint32_t planrt_tactics;

/**
 * cuBLAS. TensorRT 8 and 10.
 */
#define PLANRT_TACTICS_CUBLAS 1

/**
 * cuBLASLt. TensorRT 8 and 10.
 */
#define PLANRT_TACTICS_CUBLAS_LT 2

/**
 * cuDNN. TensorRT 8 and 10.
 */
#define PLANRT_TACTICS_CUDNN 4

/**
 * Convolutions with tables of what lies outside of the input, which take memory.
 */
#define PLANRT_TACTICS_EDGE_MASK_CONVOLUTIONS 8

/**
 * Convolutions that are compiled for their layer.
 */
#define PLANRT_TACTICS_JIT_CONVOLUTIONS 16

/**
 * What InstanceNormalization becomes.
 */
typedef int32_t planrt_instance_normalization;

/**
 * TensorRT's own layers in 8.6 and later. In 8.5 the plugin where cuDNN 8 is there and used (`planrt_build_options_set_tactics`), the
 * plan's weights are not to be replaced, and the model brings all scales and biases, in float32, since a network of scans is up to twice as
 * fast with it; a warning says so. Else decomposed; what cannot be decomposed is the plugin.
 */
#define PLANRT_INSTANCE_NORMALIZATION_DEFAULT 0

/**
 * TensorRT's own layers: 8.6 and later.
 */
#define PLANRT_INSTANCE_NORMALIZATION_NATIVE 1

/**
 * The plugin, which needs libnvinfer_plugin and cuDNN when the plan is built and when it runs. Two runs of it that share a GPU may wait for
 * each other for ever, so runs of plans with it take turns on the GPU throughout the process, and a warning says so when one is loaded.
 * CUDA graphs that the application captures, and other processes under CUDA's MPS, take no turns.
 */
#define PLANRT_INSTANCE_NORMALIZATION_PLUGIN 2

/**
 * Means, products and a root, which every TensorRT computes itself, and no library beside it. The mean and the deviation
 * are computed in float32 whatever the precision. It takes models of opset 7 and later whose tensors' ranks follow from
 * what the model says; another is refused (`PLANRT_ERROR_UNSUPPORTED`).
 */
#define PLANRT_INSTANCE_NORMALIZATION_DECOMPOSED 3

/**
 * Hears how far a build is: `done` of `steps` steps of a phase, which may be part of another one (`parent`, else null);
 * false ends the build with `PLANRT_ERROR_CANCELLED`. Before TensorRT 10 a build is heard, and can be ended, between its
 * phases only. Called during the call that builds, one call at a time, also from TensorRT's own threads. The strings
 * live during the call. It must neither throw nor end its thread, nor call planrt with what the build is about.
 */
typedef bool (*planrt_build_progress)(void *user_data,
                                      const char *phase,
                                      const char *parent,
                                      int32_t done,
                                      int32_t steps);

/**
 * How a plan is to be built. One thread at a time. Made by `planrt_build_options_new`, owned by the caller.
 */
typedef struct planrt_build_options planrt_build_options;

/**
 * A plan in memory. Any thread may use it.
 */
typedef struct planrt_plan planrt_plan;

/**
 * Makes options that hold the defaults: float32, no profile, all the workspace that there is. `*options_out` is the
 * caller's, for `planrt_build_options_delete`.
 *
 * Requires: `options_out` is null or writable.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_build_options_new(struct planrt_build_options **options_out);

/**
 * Frees options. Null is accepted.
 *
 * Requires: `options` is null, or alive and deleted once.
 */
void planrt_build_options_delete(struct planrt_build_options *options);

/**
 * The shapes that an input takes in an optimization profile. Profiles are numbered from 0, and a new one is the next.
 * A model whose inputs' shapes are fixed needs none; where only the first dimension is open and no profile is set, the
 * plan takes a batch of 1. For an input that is itself a shape these are its values. Of two calls for an input of a profile the
 * later one counts.
 *
 * Errors: `PLANRT_ERROR_SHAPE` when the plan is built, where the shapes fall, or are not the model's.
 *
 * Requires: `options` is alive, `input` a string, `shape` readable, its `struct_size` set.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_set_profile_shape(struct planrt_build_options *options,
                                                            int32_t profile,
                                                            const char *input,
                                                            const struct planrt_profile_shape *shape);

/**
 * In what the plan may compute, beside float32: `PLANRT_PRECISION_` constants. Default 0.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_set_precision(struct planrt_build_options *options,
                                                        planrt_precision precision);

/**
 * Keeps the layers of a node of the model, by its name, in float32. May be called more than once. TensorRT 8 and 10.
 *
 * Requires: `options` is alive, `node` a string.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_keep_float32_node(struct planrt_build_options *options,
                                                            const char *node);

/**
 * Keeps the layers of all nodes of an operator ("InstanceNormalization") in float32. May be called more than once.
 * TensorRT 8 and 10.
 *
 * Requires: `options` is alive, `operator_type` a string.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_keep_float32_operator(struct planrt_build_options *options,
                                                                const char *operator_type);

/**
 * How many bytes of device memory a layer may take while it runs; 0, the default, for all that there is.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_set_workspace_limit(struct planrt_build_options *options,
                                                              size_t limit_bytes);

/**
 * A file with the times that builds have measured. It is read where it is there, and written when a plan is built; one
 * of another TensorRT or GPU begins anew. A build refuses a model or a plan there (`PLANRT_ERROR_INVALID_ARGUMENT`), over which the
 * times would be written. Null, the default, for none.
 *
 * Requires: `options` is alive, `path` null or a string.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_set_timing_cache(struct planrt_build_options *options,
                                                           const char *path);

/**
 * How hard TensorRT looks for fast kernels, 0 to 5; 3 unless it is set. TensorRT 8.6 and later.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_set_optimization_level(struct planrt_build_options *options,
                                                                 int32_t level);

/**
 * From where TensorRT takes kernels: those that it uses of its own accord, and those of `use_too`, without those of
 * `use_not`; `PLANRT_TACTICS_` constants. Default 0 and 0. A plan that is built without cuBLAS and cuDNN needs neither of
 * them when it is built or runs, unless a plugin does. Building with `use_too` of a TensorRT that lacks one fails
 * (`PLANRT_ERROR_UNSUPPORTED`); in `use_not` that is no error.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_set_tactics(struct planrt_build_options *options,
                                                      planrt_tactics use_too,
                                                      planrt_tactics use_not);

/**
 * What the plan is to be capable of: `PLANRT_BUILD_` constants. Default 0. Building with a TensorRT that lacks one
 * fails (`PLANRT_ERROR_UNSUPPORTED`).
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_set_features(struct planrt_build_options *options,
                                                       planrt_build_features features);

/**
 * On which GPUs the plan runs: a `PLANRT_HARDWARE_` constant. Default `PLANRT_HARDWARE_SAME`.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_set_hardware_compatibility(struct planrt_build_options *options,
                                                                     planrt_hardware_compatibility compatibility);

/**
 * What InstanceNormalization becomes: a `PLANRT_INSTANCE_NORMALIZATION_` constant.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_set_instance_normalization(struct planrt_build_options *options,
                                                                     planrt_instance_normalization kind);

/**
 * The folder in which a model from memory keeps weights in files of their own. Null, the default, for none; a model
 * from a file has them in its own folder.
 *
 * Requires: `options` is alive, `path` null or a string.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_set_weights_folder(struct planrt_build_options *options,
                                                             const char *path);

/**
 * Who hears how far a build is, and may end it. Null, the default, for nobody. `user_data` is handed to each call.
 *
 * Requires: `options` is alive; the callback may be called with `user_data` from any thread while a plan is built.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_options_set_progress(struct planrt_build_options *options,
                                                       planrt_build_progress callback,
                                                       void *user_data);

/**
 * Builds a plan from an ONNX file, whose weights may be in other files of its folder, with the TensorRT and for the GPU
 * of the runtime. (TensorRT-RTX builds without a GPU.) Minutes may pass. `options` may be null for the defaults and is
 * copied. `*plan_out` is the caller's, for `planrt_plan_delete`. Any thread.
 *
 * Errors: `PLANRT_ERROR_NOT_FOUND` (also an input, node or operator that the model has not), `_IO`, `_INVALID_MODEL`,
 * `_UNSUPPORTED` (a node that TensorRT's parser does not take, by its name; an option that this TensorRT has not; a
 * TensorRT without a builder), `_SHAPE`, `_NO_CUDA`, `_NO_TENSORRT`, `_MISSING_PLUGIN`, `_OUT_OF_MEMORY`, `_CANCELLED`,
 * `_TENSORRT`.
 *
 * Requires: `runtime` is alive, `onnx_path` a string, `options` null or alive, `plan_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_file(const struct planrt_runtime *runtime,
                                       const char *onnx_path,
                                       const struct planrt_build_options *options,
                                       struct planrt_plan **plan_out);

/**
 * Builds a plan from an ONNX model in memory: as `planrt_build_file`. `onnx` is read during the call only.
 *
 * Requires: As for `planrt_build_file`; `onnx` is readable for `size_bytes` bytes.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_build_memory(const struct planrt_runtime *runtime,
                                         const void *onnx,
                                         size_t size_bytes,
                                         const struct planrt_build_options *options,
                                         struct planrt_plan **plan_out);

/**
 * Puts the weights of an ONNX model into a plan of the same graph, whose layers, shapes and precisions stay as they were
 * built: in seconds, where a build takes minutes. A plan that was built without its weights
 * (`PLANRT_BUILD_STRIP_WEIGHTS`) becomes whole so. The plan was built refittable (`PLANRT_BUILD_REFITTABLE`) by this
 * TensorRT. `*plan_out` is a new plan, the caller's, for `planrt_plan_delete`; the old one is as it was.
 *
 * Of `options`, which may be null for the defaults and is copied, InstanceNormalization (as when the plan was built), the
 * folder of weights and the progress count. Any thread.
 *
 * Errors: `PLANRT_ERROR_INCOMPATIBLE_MODEL` for a model of another graph (it names the layer or the weights), or a plan
 * that does not run here; `_UNSUPPORTED` for a plan that was not built to be refitted, InstanceNormalization as a plugin,
 * and a TensorRT without a parser; `_NOT_FOUND`, `_IO`, `_INVALID_MODEL`, `_NO_CUDA`, `_NO_TENSORRT`, `_CANCELLED`,
 * `_TENSORRT`.
 *
 * Requires: `runtime` is alive, the paths are strings, `options` null or alive, `plan_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_refit_file(const struct planrt_runtime *runtime,
                                       const char *plan_path,
                                       const char *onnx_path,
                                       const struct planrt_build_options *options,
                                       struct planrt_plan **plan_out);

/**
 * Puts the weights of an ONNX model in memory into a plan in memory: as `planrt_refit_file`. Both are read during the
 * call only.
 *
 * Requires: As for `planrt_refit_file`; `plan` is readable for `plan_bytes` bytes, `onnx` for `onnx_bytes`.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_refit_memory(const struct planrt_runtime *runtime,
                                         const void *plan,
                                         size_t plan_bytes,
                                         const void *onnx,
                                         size_t onnx_bytes,
                                         const struct planrt_build_options *options,
                                         struct planrt_plan **plan_out);

/**
 * A plan's bytes, for `planrt_engine_load_memory`; they live as long as the plan. Null for a bad handle. Any thread.
 *
 * Requires: `plan` is null or alive.
 */
const void *planrt_plan_get_data(const struct planrt_plan *plan);

/**
 * How many bytes a plan has; 0 for a bad handle. Any thread.
 *
 * Requires: `plan` is null or alive.
 */
size_t planrt_plan_get_size(const struct planrt_plan *plan);

/**
 * Writes a plan to a file. The file is there whole or not at all: it takes the place of an old one when all of it is on
 * the disk. Any thread.
 *
 * Errors: `PLANRT_ERROR_IO`; the old file is as it was.
 *
 * Requires: `plan` is alive, `path` a string.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_plan_save(const struct planrt_plan *plan, const char *path);

/**
 * Frees a plan. Null is accepted.
 *
 * Requires: `plan` is null, or alive and deleted once.
 */
void planrt_plan_delete(struct planrt_plan *plan);

/* ---- Buffers ------------------------------------------------------------------------------------------------------- */

/**
 * Memory of one kind, made here or wrapped from the application's. The handle may be used from any thread; what is in
 * the memory is its users' to arrange.
 */
typedef struct planrt_buffer planrt_buffer;

/**
 * Allocates `size_bytes` bytes: host memory aligned to 64 bytes and zeroed, page-locked host memory, or memory on the
 * runtime's device. `*buffer_out` is the caller's, for `planrt_buffer_delete`. Any thread.
 *
 * Errors: `PLANRT_ERROR_OUT_OF_MEMORY`, for device memory with what was free; `PLANRT_ERROR_NO_CUDA` for the last two.
 *
 * Requires: `runtime` is alive, `buffer_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_buffer_new(const struct planrt_runtime *runtime,
                                       planrt_memory_kind kind,
                                       size_t size_bytes,
                                       struct planrt_buffer **buffer_out);

/**
 * Wraps memory of the application's, which stays its own and must outlive the handle. `*buffer_out` is the caller's,
 * for `planrt_buffer_delete`. Any thread.
 *
 * Requires: `runtime` is alive, `address` is memory of that kind, `size_bytes` bytes; `buffer_out` is writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_buffer_wrap(const struct planrt_runtime *runtime,
                                        planrt_memory_kind kind,
                                        void *address,
                                        size_t size_bytes,
                                        struct planrt_buffer **buffer_out);

/**
 * Frees the handle, and the memory if it was allocated here. Null is accepted.
 *
 * Requires: `buffer` is null, or alive and deleted once; nothing is bound to its memory that still runs.
 */
void planrt_buffer_delete(struct planrt_buffer *buffer);

/**
 * The memory's address: a host address, or a `CUdeviceptr` for device memory. Null for a bad handle. Any thread.
 *
 * Requires: `buffer` is null or alive.
 */
void *planrt_buffer_get_data(const struct planrt_buffer *buffer);

/**
 * Its size in bytes; 0 for a bad handle. Any thread.
 *
 * Requires: `buffer` is null or alive.
 */
size_t planrt_buffer_get_size(const struct planrt_buffer *buffer);

/**
 * Its kind: one of the `PLANRT_MEMORY_` constants; 0 for a bad handle. Any thread.
 *
 * Requires: `buffer` is null or alive.
 */
planrt_memory_kind planrt_buffer_get_kind(const struct planrt_buffer *buffer);

/* ---- Streams ------------------------------------------------------------------------------------------------------- */

/**
 * A CUDA stream, made here or wrapped from the application's. The driver lets any thread use it; the order of work
 * given from several threads at once is theirs to arrange.
 */
typedef struct planrt_stream planrt_stream;

/**
 * Makes a stream on the runtime's device that does not wait for the legacy default stream. Lower priorities go first;
 * 0 is the ordinary one, -5 the first on present GPUs, and numbers beyond the device's range mean its ends.
 * `*stream_out` is the caller's, for `planrt_stream_delete`. Any thread.
 *
 * Requires: `runtime` is alive, `stream_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_stream_new(const struct planrt_runtime *runtime,
                                       int32_t priority,
                                       struct planrt_stream **stream_out);

/**
 * Wraps a stream of the application's: a `CUstream`, which is a `cudaStream_t`, of the device's primary context. It
 * stays the application's and must outlive the handle. Null is the legacy default stream. `*stream_out` is the
 * caller's, for `planrt_stream_delete`. Any thread.
 *
 * Requires: `runtime` is alive, `cuda_stream` as said, `stream_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_stream_wrap(const struct planrt_runtime *runtime,
                                        void *cuda_stream,
                                        struct planrt_stream **stream_out);

/**
 * Frees the handle, and the stream if it was made here; work that it holds still ends. Null is accepted.
 *
 * Requires: `stream` is null, or alive and deleted once.
 */
void planrt_stream_delete(struct planrt_stream *stream);

/**
 * The `CUstream`, for the application's own CUDA calls; it lives as long as the handle. Null for a bad handle. Any
 * thread.
 *
 * Requires: `stream` is null or alive.
 */
void *planrt_stream_get_native(const struct planrt_stream *stream);

/**
 * Waits until all work given so far has ended.
 *
 * Errors: `PLANRT_ERROR_CUDA`, also for a fault in work given earlier.
 *
 * Requires: `stream` is alive.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_stream_synchronize(struct planrt_stream *stream);

/**
 * Whether all work given so far has ended, without waiting.
 *
 * Requires: `stream` is alive, `done_out` writable.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_stream_query(struct planrt_stream *stream, bool *done_out);

/**
 * Orders one stream behind another: work given to `stream` from now on waits for what `other` holds now. The host does
 * not wait.
 *
 * Requires: Both are alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_stream_wait_for(struct planrt_stream *stream,
                                            struct planrt_stream *other);

/**
 * Copies bytes between any two places, host or device, in the stream's order. Both must stay valid until the stream
 * has passed the copy; with ordinary host memory the call may wait for the stream and return when the copy is done.
 *
 * Requires: `stream` is alive, `to` writable and `from` readable for `size_bytes` bytes.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_stream_copy(struct planrt_stream *stream,
                                        void *to,
                                        const void *from,
                                        size_t size_bytes);

/* ---- Contexts ------------------------------------------------------------------------------------------------------ */

/**
 * One execution context: shapes, bound memory, runs. One thread at a time; a second one gets `PLANRT_ERROR_IN_USE`,
 * and only `planrt_context_cancel` may be called beside a call under way. It keeps its engine.
 */
typedef struct planrt_context planrt_context;

/**
 * Makes a context. Under TensorRT 8 an engine with dynamic shapes serves one context for each optimization profile; a
 * new context has the first free one until its shapes want another. `*context_out` is the caller's, for
 * `planrt_context_delete`. Any thread.
 *
 * Errors: `PLANRT_ERROR_IN_USE` where every profile is taken, `_OUT_OF_MEMORY`, `_TENSORRT`.
 *
 * Requires: `engine` is alive, `context_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_new(const struct planrt_engine *engine,
                                        struct planrt_context **context_out);

/**
 * Makes a context without device memory of its own: `planrt_context_set_device_memory` lends it some before it runs.
 * Contexts that take turns can share one piece. In everything else it is as from `planrt_context_new`, and on the CPU
 * it is the same. `*context_out` is the caller's, for `planrt_context_delete`. Any thread.
 *
 * Requires: `engine` is alive, `context_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_new_without_memory(const struct planrt_engine *engine,
                                                       struct planrt_context **context_out);

/**
 * Frees a context, after the work that it has enqueued has ended: it waits for that. Null is accepted.
 *
 * Requires: `context` is null, or alive, not in use and deleted once.
 */
void planrt_context_delete(struct planrt_context *context);

/**
 * Fixes the optimization profile, or with -1 (the default) leaves the choice to planrt, which takes the first free one
 * that admits the shapes.
 *
 * Errors: `PLANRT_ERROR_IN_USE` where TensorRT lets one context only have a profile and another has it.
 *
 * Requires: `context` is alive.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_context_set_profile(struct planrt_context *context, int32_t profile);

/**
 * The optimization profile in use; -1 where there is none.
 *
 * Requires: `context` is alive, `profile_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_get_profile(struct planrt_context *context,
                                                int32_t *profile_out);

/**
 * Sets the shape of an input, `rank` extents in elements, outermost first. Inputs whose shape the model fixes need
 * none.
 *
 * Errors: `PLANRT_ERROR_SHAPE`, with the nearest profile where none admits it; `PLANRT_ERROR_NOT_FOUND`.
 *
 * Requires: `context` is alive, `input` a string, `shape` readable for `rank` extents.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_set_shape(struct planrt_context *context,
                                              const char *input,
                                              const int64_t *shape,
                                              int32_t rank);

/**
 * The shape of an input or output as it follows from the inputs' shapes as set: outputs too, before the run.
 * `shape_out` has room for `PLANRT_MAX_RANK` extents.
 *
 * Errors: `PLANRT_ERROR_SHAPE` while an input's shape is missing, or the inputs' do not go together; `_UNSUPPORTED`
 * where the shape depends on the data; `_IN_USE`, `_CUDA`, `_TENSORRT`.
 *
 * Requires: `context` is alive, `tensor` a string, `shape_out` and `rank_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_get_shape(struct planrt_context *context,
                                              const char *tensor,
                                              int64_t *shape_out,
                                              int32_t *rank_out);

/**
 * The shape that an output had in the last run, given or dropped, also where it depends on the data: give memory for
 * the largest that can come, and ask afterwards how much of it was written. `shape_out` has room for `PLANRT_MAX_RANK`
 * extents.
 *
 * Errors: `PLANRT_ERROR_SHAPE` where the last run failed, and until a run has succeeded with the inputs' shapes as
 * they are set; `_INVALID_ARGUMENT` for an input; `_NOT_FOUND`. With TensorRT a run whose outputs depend on the data
 * fails (`PLANRT_ERROR_UNSUPPORTED`).
 *
 * Requires: `context` is alive, `output` a string, `shape_out` and `rank_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_get_output_shape(struct planrt_context *context,
                                                     const char *output,
                                                     int64_t *shape_out,
                                                     int32_t *rank_out);

/**
 * The bytes that an input or output takes with the inputs' shapes as set.
 *
 * Requires: `context` is alive, `tensor` a string, `size_bytes_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_get_size(struct planrt_context *context,
                                             const char *tensor,
                                             size_t *size_bytes_out);

/**
 * Binds memory to an input or output for `planrt_context_enqueue`: of the kind that `planrt_tensor_info` names (device
 * memory for TensorRT, where page-locked memory will do and ordinary memory is refused; host memory on the CPU),
 * `size_bytes` bytes. It stays the caller's, and must stay valid until another is bound and the enqueued work has
 * ended. Its size is checked when work is enqueued.
 *
 * Requires: `context` is alive, `tensor` a string, `address` valid for `size_bytes` bytes.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_bind(struct planrt_context *context,
                                         const char *tensor,
                                         void *address,
                                         size_t size_bytes);

/**
 * The bytes of device memory that a run takes besides its inputs and outputs, with the inputs' shapes as set; 0 on the
 * CPU. TensorRT 8 knows what the largest profile takes, which it is then.
 *
 * Errors: `PLANRT_ERROR_SHAPE` while an input's shape is missing.
 *
 * Requires: `context` is alive, `size_bytes_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_get_device_memory_size(struct planrt_context *context,
                                                           size_t *size_bytes_out);

/**
 * Lends device memory to a context that was made without: `size_bytes` bytes from a multiple of 256 on. It stays the
 * caller's, and must stay valid until other memory is lent and the enqueued work has ended. Contexts may share it
 * whose work does not overlap: one stream, or one stream behind another, sees to that. Its size is checked when work
 * is enqueued (`PLANRT_ERROR_BUFFER_TOO_SMALL`). On the CPU it is not used.
 *
 * Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for a context with memory of its own.
 *
 * Requires: `context` is alive, `address` device memory, valid for `size_bytes` bytes.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_set_device_memory(struct planrt_context *context,
                                                      void *address,
                                                      size_t size_bytes);

/**
 * Gives a context the application's streams for the parts of a run that may go beside one another, instead of
 * TensorRT's own; `PLANRT_STATISTIC_AUX_STREAMS` says how many a plan can use. With fewer TensorRT takes its own for
 * the rest, so 0 sets the default again. None may be the stream of the run, nor the default stream. The streams stay
 * the caller's and must outlive the context's work. On the CPU they are not used.
 *
 * Errors: `PLANRT_ERROR_UNSUPPORTED` before TensorRT 8.6.
 *
 * Requires: `context` is alive, `streams` readable for `count` streams that are alive, or null where `count` is 0.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_set_aux_streams(struct planrt_context *context,
                                                    struct planrt_stream *const *streams,
                                                    size_t count);

/**
 * Runs with the bound memory. With TensorRT the work is given to `stream` and the call returns: inputs must be ready
 * in that stream's order, outputs are, and bound memory must not be changed before the stream has passed the work; the
 * stream must live as long. A context's runs are one after the other: on another stream than the last time, that stream
 * waits for the last run first. So do all runs of plans with TensorRT's InstanceNormalization plugin, of whichever context
 * (`PLANRT_INSTANCE_NORMALIZATION_PLUGIN` says why). A run that a capturing stream takes into a CUDA graph is ordered by whoever
 * launches the graph. On the CPU `stream` is ignored and may be null, and the outputs are written when the call returns.
 *
 * Errors: `PLANRT_ERROR_INVALID_ARGUMENT` where something is not bound, `_BUFFER_TOO_SMALL`, `_SHAPE`, `_IN_USE`,
 * `_CANCELLED`, `_CUDA`, `_DEVICE_LOST`, `_TENSORRT`.
 *
 * Requires: `context` is alive, `stream` null or alive, what is bound is valid.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_enqueue(struct planrt_context *context,
                                            struct planrt_stream *stream);

/**
 * Runs from host memory, pageable or page-locked, to host memory, and returns when the outputs are written: sets the
 * inputs' shapes, copies (through page-locked memory of its own, unless the memory given is page-locked), runs, copies
 * back. Every input must be given; an output that is not given is computed and dropped. On an error the outputs hold
 * what they held, unless the device itself fails while they are copied; the shapes stay set.
 *
 * Errors: as for `planrt_context_set_shape` and `planrt_context_enqueue`; `PLANRT_ERROR_OUT_OF_MEMORY`.
 *
 * Requires: `context` is alive, the arrays readable, each element's memory valid for its `size_bytes`.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_context_run(struct planrt_context *context,
                                        const struct planrt_tensor *inputs,
                                        size_t input_count,
                                        const struct planrt_tensor *outputs,
                                        size_t output_count);

/**
 * Asks the run under way, or else the next one, to end with `PLANRT_ERROR_CANCELLED`. On the CPU a run ends between
 * two layers; work that the GPU has begun is finished first, and page-locked outputs may then be written. Any thread,
 * also beside a call on the same context.
 *
 * Requires: `context` is null or alive.
 */
void planrt_context_cancel(const struct planrt_context *context);

/* ---- Requests ------------------------------------------------------------------------------------------------------ */

/**
 * Receives the outcome of a request, once: null for success, or an error that is valid during the call. It must not
 * throw. It may submit requests, wait for others, and delete the session; a long one holds up other callbacks only.
 */
typedef void (*planrt_request_callback)(void *user_data, const struct planrt_error *error);

/**
 * How a request shall be treated. Fill it with zeros first, which are the defaults, then set `struct_size` to
 * `sizeof(planrt_request_options)`.
 */
typedef struct planrt_request_options {
  /**
   * Bytes of this struct, as the caller knows it.
   */
  size_t struct_size;
  /**
   * Microseconds from the call after which the request is not run any more, but answered with
   * `PLANRT_ERROR_DEADLINE`; 0 for none. A negative one has passed already: the request is refused with that error.
   */
  int64_t timeout_us;
  /**
   * Higher ones go first; equals, in the order in which they came.
   */
  int32_t priority;
  /**
   * Who copies outputs that come through memory of planrt's to ordinary host memory: 0 for the thread that first
   * sees the answer, by `planrt_request_wait`, `_poll` or `_get_error` or in its callback, so that many threads'
   * copies run side by side; 1 for a thread of the session's, before the request is answered, so that a thread which
   * must not be held up (of a user interface, say) can poll at any time. It makes no difference where nothing is
   * left to be copied.
   */
  int32_t copy_in_background;
  /**
   * Null, or the stream whose work as of now the request's device memory waits for.
   */
  struct planrt_stream *stream;
  /**
   * Null, or a `CUevent` that the application has recorded, instead of `stream`. It must stay valid until the
   * request is answered.
   */
  void *event;
  /**
   * Null, or what is called when the request is answered.
   */
  planrt_request_callback callback;
  /**
   * Handed to the callback.
   */
  void *user_data;
} planrt_request_options;

/**
 * A request that was submitted. Any thread may use it, several at once. It outlives its session.
 */
typedef struct planrt_request planrt_request;

/**
 * Waits until the request is answered, and returns its error if it failed; so many microseconds at most, or without
 * end for -1. `*done_out` receives whether it is answered, where no error is returned; it may be null where the wait
 * has no end.
 *
 * Errors: the request's own, such as `PLANRT_ERROR_CANCELLED`, `_DEADLINE`, `_SHUT_DOWN`: it is answered then, and
 * `*done_out` is left alone. `_INVALID_ARGUMENT` for a time-out below -1.
 *
 * Requires: `request` is alive, `done_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_request_wait(const struct planrt_request *request,
                                         int64_t timeout_us,
                                         bool *done_out);

/**
 * Orders a stream behind the request's outputs: what the stream is given afterwards finds them written. Returns as
 * soon as the request's batch has been given to the device, or where it is answered before that; the host does not
 * wait for the device. In that stream's order the request's memory is the application's again: its inputs may be
 * written, and its outputs be used or freed by the stream. Whether the request succeeded only its answer tells: the
 * outputs of one that failed or was cancelled hold anything. Any thread.
 *
 * Errors: those of the request, if it is answered; `PLANRT_ERROR_UNSUPPORTED` where the host writes outputs: for
 * ordinary host memory, for page-locked memory with elements to be converted, and on the CPU engine. Wait for the
 * answer there.
 *
 * Requires: `request` and `stream` are alive; no other thread gives the stream work meanwhile.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_request_order_stream(const struct planrt_request *request,
                                                 struct planrt_stream *stream);

/**
 * The shape of one of the request's outputs, given or dropped, from the submission on: in a session it follows from
 * the inputs' shapes. `shape_out` has room for `PLANRT_MAX_RANK` extents. Any thread.
 *
 * Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for an input; `_NOT_FOUND`.
 *
 * Requires: `request` is alive, `output` a string, `shape_out` and `rank_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_request_get_output_shape(const struct planrt_request *request,
                                                     const char *output,
                                                     int64_t *shape_out,
                                                     int32_t *rank_out);

/**
 * Whether the request is answered; its outputs are written then, if it succeeded: copied by this call, where they are
 * to be copied and `copy_in_background` was not asked for. False for a bad handle.
 *
 * Requires: `request` is null or alive.
 */
bool planrt_request_poll(const struct planrt_request *request);

/**
 * The error that the request was answered with; null where it succeeded, and while it is not answered.
 *
 * Requires: `request` is alive.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_request_get_error(const struct planrt_request *request);

/**
 * Gives the request up: it is answered with `PLANRT_ERROR_CANCELLED`, at once if it still waits, else when its batch
 * has ended and its memory is free; its outputs may hold anything then. One that is answered stays as it is.
 *
 * Requires: `request` is null or alive.
 */
void planrt_request_cancel(const struct planrt_request *request);

/**
 * Frees the handle. A request that is not answered goes on, with its callback, and its memory stays the session's
 * until then. Null is accepted.
 *
 * Requires: `request` is null, or alive and deleted once.
 */
void planrt_request_delete(struct planrt_request *request);

/* ---- Sessions ------------------------------------------------------------------------------------------------------ */

/**
 * What a session does when its queue is full: one of the `PLANRT_WHEN_FULL_` constants.
 */
typedef int32_t planrt_when_full;

/**
 * A further request is refused with `PLANRT_ERROR_QUEUE_FULL`.
 */
#define PLANRT_WHEN_FULL_REFUSE 1

/**
 * The call waits until there is room.
 */
#define PLANRT_WHEN_FULL_BLOCK 2

/**
 * How many counts `planrt_session_statistics` has for batches by their size.
 */
#define PLANRT_BATCH_SIZES 66

/**
 * How a session works. One thread at a time. Made by `planrt_session_options_new`, owned by the caller, free to be
 * deleted as soon as the session is made.
 */
typedef struct planrt_session_options planrt_session_options;

/**
 * Runs requests of many threads on a few execution contexts, those that fit together as one batch. Any thread may use
 * it, several at once. It keeps its engines.
 *
 * A request's memory is the session's from `planrt_session_submit` until the request is answered: until
 * `planrt_request_wait` or `planrt_request_poll` has said so or its callback is called, whichever the application
 * looks at first. Inputs must not be written and outputs not be used until then. A request that is refused, by an
 * error of `planrt_session_submit` itself, leaves its memory alone from the return on.
 */
typedef struct planrt_session planrt_session;

/**
 * What a session has done since it was made. Times are in microseconds, percentiles within 6 %. Set `struct_size` to
 * `sizeof(planrt_session_statistics)` before the call.
 */
typedef struct planrt_session_statistics {
  /**
   * Bytes of this struct, as the caller knows it.
   */
  size_t struct_size;
  /**
   * Requests that were taken in.
   */
  uint64_t submitted;
  /**
   * Requests that were not, because the queue was full.
   */
  uint64_t refused;
  /**
   * Requests answered with success.
   */
  uint64_t succeeded;
  /**
   * Requests answered with an error other than the next two.
   */
  uint64_t failed;
  /**
   * Requests that were cancelled.
   */
  uint64_t cancelled;
  /**
   * Requests whose time-out passed.
   */
  uint64_t timed_out;
  /**
   * Requests that wait now.
   */
  uint64_t waiting_requests;
  /**
   * Items of the batches that run now.
   */
  uint64_t running_items;
  /**
   * Items of all batches.
   */
  uint64_t items;
  /**
   * From submission to the start of the batch: the time that half of the requests stayed below, nine in ten, and 99
   * in 100.
   */
  double queue_p50_us;
  double queue_p90_us;
  double queue_p99_us;
  /**
   * From the start of the batch to its end, copies included.
   */
  double run_p50_us;
  double run_p90_us;
  double run_p99_us;
  /**
   * From submission to the end of the batch.
   */
  double total_p50_us;
  double total_p90_us;
  double total_p99_us;
  /**
   * The part of the time that contexts were at work: 0 to 1.
   */
  double utilization;
  /**
   * How many batches had so many items; the last count is of all that had more.
   */
  uint64_t batches[PLANRT_BATCH_SIZES];
} planrt_session_statistics;

/**
 * Makes options that hold the defaults. `*options_out` is the caller's, for `planrt_session_options_delete`.
 *
 * Requires: `options_out` is null or writable.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_session_options_new(struct planrt_session_options **options_out);

/**
 * Frees options. Null is accepted.
 *
 * Requires: `options` is null, or alive and deleted once.
 */
void planrt_session_options_delete(struct planrt_session_options *options);

/**
 * The most items in a batch, up to 65536; 1 turns batching off. 0, the default: on the GPU as many as bring more than
 * 8 % over half as many (2 % for a segmenter's own sessions), which is measured when the session is made (none do where one
 * item keeps the device busy), and at most what the plan's profiles take; on the CPU as many as the engine has threads. A
 * request with a larger batch of its own runs alone.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_options_set_largest_batch(struct planrt_session_options *options,
                                                              int32_t items);

/**
 * Sizes at which a batch goes without waiting for more company. None by default; none again for a count of 0, where
 * `sizes` may be null. On the GPU batches are computed at these, at powers of two, at the least and at the largest
 * batch, with places left empty where need be; where none are given and no largest batch is, only up to the size from
 * which on larger ones do not pay.
 *
 * Requires: `options` is alive, `sizes` readable for `size_count` numbers.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_options_set_preferred_batches(struct planrt_session_options *options,
                                                                  const int32_t *sizes,
                                                                  size_t size_count);

/**
 * How many microseconds the first request of a batch waits for company while a context is free. 0: never. -1, the
 * default: only while other requests run, for a batch that is smaller than its share of what is under way, and up to
 * 100 after the last batch has ended; a request that finds the session idle runs at once.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_options_set_max_delay(struct planrt_session_options *options,
                                                          int64_t delay_us);

/**
 * The most requests that wait, up to 1048576, and what happens to one more. 0 for the defaults: 1024, and
 * `PLANRT_WHEN_FULL_REFUSE`.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_options_set_queue(struct planrt_session_options *options,
                                                      int32_t capacity,
                                                      planrt_when_full when_full);

/**
 * How many contexts a session has on each device, up to 256: each runs one batch at a time, side by side with the
 * others. 0, the default: on the GPU four where two small batches at once are faster than one after the other, which
 * is measured when the session is made, else two, and fewer where memory is short; on the CPU one, since a batch has
 * all threads anyway. Making the session fails where as many as asked for do not fit.
 *
 * On the GPU each is a TensorRT execution context for each batch size, which share their memory, with a CUDA graph
 * where the plan's work can be captured. TensorRT 8 gives a profile of an engine to one execution context only; where
 * profiles are short the session loads copies of the engine, each with weights of its own: as long as they take no
 * more than an eighth of the free device memory, where neither a number of contexts nor a memory budget is set.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_options_set_contexts(struct planrt_session_options *options,
                                                         int32_t contexts);

/**
 * The most bytes of device memory that the contexts of one device, with their inputs and outputs and copies of the
 * engine, may take; 0, the default, for what is free. What TensorRT says beforehand is held against it before it is
 * taken, the rest (a copy of an engine, some MB an execution context) when it is measured.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_options_set_memory_budget(struct planrt_session_options *options,
                                                              size_t budget_bytes);

/**
 * Whether requests that were running on a device that is lost run again on another one of the session's, instead of
 * failing. Default false.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_options_set_retry(struct planrt_session_options *options,
                                                      bool retry);

/**
 * Whether callbacks are made by `planrt_session_pump`, on the thread that calls it, instead of by a thread of the
 * session's. Default false.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_options_set_pumped(struct planrt_session_options *options,
                                                       bool pumped);

/**
 * Makes a session over one engine, or over one model's engines on several devices: each request goes to the device
 * with the least to do, or to the one that its device memory is on. `options` may be null for the defaults and is
 * copied. `*session_out` is the caller's, for `planrt_session_delete`. Any thread.
 *
 * On the GPU every batch size is run a few times, so that nothing is left to be settled when requests come: this takes
 * some tenths of a second, for a large network a few of its runs, and after three seconds no larger batches are tried:
 * name the sizes that you want (`planrt_session_options_set_largest_batch`) where a network takes longer than that.
 *
 * Errors: `PLANRT_ERROR_OUT_OF_MEMORY`, with what the contexts take; `_TENSORRT` where the plan does not run;
 * `_UNSUPPORTED` for a model whose outputs' shapes depend on values; `_INVALID_ARGUMENT` for engines of different
 * models: their inputs and outputs, and what runs them, have to be the same, and for ONNX models and for plans on GPUs
 * of one kind every byte of the file. Plans for different kinds of GPU differ in any case: there the networks' names
 * have to be the same, and that the weights are is the application's word.
 *
 * Requires: `engines` is readable for `engine_count` handles that are alive, `options` null or alive, `session_out`
 * writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_new(const struct planrt_engine *const *engines,
                                        size_t engine_count,
                                        const struct planrt_session_options *options,
                                        struct planrt_session **session_out);

/**
 * Ends a session. Requests that wait are answered with `PLANRT_ERROR_SHUT_DOWN`, those that run are finished,
 * callbacks that are due are made, and then the call returns: no callback comes after it. Calls of other threads that
 * wait on the session (for room in its queue, or in `planrt_session_run`) end too; none may begin. Requests can still
 * be asked for their outcome. It may be called from inside a callback: then the callbacks that are left are made
 * inside this call, and the one that called is the last. Null is accepted.
 *
 * Requires: `session` is null, or alive and deleted once.
 */
void planrt_session_delete(struct planrt_session *session);

/**
 * Gives the session a request and returns. Every input must be given; an output that is not given is computed and
 * dropped. Where the model has a batch, the request may have one of its own, and is not split. `options` may be null.
 * `request_out` receives the request, for `planrt_request_delete`, before its callback can be called; it may be null
 * where a callback is given. Any thread.
 *
 * Ordinary host memory of a session on a GPU is copied by the calling thread; the outputs, by the thread that first
 * sees the answer.
 *
 * Errors: `PLANRT_ERROR_QUEUE_FULL`, `_DEADLINE`, `_SHAPE`, `_BUFFER_TOO_SMALL`, `_NOT_FOUND`, `_INVALID_ARGUMENT`,
 * `_SHUT_DOWN`, and where every device is lost the error of that. The callback is not called then.
 *
 * Requires: `session` is alive; the arrays are readable; each element's memory is valid for its `size_bytes`, and
 * stays so until the request is answered.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_submit(const struct planrt_session *session,
                                           const struct planrt_tensor *inputs,
                                           size_t input_count,
                                           const struct planrt_tensor *outputs,
                                           size_t output_count,
                                           const struct planrt_request_options *options,
                                           struct planrt_request **request_out);

/**
 * Runs a request and returns when it is answered, with its error if it failed. Where its batch may go at once it runs
 * on the calling thread, which saves two changes of threads. Any thread.
 *
 * A callback is called as it is for `planrt_session_submit`, before this call returns or after it, and the batch runs
 * on a thread of the session's then.
 *
 * Errors: as for `planrt_session_submit`, and those of the run.
 *
 * Requires: As for `planrt_session_submit`.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_run(const struct planrt_session *session,
                                        const struct planrt_tensor *inputs,
                                        size_t input_count,
                                        const struct planrt_tensor *outputs,
                                        size_t output_count,
                                        const struct planrt_request_options *options);

/**
 * Makes callbacks that are due, on the calling thread, and waits for the first so many microseconds: 0 not at all, -1
 * without end. `*calls_out` receives how many were made; it may be null. One thread at a time makes callbacks.
 *
 * Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for a session that makes its callbacks itself, and for a time-out below -1;
 * `*calls_out` is left alone.
 *
 * Requires: `session` is alive, `calls_out` null or writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_pump(const struct planrt_session *session,
                                         int64_t timeout_us,
                                         size_t *calls_out);

/**
 * What the session has done so far. Any thread.
 *
 * Requires: `session` is alive, `statistics_out` writable, its `struct_size` set.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_get_statistics(const struct planrt_session *session,
                                                   struct planrt_session_statistics *statistics_out);

/**
 * The same for Prometheus, in its text format, times in seconds: for an application that has an endpoint to offer it
 * at. `*text_out` is the caller's, for `planrt_string_delete`. Any thread.
 *
 * Requires: `session` is alive, `text_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_session_get_metrics_text(const struct planrt_session *session,
                                                     char **text_out);

/**
 * What the session chose when it was made, as JSON: an object with `devices`, an array with an object for each engine:
 * `backend` ("tensorrt" or "cpu"), `ordinal` (the CUDA device, null on the CPU), `name` (the device's, for people),
 * `device_memory_bytes` (what contexts, their inputs and outputs and copies of the engine take), `engine_copies`
 * (engines loaded beside the one that was given, since a profile of TensorRT 8 serves one context only) and
 * `contexts`, an array with an object for each: `optimal_batch` (the items that requests are gathered to where no
 * largest batch is set), `batch_sizes` (an array: batches are computed at one of these sizes, `items`, each with
 * `time_us`, the microseconds that it took, null where that was not measured; empty where any size is computed) and
 * `lost` (whether its device was lost). Any thread. `*json_out` is the caller's, for `planrt_string_delete`.
 *
 * Requires: `session` is alive, `json_out` writable.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_session_describe(const struct planrt_session *session, char **json_out);

/* ---- Volumes ------------------------------------------------------------------------------------------------------- */

/**
 * A scan in the application's memory, and where its voxels lie. Fill it with zeros first, then set `struct_size` to
 * `sizeof(planrt_volume)`, `data`, `size_bytes`, `element_type`, `extents` and `spacing_mm`.
 */
typedef struct planrt_volume {
  /**
   * Bytes of this struct, as the caller knows it.
   */
  size_t struct_size;
  /**
   * Memory of that kind, which need not be aligned. A device's is one that the sessions run on, and all work on it has ended.
   */
  const void *data;
  /**
   * Bytes behind `data`: all voxels lie within.
   */
  size_t size_bytes;
  /**
   * Bytes from `data` to voxel (0, 0, 0) of channel 0: not 0 where a stride is negative.
   */
  size_t first_voxel_bytes;
  /**
   * `PLANRT_INT8`, `_UINT8`, `_INT16`, `_UINT16`, `_INT32`, `_FLOAT16` or `_FLOAT32`.
   */
  planrt_element_type element_type;
  /**
   * `PLANRT_MEMORY_HOST`, `_PINNED` or `_DEVICE`, of which planrt has a copy on the host meanwhile; 0 for `PLANRT_MEMORY_HOST`.
   */
  planrt_memory_kind memory_kind;
  /**
   * Of one grid, as CT and PET that were resampled to it; 0 for 1.
   */
  int32_t channels;
  /**
   * Voxels along z, y and x.
   */
  int64_t extents[3];
  /**
   * Bytes from one channel, one z, one y and one x to the next; all 0 where voxels lie without gaps, x fastest and channels
   * slowest.
   */
  int64_t strides_bytes[4];
  /**
   * Millimetres between the centres of neighbouring voxels along z, y and x.
   */
  double spacing_mm[3];
  /**
   * Where the centre of voxel (0, 0, 0) lies, in millimetres: toward the patient's left, posterior, superior, as in
   * DICOM and ITK.
   */
  double origin_mm[3];
  /**
   * Three by three, row after row, as ITK has it: column 0, 1 and 2 are the directions in that space in which the index of
   * axis x, y and z grows. All 0 where the axes are the space's.
   */
  double direction[9];
  /**
   * A value is what is in memory times this, plus the next; 0 for 1.
   */
  double rescale_slope;
  double rescale_intercept;
} planrt_volume;

/**
 * Memory of the application's for labels, one for each voxel of the scan. Fill it with zeros first, then set `struct_size` to
 * `sizeof(planrt_label_map)`, `data`, `size_bytes` and `element_type`.
 */
typedef struct planrt_label_map {
  /**
   * Bytes of this struct, as the caller knows it.
   */
  size_t struct_size;
  /**
   * Memory of that kind, which need not be aligned. A device's is one that the sessions run on, and nothing there uses it.
   */
  void *data;
  /**
   * Bytes behind `data`: all voxels lie within.
   */
  size_t size_bytes;
  /**
   * Bytes from `data` to voxel (0, 0, 0): not 0 where a stride is negative.
   */
  size_t first_voxel_bytes;
  /**
   * `PLANRT_UINT8` or `PLANRT_UINT16`.
   */
  planrt_element_type element_type;
  /**
   * `PLANRT_MEMORY_HOST`, `_PINNED` or `_DEVICE`, of which planrt has a copy on the host meanwhile; 0 for `PLANRT_MEMORY_HOST`.
   */
  planrt_memory_kind memory_kind;
  /**
   * Bytes from one z, one y and one x to the next; all 0 where labels lie without gaps, x fastest.
   */
  int64_t strides_bytes[3];
} planrt_label_map;

/**
 * Memory of the application's for what labels are decided by: a value for each channel of the model and each voxel of the scan.
 * Fill it with zeros first, then set `struct_size` to `sizeof(planrt_score_map)`, `data`, `size_bytes` and `element_type`.
 */
typedef struct planrt_score_map {
  /**
   * Bytes of this struct, as the caller knows it.
   */
  size_t struct_size;
  /**
   * Memory of that kind, which need not be aligned. A device's is one that the sessions run on, and nothing there uses it.
   */
  void *data;
  /**
   * Bytes behind `data`: all values lie within.
   */
  size_t size_bytes;
  /**
   * Bytes from `data` to voxel (0, 0, 0) of channel 0: not 0 where a stride is negative.
   */
  size_t first_voxel_bytes;
  /**
   * `PLANRT_FLOAT32` or `PLANRT_FLOAT16`.
   */
  planrt_element_type element_type;
  /**
   * `PLANRT_MEMORY_HOST`, `_PINNED` or `_DEVICE`, of which planrt has a copy on the host meanwhile; 0 for `PLANRT_MEMORY_HOST`.
   */
  planrt_memory_kind memory_kind;
  /**
   * Bytes from one channel, one z, one y and one x to the next; all 0 where values lie without gaps, x fastest and channels
   * slowest.
   */
  int64_t strides_bytes[4];
  /**
   * 0: what the network gives, blended and resampled, before any activation. 1: probabilities, by the activation that the
   * recipe has, or by a softmax where it has none and takes the largest channel.
   */
  int32_t probabilities;
} planrt_score_map;

/**
 * A plane of what labels are decided by: a value for each channel of the model and each voxel of the scan in that plane.
 */
typedef struct planrt_score_plane {
  /**
   * Bytes of this struct, as planrt knows it.
   */
  size_t struct_size;
  /**
   * The value of channel 0 at the plane's first voxel.
   */
  const float *values;
  /**
   * Channels of the model.
   */
  int32_t channels;
  /**
   * 0.
   */
  int32_t reserved;
  /**
   * The scan's voxel, by its z, y and x, that is the plane's first one.
   */
  int64_t start[3];
  /**
   * Voxels along the scan's z, y and x: 1 along the axis that planes follow each other on.
   */
  int64_t extents[3];
  /**
   * Bytes from one channel, one z, one y and one x to the next; negative where the model goes through the scan the other way round.
   */
  int64_t strides_bytes[4];
} planrt_score_plane;

/* ---- Scans in files ------------------------------------------------------------------------------------------------ */

/**
 * A scan that was read from a file: its voxels and where they lie. Any thread may use it, several at once.
 */
typedef struct planrt_scan planrt_scan;

/**
 * Reads a NIfTI-1 file, `.nii` or `.nii.gz`, which is told by its content. A fourth dimension is channels. Where the file has an
 * sform, that says how it lies, else its qform. Voxels of 64 bits, and uint32, become float32. `*scan_out` is the caller's, for
 * `planrt_scan_delete`. Any thread.
 *
 * Errors: `PLANRT_ERROR_NOT_FOUND` and `_IO` for files that are not there or not readable; `_INVALID_ARGUMENT` for what is no
 * such file, damaged or truncated; `_UNSUPPORTED` for colours and complex numbers; `_OUT_OF_MEMORY`.
 *
 * Requires: `path` is a string, `scan_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_scan_read_file(const char *path,
                                           struct planrt_scan **scan_out);

/**
 * Makes one scan of the channels of several, in their order, as CT and PET in a file each; they have to lie on one grid. Of
 * different types they become float32. `*scan_out` is the caller's, for `planrt_scan_delete`. Any thread.
 *
 * Errors: `PLANRT_ERROR_SHAPE` and `_INVALID_ARGUMENT` for scans of different grids, `_OUT_OF_MEMORY`.
 *
 * Requires: `scans` is readable for `scan_count` handles that are alive, `scan_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_scan_join(const struct planrt_scan *const *scans,
                                      size_t scan_count,
                                      struct planrt_scan **scan_out);

/**
 * The scan as a segmenter takes it; what it points to lives as long as the scan. Any thread.
 *
 * Requires: `scan` is alive, `volume_out` writable, its `struct_size` set.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_scan_get_volume(const struct planrt_scan *scan,
                                            struct planrt_volume *volume_out);

/**
 * What a person should know of the file beside its content, as that its sform and its qform disagree; "" where there is nothing.
 * It lives as long as the scan. Any thread.
 *
 * Requires: `scan` is null or alive.
 */
const char *planrt_scan_get_note(const struct planrt_scan *scan);

/**
 * Writes labels as a NIfTI-1 file that lies where the scan lies: sform and qform are the scan's own. Compressed where the path
 * ends in `.gz`. The file is there whole, or not at all. `labels` are without gaps, x fastest, of the type `PLANRT_UINT8` or
 * `PLANRT_UINT16`. Any thread.
 *
 * Errors: `PLANRT_ERROR_IO`; `_BUFFER_TOO_SMALL` for labels of another grid; `_INVALID_ARGUMENT` for another type.
 *
 * Requires: `scan` is alive, `path` a string, `labels` readable for `labels_bytes`.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_scan_write_labels(const struct planrt_scan *scan,
                                              const char *path,
                                              const void *labels,
                                              size_t labels_bytes,
                                              planrt_element_type label_type);

/**
 * Writes a PNG file with the scan in grey and labels over it in colour: three planes through the middle of what is labelled,
 * axial, coronal and sagittal, the patient's right at the left. Labels as for `planrt_scan_write_labels`. Any thread.
 *
 * Errors: as for `planrt_scan_write_labels`.
 *
 * Requires: `scan` is alive, `path` a string, `labels` readable for `labels_bytes`.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_scan_write_overlay(const struct planrt_scan *scan,
                                               const char *path,
                                               const void *labels,
                                               size_t labels_bytes,
                                               planrt_element_type label_type);

/**
 * Frees a scan. Null is accepted.
 *
 * Requires: `scan` is null, or alive, deleted once and in no use.
 */
void planrt_scan_delete(struct planrt_scan *scan);

/* ---- Segmenters ---------------------------------------------------------------------------------------------------- */

/**
 * How a segmenter is made. One thread at a time. Made by `planrt_segmenter_options_new`, owned by the caller, free to be
 * deleted as soon as the segmenter is made.
 */
typedef struct planrt_segmenter_options planrt_segmenter_options;

/**
 * Segments whole volumes: a scan goes in with its spacing, a label map on its own grid comes out. It has a session for each
 * fold of its model, and each volume is a stream of requests for tiles. Any thread may use it, several at once: tiles of all
 * volumes under way share batches, and no label depends on what else runs beside it. It keeps its engines.
 */
typedef struct planrt_segmenter planrt_segmenter;

/**
 * A volume that was submitted. Any thread may use it, several at once. It outlives its segmenter.
 */
typedef struct planrt_segmentation planrt_segmentation;

/**
 * Receives how many tiles of a volume are done, and how many there are; false cancels the segmentation. Called by a thread of
 * planrt's, one call at a time, before the first tile and after each. It must not throw; a long one holds up its own volume.
 */
typedef bool (*planrt_segmentation_progress)(void *user_data, int64_t done, int64_t count);

/**
 * Receives what labels are decided by, plane by plane as planes are done, each voxel once: where a budget is kept by
 * strips a plane comes in several pieces. False ends the segmentation as a cancel does.
 * Planes of what was cut off, where the model's description cuts to what is not zero, do not come: what is there would be 0.
 * `plane` and its values are lent for the call. Called by a thread of planrt's, one call at a time. It must not throw; a long one
 * holds up its own volume.
 */
typedef bool (*planrt_score_plane_callback)(void *user_data, const struct planrt_score_plane *plane);

/**
 * How a volume shall be treated. Fill it with zeros first, which are the defaults, then set `struct_size` to
 * `sizeof(planrt_segmentation_options)`.
 */
typedef struct planrt_segmentation_options {
  /**
   * Bytes of this struct, as the caller knows it.
   */
  size_t struct_size;
  /**
   * Microseconds from the call after which the segmentation ends with `PLANRT_ERROR_DEADLINE`, as soon as what runs of it
   * has ended; 0 for none. A negative one has passed already: the volume is refused with that error.
   */
  int64_t timeout_us;
  /**
   * Tiles of higher ones go first, as requests do; of equals those that come first.
   */
  int32_t priority;
  /**
   * 0: where the network gives what is no number (NaN) the segmentation fails, and the error names the tile. 1: it goes on,
   * and such a channel counts as the largest.
   */
  int32_t nan_allowed;
  /**
   * The most bytes of host memory that planrt takes for the volume, beside the application's own; 0 for as much as is of use.
   * `planrt_segmenter_estimate` says how much that is. A smaller budget is kept with fewer tiles at once, then by working on the
   * volume in strips, whose tiles at the seams are computed twice, or the volume is refused with `PLANRT_ERROR_OUT_OF_MEMORY` before
   * anything is computed. The labels are the same to the bit. The segmentation ends with that error where it was to be put together
   * on a GPU that has no room for it any more when it begins, and the budget is too small for the host.
   */
  size_t memory_budget_bytes;
  /**
   * The same of device memory, where the volume is put together on a GPU: beside what engines and sessions have. What is free there
   * is not exceeded either; where that is less than the volume takes in the narrowest strips, it is put together on the host.
   */
  size_t device_memory_budget_bytes;
  /**
   * 0: a volume whose directions are not orthonormal is refused. 1: the closest that are count instead.
   */
  int32_t any_direction_allowed;
  /**
   * Null, or memory for what the labels are decided by; it is the segmentation's as the label map's is.
   */
  const struct planrt_score_map *scores;
  /**
   * Null, or what is called as tiles are done.
   */
  planrt_segmentation_progress progress;
  /**
   * Null, or what is called when the segmentation is answered, as for a request.
   */
  planrt_request_callback callback;
  /**
   * Handed to all of them.
   */
  void *user_data;
  /**
   * The first voxel of a region along z, y and x: as if the scan had no more than that. What is outside has the label 0.
   */
  int64_t region_start[3];
  /**
   * The region's voxels along z, y and x; all 0 for the whole scan.
   */
  int64_t region_extents[3];
  /**
   * Null, or what receives planes of what labels are decided by; then `scores` is null.
   */
  planrt_score_plane_callback score_plane;
  /**
   * 0: planes of logits. 1: of probabilities, as `planrt_score_map`'s member of that name.
   */
  int32_t score_plane_probabilities;
  /**
   * 0.
   */
  int32_t reserved;
} planrt_segmentation_options;

/**
 * What a segmenter's model takes and gives. Set `struct_size` to `sizeof(planrt_segmenter_info)`.
 */
typedef struct planrt_segmenter_info {
  /**
   * Bytes of this struct, as the caller knows it.
   */
  size_t struct_size;
  /**
   * Channels that a volume has.
   */
  int32_t channels;
  /**
   * Channels of a score map: what the model gives for each voxel.
   */
  int32_t score_channels;
  /**
   * The largest label that there can be: above 255 the label map is of `PLANRT_UINT16`.
   */
  int32_t largest_label;
  /**
   * 0.
   */
  int32_t reserved;
  /**
   * Voxels of a tile along the axes of the model's grid, the slowest first.
   */
  int64_t patch[3];
} planrt_segmenter_info;

/**
 * Makes options that hold the defaults. `*options_out` is the caller's, for `planrt_segmenter_options_delete`.
 *
 * Requires: `options_out` is null or writable.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_segmenter_options_new(struct planrt_segmenter_options **options_out);

/**
 * Frees options. Null is accepted.
 *
 * Requires: `options` is null, or alive and deleted once.
 */
void planrt_segmenter_options_delete(struct planrt_segmenter_options *options);

/**
 * How the sessions that run the tiles work; the options are copied. By default as a session's own defaults, but that a tile
 * for which the queue has no room waits (`PLANRT_WHEN_FULL_BLOCK`), and a batch that is not full for others, up to 100 µs.
 *
 * Requires: `options` and `session_options` are alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_options_set_session_options(struct planrt_segmenter_options *options,
                                                                  const struct planrt_session_options *session_options);

/**
 * How `planrt_segmenter_load` loads the folder's models, as by what ONNX models are run on the CPU, and with how many threads;
 * the options are copied. Default as `planrt_engine_options_new` has it. A plan that is built (`planrt_engine_options_set_build`) of
 * one of several model folders in the folder, as folds are, is kept in a file of its own beside `plan_path`, with the model folder's
 * name in its name.
 *
 * Requires: `options` and `engine_options` are alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_options_set_engine_options(struct planrt_segmenter_options *options,
                                                                 const struct planrt_engine_options *engine_options);

/**
 * How many threads a volume may use for what is not the network: reading, normalizing and resampling it; 0, the default, for
 * one a core.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_options_set_threads(struct planrt_segmenter_options *options,
                                                          int32_t threads);

/**
 * How much of a tile its neighbour has too, from 0 to below 1, instead of what the model's description says: less is faster.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_options_set_overlap(struct planrt_segmenter_options *options,
                                                          double overlap);

/**
 * The axes of the model's grid over all of whose subsets tiles are mirrored, and the results averaged, instead of what the
 * model's description says. None is fastest; all three take eight runs a tile.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_options_set_mirrored(struct planrt_segmenter_options *options,
                                                           bool z,
                                                           bool y,
                                                           bool x);

/**
 * The model's output that is segmented by, where it has several, as a network with heads of its own for other sizes; null, the default,
 * for the one that the model's description names, else the first.
 *
 * Requires: `options` is alive, `name` null or a string.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_options_set_output(struct planrt_segmenter_options *options,
                                                         const char *name);

/**
 * Whether only the largest connected part of each label is kept, and the rest of it becomes 0, instead of what the model's description
 * says, which is no for nnU-Net's and MONAI's.
 *
 * Requires: `options` is alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_options_set_largest_component(struct planrt_segmenter_options *options,
                                                                    bool is_kept_alone);

/**
 * How much each voxel of a tile counts where tiles overlap, instead of the window in the model's description: a weight from 1e-30 to
 * 1e30 for each voxel that the network gives for a tile, x fastest. They are copied.
 *
 * Requires: `options` is alive, `weights` is readable for `weight_count` numbers.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_options_set_window(struct planrt_segmenter_options *options,
                                                         const float *weights,
                                                         size_t weight_count);

/**
 * A small model that finds where the large one is to look: volumes are first segmented with `coarse`, and then what lies in the box of all
 * that has a label there, and `margin_mm` around it, as if the scan had no more. What is outside, and everything where nothing is
 * found, has the label 0. The segmenter keeps what it needs of `coarse`, which may be deleted.
 *
 * Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for a margin that is not a number from 0 on.
 *
 * Requires: `options` and `coarse` are alive.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_options_set_coarse(struct planrt_segmenter_options *options,
                                                         const struct planrt_segmenter *coarse,
                                                         double margin_mm);

/**
 * Of an nnU-Net's configurations the one that the models of its folder are, as "3d_fullres"; null, the default, for the one in the
 * folder's name, else 3d_fullres, else the only one for volumes.
 *
 * Requires: `options` is alive, `name` null or a string.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_options_set_configuration(struct planrt_segmenter_options *options,
                                                                const char *name);

/**
 * Makes a segmenter over the engines of a model, one for each of its folds, whose results are averaged. `recipe_json` says what
 * is done to a volume before, in and after the network, as a `recipe.json` in a model's folder does. Where the engines are of folders
 * with a `head` (`planrt_engine_options_set_features_allowed`) that is applied. `options` may be null for the defaults and is copied.
 * `*segmenter_out` is the caller's, for `planrt_segmenter_delete`. Any thread.
 *
 * Errors: `PLANRT_ERROR_INVALID_MODEL` for a recipe that is none, with the key that is wrong; `_SHAPE` where the model does not
 * take the recipe's patch; `_INVALID_ARGUMENT` where they do not go together; `_UNSUPPORTED` for a model that gives no map of
 * its patch; and those of `planrt_session_new`.
 *
 * Requires: `engines` is readable for `engine_count` handles that are alive, `recipe_json` a string, `options` null or alive,
 * `segmenter_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_new(const struct planrt_engine *const *engines,
                                          size_t engine_count,
                                          const char *recipe_json,
                                          const struct planrt_segmenter_options *options,
                                          struct planrt_segmenter **segmenter_out);

/**
 * The same over sessions of the application's own, one for each fold, which run single requests beside the tiles: both share
 * batches, priorities and statistics. Where the sessions run on several GPUs, a volume and all of its tiles go to the one that
 * then has least to run of other volumes: several volumes at once make use of all. Sessions are best made with
 * `PLANRT_WHEN_FULL_BLOCK`: else a volume fails where a queue is full. Where one is deleted, volumes under way end with
 * `PLANRT_ERROR_SHUT_DOWN`.
 *
 * Errors: as for `planrt_segmenter_new`.
 *
 * Requires: `sessions` is readable for `session_count` handles that are alive, `recipe_json` a string, `options` null or alive,
 * `segmenter_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_new_over_sessions(const struct planrt_session *const *sessions,
                                                        size_t session_count,
                                                        const char *recipe_json,
                                                        const struct planrt_segmenter_options *options,
                                                        struct planrt_segmenter **segmenter_out);

/**
 * Makes a segmenter that averages the probabilities of several on the scan's grid, as nnU-Net does with its configurations: of models
 * that give the same channels, decide by them in the same way, and go through a scan along the same axis. Each of them works as it is made; of
 * `options`, which may be null, only a coarse one counts. It keeps what it needs of the segmenters, which may be deleted.
 * `*segmenter_out` is the caller's, for `planrt_segmenter_delete`. Any thread.
 *
 * Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for segmenters that do not go together, `_UNSUPPORTED` for those that decide before they
 * resample.
 *
 * Requires: `segmenters` is readable for `segmenter_count` handles that are alive, `options` null or alive, `segmenter_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_new_ensemble(const struct planrt_segmenter *const *segmenters,
                                                   size_t segmenter_count,
                                                   const struct planrt_segmenter_options *options,
                                                   struct planrt_segmenter **segmenter_out);

/**
 * Makes a segmenter of a model's folder: its description and its models, one for each fold. Any thread.
 *
 * The description is a `recipe.json`, nnU-Net's `plans.json` and `dataset.json`, or a MONAI bundle's `inference.json`; what is not
 * known in them is an error with its name. Models are `fold_0.onnx` and so on, `fold_0/model.onnx` and so on, or the only one
 * in the folder or in `models` there; `.plan` or `.engine` instead of `.onnx` where there is a GPU. A folder with a passport
 * (`planrt_engine_load_folder`), of the model or of a fold, is held against it and says itself what runs; its member `recipe` may
 * be the description. Where its member `head` says that the model's last convolution was folded out of it, that is applied here to
 * what is blended and resampled.
 *
 * A `recipe.json`, or a passport's `recipe`, may name model folders in this one, each with a description of its own (docs/folder.md
 * describes it): `ensemble`, whose probabilities are averaged as by `planrt_segmenter_new_ensemble`, and `coarse`, which finds where
 * the others are to look, as by `planrt_segmenter_options_set_coarse`. `options` are about the folder's own model or the averaged ones.
 * The coarse one takes of them how engines are loaded, how sessions work, and the number of threads.
 *
 * Errors: as for `planrt_segmenter_new`, and those of `planrt_engine_load_file`; `PLANRT_ERROR_NOT_FOUND` and `_IO` for folders and
 * files; `_UNSUPPORTED` for an ensemble within an ensemble, and where there is a `head` for a description that blends or resamples
 * probabilities, and for folds whose heads are not the same; `_INVALID_ARGUMENT` for models that are not to be averaged, and for a
 * coarse model where `options` have another one.
 *
 * Requires: `runtime` is alive, `folder` a string, `options` null or alive, `segmenter_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_load(const struct planrt_runtime *runtime,
                                           const char *folder,
                                           const struct planrt_segmenter_options *options,
                                           struct planrt_segmenter **segmenter_out);

/**
 * What the segmenter's model takes and gives. Any thread.
 *
 * Requires: `segmenter` is alive, `info_out` writable, its `struct_size` set.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_get_info(const struct planrt_segmenter *segmenter,
                                               struct planrt_segmenter_info *info_out);

/**
 * Ends a segmenter. Volumes under way end with `PLANRT_ERROR_SHUT_DOWN` as soon as what runs of them has ended, callbacks that
 * are due are made, and then the call returns: no callback comes after it. From inside a callback of a volume's the others end.
 * Calls of other threads that wait in `planrt_segmenter_run` end too; none may begin. Null is accepted.
 *
 * Requires: `segmenter` is null, or alive and deleted once.
 */
void planrt_segmenter_delete(struct planrt_segmenter *segmenter);

/**
 * Gives the segmenter a volume and returns. `options` may be null. `segmentation_out` receives the segmentation, for
 * `planrt_segmentation_delete`, before its callback can be called; it may be null where a callback is given. Any thread.
 *
 * The volume's memory and the label map's are the segmentation's until it is answered, as a request's are: until
 * `planrt_segmentation_wait` or `_poll` has said so or its callback is called. The label map holds anything where it failed. A
 * volume that is refused, by an error of this call, leaves its memory alone.
 *
 * Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for a volume with other channels than the model's, a geometry that is none, and for
 * labels larger than the label map's elements; `_BUFFER_TOO_SMALL`; `_OUT_OF_MEMORY` where the budget, or the machine, has less
 * than it takes; `_DEADLINE`; `_UNSUPPORTED`. The callback is not called then.
 *
 * Requires: `segmenter` is alive, `volume` and `labels` are readable; the volume's memory is readable for its `size_bytes`, and
 * the label map's writable for its own, until the segmentation is answered.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_submit(const struct planrt_segmenter *segmenter,
                                             const struct planrt_volume *volume,
                                             const struct planrt_label_map *labels,
                                             const struct planrt_segmentation_options *options,
                                             struct planrt_segmentation **segmentation_out);

/**
 * Segments a volume and returns when its labels are written, or with the error that it failed with. Any thread.
 *
 * Errors: as for `planrt_segmenter_submit`, and those of the segmentation: `PLANRT_ERROR_INVALID_MODEL` for a tile for which
 * the network gave what is no number, `_CANCELLED`, `_DEADLINE`, `_SHUT_DOWN`, and those of the tiles' requests, which name
 * the tile.
 *
 * Requires: as for `planrt_segmenter_submit`.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_run(const struct planrt_segmenter *segmenter,
                                          const struct planrt_volume *volume,
                                          const struct planrt_label_map *labels,
                                          const struct planrt_segmentation_options *options);

/**
 * The most bytes of host memory that planrt takes for a volume with these options, beside the application's own and what the
 * engines and sessions have: `*bytes_out`; and the smallest budget that can be kept, `*least_bytes_out`, which may be null. And the
 * most bytes of device memory, `*device_bytes_out`, and the smallest budget of it that can be kept, in the narrowest strips,
 * `*least_device_bytes_out`, which may be null: a volume is put together on the GPU that the sessions run on,
 * if that is one and has room now; else, and where there is none, it takes none there (0), and more on the host. The volume's
 * `data` is not looked at and may be null. Maps in device memory take their `size_bytes` more on the host. What keeping only
 * the largest connected part of each label takes is counted as for the worst of labels, 6 bytes for each voxel. Any thread.
 *
 * Errors: as for `planrt_segmenter_submit`.
 *
 * Requires: `segmenter` is alive, `volume` readable, `options` null or readable, `bytes_out` writable, `least_bytes_out`,
 * `device_bytes_out` and `least_device_bytes_out` null or writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_estimate(const struct planrt_segmenter *segmenter,
                                               const struct planrt_volume *volume,
                                               const struct planrt_segmentation_options *options,
                                               size_t *bytes_out,
                                               size_t *least_bytes_out,
                                               size_t *device_bytes_out,
                                               size_t *least_device_bytes_out);

/**
 * Checks that a volume's labels do not depend on what else runs: segments it by itself, and then `company` times at once with
 * priorities of their own, and compares the masks to the bit. So it takes `company` + 1 times as long, and a label map for each. Of
 * `options`, which may be null, the time-out of each segmentation, `nan_allowed`, the budget, `any_direction_allowed` and the region
 * count. Any thread; what else the segmenter does goes on beside it.
 *
 * Errors: `PLANRT_ERROR_SELF_TEST` where a mask differs, with the first voxel where it does; `_INVALID_ARGUMENT` for a company
 * below 1 or above 64; and those of `planrt_segmenter_run`.
 *
 * Requires: `segmenter` is alive, `volume` readable, and its memory for its `size_bytes`; `options` null or readable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmenter_check_company(const struct planrt_segmenter *segmenter,
                                                    const struct planrt_volume *volume,
                                                    const struct planrt_segmentation_options *options,
                                                    int32_t company);

/**
 * Waits until the segmentation is answered, and returns its error if it failed; so many microseconds at most, or without end
 * for -1. `*done_out` receives whether it is answered, where no error is returned; it may be null where the wait has no end.
 *
 * Errors: the segmentation's own, and then `*done_out` is left alone; `PLANRT_ERROR_INVALID_ARGUMENT` for a time-out below -1;
 * `_IN_USE` inside the segmentation's own progress callback, which would wait for itself.
 *
 * Requires: `segmentation` is alive, `done_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmentation_wait(const struct planrt_segmentation *segmentation,
                                              int64_t timeout_us,
                                              bool *done_out);

/**
 * Whether the segmentation is answered; its labels are written then, if it succeeded. False for a bad handle.
 *
 * Requires: `segmentation` is null or alive.
 */
bool planrt_segmentation_poll(const struct planrt_segmentation *segmentation);

/**
 * The error that the segmentation was answered with; null where it succeeded, and while it is not answered.
 *
 * Requires: `segmentation` is alive.
 */
PLANRT_WARN_UNUSED struct planrt_error *planrt_segmentation_get_error(const struct planrt_segmentation *segmentation);

/**
 * How many tiles are done, and how many there are: 0 as long as that is not known. Any thread.
 *
 * Requires: `segmentation` is alive, `done_out` and `count_out` are writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmentation_get_progress(const struct planrt_segmentation *segmentation,
                                                      int64_t *done_out,
                                                      int64_t *count_out);

/**
 * How much of the scan has a label, in millilitres: its voxels times their size. 0 for a label that no voxel has. Any thread.
 *
 * Errors: the segmentation's own, if it failed; `PLANRT_ERROR_IN_USE` while it is not answered.
 *
 * Requires: `segmentation` is alive, `volume_ml_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_segmentation_get_label_volume(const struct planrt_segmentation *segmentation,
                                                          int32_t label,
                                                          double *volume_ml_out);

/**
 * Gives the segmentation up: it is answered with `PLANRT_ERROR_CANCELLED` as soon as the tiles that run have ended. One that is
 * answered stays as it is.
 *
 * Requires: `segmentation` is null or alive.
 */
void planrt_segmentation_cancel(const struct planrt_segmentation *segmentation);

/**
 * Frees the handle. A segmentation that is not answered goes on, with its callbacks, and its memory stays its own until then.
 * Null is accepted.
 *
 * Requires: `segmentation` is null, or alive and deleted once.
 */
void planrt_segmentation_delete(struct planrt_segmentation *segmentation);

/* ---- Layers and speed ---------------------------------------------------------------------------------------------- */

/**
 * In which form a report comes: one of the `PLANRT_REPORT_` constants.
 */
typedef int32_t planrt_report_format;

/**
 * Lines for people, whose form may change.
 */
#define PLANRT_REPORT_TEXT 1

/**
 * JSON.
 */
#define PLANRT_REPORT_JSON 2

/**
 * The shape that an input has while it is measured. Fill it with zeros first, then set `struct_size` to
 * `sizeof(planrt_input_shape)`.
 */
typedef struct planrt_input_shape {
  /**
   * Bytes of this struct, as the caller knows it; the same in all elements of an array.
   */
  size_t struct_size;
  /**
   * The input's name in the model, in UTF-8; read during the call only.
   */
  const char *name;
  /**
   * The number of dimensions.
   */
  int32_t rank;
  /**
   * The extents in elements, outermost first.
   */
  int64_t shape[PLANRT_MAX_RANK];
} planrt_input_shape;

/**
 * How a model is measured. Fill it with zeros, which stand for the defaults, then set `struct_size` to
 * `sizeof(planrt_bench_settings)`.
 */
typedef struct planrt_bench_settings {
  /**
   * Bytes of this struct, as the caller knows it.
   */
  size_t struct_size;
  /**
   * Contexts that run side by side, each on a thread and a stream of its own; 0 for 1.
   */
  int32_t streams;
  /**
   * Threads that ask a session, which is measured instead of contexts; 0 for contexts.
   */
  int32_t concurrency;
  /**
   * The session's largest batch; 0 for its own choice.
   */
  int32_t largest_batch;
  /**
   * 1: runs are CUDA graphs. Sessions use them of their own accord.
   */
  int32_t use_cuda_graph;
  /**
   * 1: inputs and outputs stay on the device. 0: they are copied from and to page-locked host memory in each run.
   */
  int32_t no_data_transfers;
  /**
   * How often each stream or thread runs at least; 0 for 10.
   */
  int32_t least_runs;
  /**
   * Microseconds that go by before it is measured; 0 for 200000, -1 for one run only.
   */
  int64_t warm_up_us;
  /**
   * Microseconds for which it is measured; 0 for 3000000, -1 for `least_runs` only.
   */
  int64_t duration_us;
  /**
   * Percentiles to tell beside the median, more than 0 and at most 100; null for 90, 95 and 99.
   */
  const double *percentiles;
  /**
   * How many these are, at most 16.
   */
  size_t percentile_count;
} planrt_bench_settings;

/**
 * Tells a model's layers, with how long each takes on the mean of so many runs, or without times for 0 runs. Of a plan
 * they are what TensorRT made of the model, with their precisions where it was built with
 * `PLANRT_BUILD_DETAILED_LAYERS`; timing them keeps them from overlapping, so that they take longer than a run does. Of
 * an ONNX model they are its nodes and, with times, what the CPU engine made of them, in the order in which they ran.
 *
 * Inputs hold numbers from -1 to 1. Those of which no shape is given have the one that the model fixes, else the best
 * of the first profile, or where the batch alone is open a batch of 1. `shapes` may be null where `shape_count` is 0.
 *
 * As JSON: an object with `metadata` (see `planrt_engine_get_metadata_json`), `device`, `layers`, an array with an
 * object for each: `name`, `type` and `precision` ("FP16"; both null where they are not told), with times `time_us`,
 * and `details`, what the engine says of it (see `planrt_engine_get_layers_json`); with times also `inputs`, the
 * shapes by name, and `runs`.
 *
 * Any thread. `*report_out` is the caller's, for `planrt_string_delete`.
 *
 * Errors: `PLANRT_ERROR_NOT_FOUND` and `_SHAPE` for shapes that are not the model's, or are missing; `_UNSUPPORTED` for
 * an input that is itself a shape; those of `planrt_context_new` and `planrt_context_enqueue`.
 *
 * Requires: `engine` is alive, `shapes` readable for `shape_count` elements, `report_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_inspect(const struct planrt_engine *engine,
                                    const struct planrt_input_shape *shapes,
                                    size_t shape_count,
                                    int32_t runs,
                                    planrt_report_format format,
                                    char **report_out);

/**
 * Measures throughput and latency, as trtexec does. Each stream has a context of its own and is given the next run
 * while the last one is under way; a run's latency is what its copies and its computing took on the device, by CUDA
 * events. On the CPU, and with `concurrency`, it is what the call took. Inputs are as for `planrt_inspect`. `settings`
 * may be null for the defaults.
 *
 * As JSON: an object with `device`, `inputs` (shapes by name), `transfers`, `streams` and `cuda_graph`, or
 * `concurrency`, `mean_batch_items` and `session` (see `planrt_session_describe`); `runs`, `seconds`,
 * `throughput_qps` (runs or requests a second, each with the batch of its inputs) and `latency`; on a GPU without a
 * session also `enqueue_time` (of the host), `h2d_latency`, `gpu_compute_time` and `d2h_latency`, and `enqueue_bound`,
 * whether the host's part is the longer one. Each time is an object with `min_ms`, `max_ms`, `mean_ms`, `median_ms`
 * and `percentiles_ms`, an object with the times by their percentiles.
 *
 * Any thread; the call lasts as long as the measurement. `*report_out` is the caller's, for `planrt_string_delete`.
 *
 * Errors: as for `planrt_inspect` and, with `concurrency`, `planrt_session_new`; `PLANRT_ERROR_IN_USE` for more streams
 * than a plan of TensorRT 8 has profiles; `_UNSUPPORTED` for CUDA graphs on a driver that has none.
 *
 * Requires: `engine` is alive, `shapes` readable for `shape_count` elements, `settings` null or readable, its
 * percentiles too, `report_out` writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_bench(const struct planrt_engine *engine,
                                  const struct planrt_input_shape *shapes,
                                  size_t shape_count,
                                  const struct planrt_bench_settings *settings,
                                  planrt_report_format format,
                                  char **report_out);

/* ---- The doctor ---------------------------------------------------------------------------------------------------- */

/**
 * Looks at this machine, and at a model if one is given, and writes a report for people: the driver, the GPUs, which
 * TensorRT and where from, its plugins, the CPU engine; what is in the model, and whether it will run here; of a model
 * folder, whether each file is as its passport says, what its test vectors say of each model, and whether it segments volumes,
 * if it says how. Every TensorRT that is found is loaded, and stays loaded. Any thread.
 *
 * `options` may be null for the defaults, `model` null for none. `*usable_out` says whether the model, or with none
 * any model at all, will run; it may be null. `*report_out` is the caller's, for `planrt_string_delete`.
 *
 * Requires: `options` is null or alive, `model` null or a string, `report_out` writable, `usable_out` null or
 * writable.
 */
PLANRT_WARN_UNUSED
struct planrt_error *planrt_doctor(const struct planrt_runtime_options *options,
                                   const char *model,
                                   char **report_out,
                                   bool *usable_out);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PLANRT_H */
