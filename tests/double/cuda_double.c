/* A test double of the CUDA driver: not CUDA, but the calls of it that planrt makes, on host memory and done when they
 * return. Compiled by tests into a libcuda.so.1 that a process finds by LD_LIBRARY_PATH, so that everything planrt does
 * around TensorRT runs on a machine without a GPU.
 *
 * It is strict where the driver is: a call that needs a context current fails without one, a handle or an address that
 * is not alive is refused. Device memory is the C library's, so AddressSanitizer and valgrind watch over it.
 *
 * Work is done at once, so nothing ever overlaps; what could on a GPU is told from the order that streams, events and waits
 * give (cudaDoubleUse).
 *
 * The environment, read at each call:
 *     CUDA_DOUBLE_COMPUTE_CAPABILITY  "9.0" if not set
 *     CUDA_DOUBLE_DEVICES             how many devices there are; 1 if not set
 *     CUDA_DOUBLE_MEMORY              bytes of memory on each device; 1 GiB if not set
 *     CUDA_DOUBLE_FAILS               "cuMemHostAlloc=2": this call returns this CUresult
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_SUPPORTED = 801,
    STREAM_CAPTURE_UNSUPPORTED = 900,
    STREAM_CAPTURE_ISOLATION = 905,
    LAUNCH_FAILED = 719
};

static const struct { int code; const char *name, *text; } errors[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
};

enum { DEVICES = 8 };
/* A device's primary context is its place in here. */
static struct { int device; } contexts[DEVICES];
enum { DEPTH = 16 };
static _Thread_local struct { void *stack[DEPTH]; int depth; } current;

/* What was made and not yet destroyed. */
enum kind { STREAM, EVENT, DEVICE_MEMORY, PINNED_MEMORY, MODULE, RETAINED_CONTEXT, GRAPH, GRAPH_EXEC };
struct object {
    struct object *next;
    enum kind kind;
    void *address;
    size_t size;
    int device;
};
static struct object *objects;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

/* What the environment wants this call to return. */
static int wanted(const char *call) {
    const char *fails = setting("CUDA_DOUBLE_FAILS", "");
    size_t length = strlen(call);
    return strncmp(fails, call, length) == 0 && fails[length] == '=' ? atoi(fails + length + 1) : SUCCESS;
}

/* A lost device does nothing any more, but what was made of it can be let go of. */
static atomic_bool lost[DEVICES];
static int device_of_context(void);
void cudaDoubleForget(const void *what);
static bool is_lost(const char *call) {
    bool lets_go = strstr(call, "Free") || strstr(call, "Destroy") || strstr(call, "Pop") || strstr(call, "Unload");
    return !lets_go && lost[device_of_context()];
}

#define BEGIN                          \
    do {                               \
        int code = wanted(__func__);   \
        if (code != SUCCESS) return code; \
    } while (0)

#define BEGIN_IN_CONTEXT                                  \
    BEGIN;                                                \
    do {                                                  \
        if (current.depth == 0) return INVALID_CONTEXT;   \
        if (is_lost(__func__)) return LAUNCH_FAILED;      \
    } while (0)

static int device_of_context(void) {
    const char *context = current.stack[current.depth - 1];
    return (int)((context - (const char *)contexts) / (ptrdiff_t)sizeof contexts[0]);
}

static bool is_device(int device) {
    return device >= 0 && device < DEVICES && device < atoi(setting("CUDA_DOUBLE_DEVICES", "1"));
}

static size_t total_memory(void) { return (size_t)strtoull(setting("CUDA_DOUBLE_MEMORY", "1073741824"), NULL, 10); }

static size_t free_memory(int device) {
    size_t used = 0;
    pthread_mutex_lock(&lock);
    for (const struct object *object = objects; object; object = object->next)
        if (object->kind == DEVICE_MEMORY && object->device == device) used += object->size;
    pthread_mutex_unlock(&lock);
    size_t total = total_memory();
    return used < total ? total - used : 0;
}

static int add(enum kind kind, void *address, size_t size, int device) {
    struct object *object = malloc(sizeof *object);
    if (!object || !address) abort();
    pthread_mutex_lock(&lock);
    *object = (struct object){objects, kind, address, size, device};
    objects = object;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

static int take_away(enum kind kind, const void *address) {
    pthread_mutex_lock(&lock);
    struct object **link = &objects;
    while (*link && !((*link)->kind == kind && (*link)->address == address)) link = &(*link)->next;
    struct object *found = *link;
    if (found) *link = found->next;
    pthread_mutex_unlock(&lock);
    free(found);
    return found ? SUCCESS : INVALID_HANDLE;
}

static bool is_alive(enum kind kind, const void *address) {
    pthread_mutex_lock(&lock);
    const struct object *object = objects;
    while (object && !(object->kind == kind && object->address == address)) object = object->next;
    pthread_mutex_unlock(&lock);
    return object != NULL;
}

/* The object that an address lies in, as it was: it may be gone when this returns. */
static bool find(const char *address, struct object *out) {
    pthread_mutex_lock(&lock);
    const struct object *object = objects;
    while (object && !((object->kind == DEVICE_MEMORY || object->kind == PINNED_MEMORY) && address >= (char *)object->address &&
                       address < (char *)object->address + object->size))
        object = object->next;
    if (object) *out = *object;
    pthread_mutex_unlock(&lock);
    return object != NULL;
}

/* Default streams, which are always there: the legacy one under both of its names, and the one of each thread. */
enum { LEGACY = 1, PER_THREAD = 2 };
static bool is_default(const void *stream) { return (uintptr_t)stream <= PER_THREAD; }
static bool is_stream(const void *stream) { return is_default(stream) || is_alive(STREAM, stream); }

/* A copy of pieces by planrt's kernel, or work of TensorRT's double. */
struct piece { void *to; const void *from; size_t bytes; };
enum { PIECES = 32, NODES = 8 };
struct node {
    bool enabled;
    void *module;
    unsigned rows;
    struct piece pieces[PIECES];
    void (*work)(void *);
    void (*release)(void *);
    void *argument;
};
/* What a stream captures, and what is made of it: then `from` is the graph that it was made from. */
struct graph {
    struct graph *from;
    int count;
    struct node nodes[NODES];
    const void *last;
};
/* How far along each of some streams' work something comes after: a stream's next work, an event, what the host does next. */
struct clock {
    int64_t room, *ticks; /* by the stream's number */
};
struct moment { int64_t stream, tick; };
struct stream { struct graph *captured; int64_t number, waits; struct clock after; };
struct event {
    struct clock after;
    struct timespec recorded;
};

static struct graph *captured_by(void *stream) {
    return is_default(stream) ? NULL : ((struct stream *)stream)->captured;
}

/* ---- What is ordered behind what ---- */

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static int64_t streams_made, ticks;
static struct clock host;
static struct stream legacy[DEVICES];
/* Whether whoever waits for a stream is made to wait, as if the device were busy. */
static bool held;
static pthread_cond_t let_go = PTHREAD_COND_INITIALIZER;
static _Thread_local struct stream of_thread;

static int64_t *tick_of(struct clock *clock, int64_t stream) {
    if (stream >= clock->room) {
        const int64_t room = (stream / 256 + 1) * 256; /* the same for all that know as many */
        clock->ticks = realloc(clock->ticks, (size_t)room * sizeof *clock->ticks);
        if (!clock->ticks) abort();
        for (; clock->room < room; ++clock->room) clock->ticks[clock->room] = 0;
    }
    return &clock->ticks[stream];
}

static void join(struct clock *clock, const struct clock *other) {
    if (other->room == 0) return;
    tick_of(clock, other->room - 1);
    for (int64_t i = 0; i < other->room; ++i)
        if (clock->ticks[i] < other->ticks[i]) clock->ticks[i] = other->ticks[i];
}

static void forget(struct clock *clock) {
    free(clock->ticks);
    *clock = (struct clock){0, NULL};
}

/* What a thread's own stream comes after goes with the thread; the first thread's, with the library. */
static pthread_key_t of_threads;
static pthread_once_t of_threads_made = PTHREAD_ONCE_INIT;
static void forget_of_thread(void *stream) { forget(&((struct stream *)stream)->after); }
static void make_of_threads(void) { pthread_key_create(&of_threads, forget_of_thread); }
__attribute__((destructor)) static void forget_of_first_thread(void) { forget(&of_thread.after); }

static struct stream *stream_of_thread(void) {
    pthread_once(&of_threads_made, make_of_threads);
    pthread_setspecific(of_threads, &of_thread);
    return &of_thread;
}

/* The order of a stream: a stream that is made anew is another one, even at the address of an old one. */
static struct stream *order_of(void *stream) {
    struct stream *found = stream;
    if ((uintptr_t)stream == PER_THREAD) found = stream_of_thread();
    else if (is_default(stream)) found = &legacy[device_of_context()];
    if (found->number == 0) found->number = ++streams_made;
    return found;
}

/* A stream is given work, which comes after what the host has waited for; its moment. */
static struct moment work_on(void *stream) {
    struct stream *of = order_of(stream);
    join(&of->after, &host);
    *tick_of(&of->after, of->number) = ++ticks;
    return (struct moment){of->number, ticks};
}

static void mark(struct event *event, void *stream) {
    pthread_mutex_lock(&order);
    work_on(stream);
    for (int64_t i = 0; i < event->after.room; ++i) event->after.ticks[i] = 0;
    join(&event->after, &order_of(stream)->after);
    pthread_mutex_unlock(&order);
}

static void wait_for(struct clock *clock, const struct clock *other) {
    pthread_mutex_lock(&order);
    join(clock, other);
    pthread_mutex_unlock(&order);
}

/* What must not be used by two things at once, and its last use. */
static struct use { struct use *next; const void *what; struct moment last; } *uses;
static atomic_llong overlaps;

static int copy_pieces(const struct piece *pieces, unsigned rows) {
    for (unsigned row = 0; row < rows; ++row) {
        struct object to, from;
        if (pieces[row].bytes == 0) continue;
        if (!find(pieces[row].to, &to) || !find(pieces[row].from, &from)) return INVALID_VALUE;
        memcpy(pieces[row].to, pieces[row].from, pieces[row].bytes);
    }
    return SUCCESS;
}

static struct node *add_node(struct graph *graph) {
    if (graph->count == NODES) abort();
    struct node *node = &graph->nodes[graph->count++];
    node->enabled = true;
    graph->last = node;
    return node;
}

static void set_pieces(struct node *node, void **parameters, unsigned rows) {
    node->rows = rows;
    memcpy(node->pieces, parameters[0], sizeof node->pieces);
}

static bool is_in_a_graph(const void *module) {
    bool found = false;
    pthread_mutex_lock(&lock);
    for (const struct object *object = objects; object; object = object->next)
        if (object->kind == GRAPH_EXEC)
            for (int i = 0; i < ((struct graph *)object->address)->count; ++i)
                found |= ((struct graph *)object->address)->nodes[i].module == module;
    pthread_mutex_unlock(&lock);
    return found;
}

/* The node of an executable graph for one of the graph that it was made from, if that is still there. */
static struct node *node_of(struct graph *exec, const void *node) {
    if (!is_alive(GRAPH_EXEC, exec) || !is_alive(GRAPH, exec->from)) return NULL;
    ptrdiff_t number = (const struct node *)node - exec->from->nodes;
    return number >= 0 && number < exec->count ? &exec->nodes[number] : NULL;
}

/* ---- The driver ---- */

int cuGetErrorName(int code, const char **name) {
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].code == code) return *name = errors[i].name, SUCCESS;
    return INVALID_VALUE;
}

int cuGetErrorString(int code, const char **text) {
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].code == code) return *text = errors[i].text, SUCCESS;
    return INVALID_VALUE;
}

int cuInit(unsigned flags) {
    BEGIN;
    return flags == 0 ? SUCCESS : INVALID_VALUE;
}

int cuDriverGetVersion(int *version) {
    BEGIN;
    *version = 13000;
    return SUCCESS;
}

/* ---- Devices ---- */

int cuDeviceGetCount(int *count) {
    BEGIN;
    for (*count = 0; is_device(*count); ++*count) {}
    return SUCCESS;
}

int cuDeviceGet(int *device, int ordinal) {
    BEGIN;
    if (!is_device(ordinal)) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

int cuDeviceGetName(char *name, int length, int device) {
    BEGIN;
    if (!is_device(device)) return INVALID_DEVICE;
    snprintf(name, (size_t)length, "CUDA double %d", device);
    return SUCCESS;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    BEGIN;
    if (!is_device(device)) return INVALID_DEVICE;
    *bytes = total_memory();
    return SUCCESS;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    enum { MULTIPROCESSOR_COUNT = 16, COMPUTE_CAPABILITY_MAJOR = 75, COMPUTE_CAPABILITY_MINOR = 76 };
    BEGIN;
    if (!is_device(device)) return INVALID_DEVICE;
    int major = 0, minor = 0;
    sscanf(setting("CUDA_DOUBLE_COMPUTE_CAPABILITY", "9.0"), "%d.%d", &major, &minor);
    switch (attribute) {
    case MULTIPROCESSOR_COUNT: *value = 1; return SUCCESS;
    case COMPUTE_CAPABILITY_MAJOR: *value = major; return SUCCESS;
    case COMPUTE_CAPABILITY_MINOR: *value = minor; return SUCCESS;
    }
    return INVALID_VALUE;
}

/* ---- Contexts ---- */

int cuDevicePrimaryCtxRetain(void **context, int device) {
    BEGIN;
    if (!is_device(device)) return INVALID_DEVICE;
    *context = &contexts[device];
    return add(RETAINED_CONTEXT, *context, 0, device);
}

int cuDevicePrimaryCtxRelease_v2(int device) {
    BEGIN;
    return device >= 0 && device < DEVICES ? take_away(RETAINED_CONTEXT, &contexts[device]) : INVALID_DEVICE;
}

int cuCtxGetCurrent(void **context) {
    BEGIN;
    *context = current.depth ? current.stack[current.depth - 1] : NULL;
    return SUCCESS;
}

int cuCtxPushCurrent_v2(void *context) {
    BEGIN;
    if (!is_alive(RETAINED_CONTEXT, context) || current.depth == DEPTH) return INVALID_CONTEXT;
    current.stack[current.depth++] = context;
    return SUCCESS;
}

int cuCtxPopCurrent_v2(void **context) {
    BEGIN_IN_CONTEXT;
    *context = current.stack[--current.depth];
    return SUCCESS;
}

int cuCtxSynchronize(void) {
    BEGIN_IN_CONTEXT;
    pthread_mutex_lock(&order);
    for (int64_t stream = 1; stream <= streams_made; ++stream) *tick_of(&host, stream) = ticks;
    pthread_mutex_unlock(&order);
    return SUCCESS;
}

/* ---- Memory ---- */

int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    BEGIN_IN_CONTEXT;
    *free_bytes = free_memory(device_of_context());
    *total = total_memory();
    return SUCCESS;
}

int cuMemAlloc_v2(uintptr_t *address, size_t size) {
    BEGIN_IN_CONTEXT;
    void *memory = NULL;
    if (size == 0) return INVALID_VALUE;
    if (size > free_memory(device_of_context()) || posix_memalign(&memory, 256, size) != 0) return OUT_OF_MEMORY;
    *address = (uintptr_t)memory;
    return add(DEVICE_MEMORY, memory, size, device_of_context());
}

int cuMemFree_v2(uintptr_t address) {
    BEGIN_IN_CONTEXT;
    int code = take_away(DEVICE_MEMORY, (void *)address);
    if (code != SUCCESS) return code;
    cudaDoubleForget((void *)address);
    free((void *)address);
    return SUCCESS;
}

static atomic_llong page_locks;
int cuMemHostAlloc(void **address, size_t size, unsigned flags) {
    BEGIN_IN_CONTEXT;
    ++page_locks;
    (void)flags;
    if (size == 0) return INVALID_VALUE;
    if (posix_memalign(address, 64, size) != 0) return OUT_OF_MEMORY;
    return add(PINNED_MEMORY, *address, size, device_of_context());
}

int cuMemFreeHost(void *address) {
    BEGIN_IN_CONTEXT;
    int code = take_away(PINNED_MEMORY, address);
    if (code == SUCCESS) free(address);
    return code;
}

/* For memory that it does not know the driver answers 0. */
static atomic_llong queries;
int cuPointerGetAttributes(unsigned count, const int *attributes, void **values, uintptr_t address) {
    enum { MEMORY_TYPE = 2, DEVICE_ORDINAL = 9, RANGE_START = 11, RANGE_SIZE = 12, UNKNOWN = 0, HOST = 1, DEVICE = 2 };
    BEGIN_IN_CONTEXT;
    ++queries;
    struct object object;
    bool known = find((const char *)address, &object);
    for (unsigned i = 0; i < count; ++i) {
        switch (attributes[i]) {
        case MEMORY_TYPE: *(unsigned *)values[i] = !known ? UNKNOWN : object.kind == DEVICE_MEMORY ? DEVICE : HOST; break;
        case DEVICE_ORDINAL: *(int *)values[i] = known ? object.device : -2; break;
        case RANGE_START: *(uintptr_t *)values[i] = known ? (uintptr_t)object.address : 0; break;
        case RANGE_SIZE: *(size_t *)values[i] = known ? object.size : 0; break;
        default: return INVALID_VALUE;
        }
    }
    return SUCCESS;
}

int cuMemcpyAsync(uintptr_t to, uintptr_t from, size_t size, void *stream) {
    BEGIN_IN_CONTEXT;
    if (!is_stream(stream)) return INVALID_HANDLE;
    if (captured_by(stream)) return STREAM_CAPTURE_UNSUPPORTED;
    memmove((void *)to, (const void *)from, size);
    return SUCCESS;
}

int cuMemsetD8Async(uintptr_t address, unsigned char value, size_t size, void *stream) {
    BEGIN_IN_CONTEXT;
    if (!is_stream(stream)) return INVALID_HANDLE;
    memset((void *)address, value, size);
    return SUCCESS;
}

/* ---- Kernels: planrt's own (src/cuda/copy.ptx, and those of kernels.cpp), whose work is done here while they are launched ---- */

/* kernels.cpp's; not there where this file is compiled by itself, as an old driver is. */
__attribute__((weak)) void *cudaDoubleKernel(const char *name);
__attribute__((weak)) bool cudaDoubleRunKernel(void *function, unsigned rows, unsigned layers, void **parameters);

int cuModuleLoadData(void **module, const void *image) {
    BEGIN_IN_CONTEXT;
    if (strstr(image, ".entry planrt_") == NULL) return INVALID_VALUE;
    *module = malloc(1);
    return add(MODULE, *module, 0, device_of_context());
}

/* The driver says nothing of graphs that hold a kernel of it; here there must be none. */
int cuModuleUnload(void *module) {
    BEGIN_IN_CONTEXT;
    if (is_in_a_graph(module)) abort();
    int code = take_away(MODULE, module);
    if (code == SUCCESS) free(module);
    return code;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
    BEGIN_IN_CONTEXT;
    if (!is_alive(MODULE, module)) return INVALID_VALUE;
    *function = strcmp(name, "planrt_copy") == 0 ? module : cudaDoubleKernel ? cudaDoubleKernel(name) : NULL;
    return *function ? SUCCESS : INVALID_VALUE;
}

/* How many of kernels.cpp's ran on a device. */
static atomic_llong volume_kernels[DEVICES];
long long cudaDoubleVolumeKernels(int device) { return volume_kernels[device]; }

int cuLaunchKernel(void *function, unsigned columns, unsigned rows, unsigned layers, unsigned x, unsigned y, unsigned z,
                   unsigned shared, void *stream, void **parameters, void **extra) {
    BEGIN_IN_CONTEXT;
    (void)columns, (void)x, (void)y, (void)z, (void)shared, (void)extra;
    if (!is_stream(stream)) return INVALID_HANDLE;
    if (!captured_by(stream) && cudaDoubleRunKernel && cudaDoubleRunKernel(function, rows, layers, parameters)) {
        ++volume_kernels[device_of_context()];
        return SUCCESS;
    }
    if (!is_alive(MODULE, function)) return INVALID_HANDLE;
    if (captured_by(stream)) {
        struct node *node = add_node(captured_by(stream));
        node->module = function;
        set_pieces(node, parameters, rows);
        return SUCCESS;
    }
    return copy_pieces(parameters[0], rows);
}

/* ---- Streams and events ---- */

int cuStreamCreateWithPriority(void **stream, unsigned flags, int priority) {
    BEGIN_IN_CONTEXT;
    (void)flags, (void)priority;
    *stream = calloc(1, sizeof(struct stream));
    if (!*stream) abort();
    return add(STREAM, *stream, 0, device_of_context());
}

int cuStreamDestroy_v2(void *stream) {
    BEGIN_IN_CONTEXT;
    int code = take_away(STREAM, stream);
    if (code != SUCCESS) return code;
    forget(&((struct stream *)stream)->after);
    free(stream);
    return SUCCESS;
}

int cuStreamSynchronize(void *stream) {
    BEGIN_IN_CONTEXT;
    if (!is_stream(stream)) return INVALID_HANDLE;
    if (captured_by(stream)) return STREAM_CAPTURE_UNSUPPORTED;
    pthread_mutex_lock(&order);
    while (held) pthread_cond_wait(&let_go, &order);
    pthread_mutex_unlock(&order);
    wait_for(&host, &order_of(stream)->after);
    return SUCCESS;
}

int cuStreamIsCapturing(void *stream, int *status) {
    BEGIN_IN_CONTEXT;
    if (!is_stream(stream)) return INVALID_HANDLE;
    *status = captured_by(stream) != NULL;
    return SUCCESS;
}

int cuStreamQuery(void *stream) {
    BEGIN_IN_CONTEXT;
    return is_stream(stream) ? SUCCESS : INVALID_HANDLE;
}

int cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
    BEGIN_IN_CONTEXT;
    (void)flags;
    if (!is_stream(stream) || !is_alive(EVENT, event)) return INVALID_HANDLE;
    if (captured_by(stream)) return STREAM_CAPTURE_ISOLATION;
    struct stream *waiting = order_of(stream);
    wait_for(&waiting->after, &((struct event *)event)->after);
    pthread_mutex_lock(&order);
    ++waiting->waits;
    pthread_mutex_unlock(&order);
    return SUCCESS;
}

int cuEventCreate(void **event, unsigned flags) {
    BEGIN_IN_CONTEXT;
    (void)flags;
    *event = calloc(1, sizeof(struct event));
    if (!*event) abort();
    return add(EVENT, *event, 0, device_of_context());
}

int cuEventRecord(void *event, void *stream) {
    BEGIN_IN_CONTEXT;
    if (!is_stream(stream) || !is_alive(EVENT, event)) return INVALID_HANDLE;
    if (captured_by(stream)) return STREAM_CAPTURE_UNSUPPORTED;
    mark(event, stream);
    clock_gettime(CLOCK_MONOTONIC, &((struct event *)event)->recorded);
    return SUCCESS;
}

int cuEventElapsedTime(float *milliseconds, void *begin, void *end) {
    BEGIN_IN_CONTEXT;
    if (!is_alive(EVENT, begin) || !is_alive(EVENT, end)) return INVALID_HANDLE;
    const struct timespec from = ((struct event *)begin)->recorded, to = ((struct event *)end)->recorded;
    *milliseconds = (float)((double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6);
    return SUCCESS;
}

int cuEventSynchronize(void *event) {
    BEGIN_IN_CONTEXT;
    if (!is_alive(EVENT, event)) return INVALID_HANDLE;
    wait_for(&host, &((struct event *)event)->after);
    return SUCCESS;
}

int cuEventDestroy_v2(void *event) {
    BEGIN_IN_CONTEXT;
    int code = take_away(EVENT, event);
    if (code != SUCCESS) return code;
    forget(&((struct event *)event)->after);
    free(event);
    return SUCCESS;
}

/* ---- Graphs ---- */

int cuStreamBeginCapture_v2(void *stream, int mode) {
    BEGIN_IN_CONTEXT;
    (void)mode;
    if (is_default(stream) || !is_stream(stream) || captured_by(stream)) return INVALID_HANDLE;
    struct graph *graph = calloc(1, sizeof *graph);
    ((struct stream *)stream)->captured = graph;
    return add(GRAPH, graph, 0, device_of_context());
}

int cuStreamEndCapture(void *stream, void **graph) {
    BEGIN_IN_CONTEXT;
    *graph = captured_by(stream);
    ((struct stream *)stream)->captured = NULL;
    return *graph ? SUCCESS : INVALID_HANDLE;
}

int cuStreamGetCaptureInfo_v2(void *stream, int *status, uint64_t *id, void **graph, const void ***nodes, size_t *count) {
    BEGIN_IN_CONTEXT;
    struct graph *captured = captured_by(stream);
    *status = captured != NULL;
    if (!captured) return SUCCESS;
    *id = 1;
    *graph = captured;
    *nodes = &captured->last;
    *count = captured->count > 0;
    return SUCCESS;
}

int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags) {
    BEGIN_IN_CONTEXT;
    (void)flags;
    if (!is_alive(GRAPH, graph)) return INVALID_HANDLE;
    struct graph *made = malloc(sizeof *made);
    if (!made) abort();
    *made = *(const struct graph *)graph;
    made->from = graph;
    *exec = made;
    return add(GRAPH_EXEC, made, 0, device_of_context());
}

/* What a graph brought along is let go of with it: nothing that was made from it may be launched any more, which planrt
 * does not do. */
int cuGraphDestroy(void *graph) {
    BEGIN_IN_CONTEXT;
    int code = take_away(GRAPH, graph);
    if (code != SUCCESS) return code;
    struct graph *gone = graph;
    for (int i = 0; i < gone->count; ++i)
        if (gone->nodes[i].release) gone->nodes[i].release(gone->nodes[i].argument);
    free(gone);
    return SUCCESS;
}

int cuGraphExecDestroy(void *exec) {
    BEGIN_IN_CONTEXT;
    int code = take_away(GRAPH_EXEC, exec);
    if (code == SUCCESS) free(exec);
    return code;
}

static atomic_llong launches;
static _Thread_local void *launched_on;
int cuGraphLaunch(void *exec, void *stream) {
    BEGIN_IN_CONTEXT;
    ++launches;
    struct graph *graph = exec;
    if (!is_stream(stream) || !is_alive(GRAPH_EXEC, exec) || !is_alive(GRAPH, graph->from)) return INVALID_HANDLE;
    for (int i = 0; i < graph->count; ++i) {
        const struct node *node = &graph->nodes[i];
        if (!node->enabled) continue;
        int code = SUCCESS;
        launched_on = stream;
        if (node->work) node->work(node->argument);
        else code = copy_pieces(node->pieces, node->rows);
        if (code != SUCCESS) return code;
    }
    return SUCCESS;
}

int cuGraphNodeSetEnabled(void *exec, void *node, unsigned enabled) {
    BEGIN_IN_CONTEXT;
    struct node *own = node_of(exec, node);
    if (!own || own->work) return INVALID_VALUE;
    own->enabled = enabled != 0;
    return SUCCESS;
}

/* CUDA_KERNEL_NODE_PARAMS. */
struct kernel {
    void *function;
    unsigned columns, rows, layers, x, y, z, shared;
    void **parameters, **extra;
};

int cuGraphExecKernelNodeSetParams(void *exec, void *node, const struct kernel *kernel) {
    BEGIN_IN_CONTEXT;
    struct node *own = node_of(exec, node);
    if (!own || own->work || !is_alive(MODULE, kernel->function)) return INVALID_VALUE;
    set_pieces(own, kernel->parameters, kernel->rows);
    return SUCCESS;
}

/* For TensorRT's double: work that a stream captures, if it captures, is done when the graph is launched. */
bool cudaDoubleCapture(void *stream, void (*work)(void *), void (*release)(void *), void *argument) {
    struct graph *graph = captured_by(stream);
    if (!graph) return false;
    struct node *node = add_node(graph);
    node->work = work;
    node->release = release;
    node->argument = argument;
    return true;
}

/* For TensorRT's double: work on a stream uses this alone. Whether what used it last comes before. */
bool cudaDoubleUse(const void *what, void *stream) {
    pthread_mutex_lock(&order);
    struct use *use = uses;
    while (use && use->what != what) use = use->next;
    if (!use) {
        use = calloc(1, sizeof *use);
        if (!use) abort();
        *use = (struct use){uses, what, {0, 0}};
        uses = use;
    }
    const struct moment now = work_on(stream);
    struct stream *of = order_of(stream);
    const bool ordered = use->last.tick == 0 || use->last.stream == now.stream ||
                         *tick_of(&of->after, use->last.stream) >= use->last.tick;
    if (!ordered) ++overlaps;
    use->last = now;
    pthread_mutex_unlock(&order);
    return ordered;
}

/* The stream that a graph is launched on, for the work in it. */
void *cudaDoubleLaunchedOn(void) { return launched_on; }

/* And what was used so is gone. */
void cudaDoubleForget(const void *what) {
    pthread_mutex_lock(&order);
    struct use **link = &uses;
    while (*link && (*link)->what != what) link = &(*link)->next;
    struct use *found = *link;
    if (found) *link = found->next;
    pthread_mutex_unlock(&order);
    free(found);
}

/* Whether so many bytes of device or page-locked memory lie at an address. */
bool cudaDoubleHolds(const void *address, size_t size) {
    struct object object;
    if (!find(address, &object)) return false;
    return size <= object.size - (size_t)((const char *)address - (const char *)object.address);
}

/* ---- What tests ask the double ---- */

/* How often page-locked memory was allocated, and how often anybody asked what lies at an address. */
int64_t cudaDoublePageLocks(void) { return page_locks; }
int64_t cudaDoubleQueries(void) { return queries; }

/* How often work could have overlapped other work that uses the same. */
int64_t cudaDoubleOverlaps(void) { return overlaps; }

/* From now on streams are busy, or are so no more. */
void cudaDoubleHold(bool hold) {
    pthread_mutex_lock(&order);
    held = hold;
    pthread_cond_broadcast(&let_go);
    pthread_mutex_unlock(&order);
}

/* How many events a stream of this process was told to wait for. */
int64_t cudaDoubleWaits(void *stream) {
    pthread_mutex_lock(&order);
    int64_t waits = ((struct stream *)stream)->waits;
    pthread_mutex_unlock(&order);
    return waits;
}

/* From now on the device is lost, as after a kernel that went wrong, or there again. */
void cudaDoubleLose(int device, bool is) { lost[device] = is; }

/* How often a graph was launched. */
int64_t cudaDoubleLaunches(void) { return launches; }

/* How many contexts are retained and streams, events and pieces of memory alive. */
int64_t cudaDoubleAlive(void) {
    int64_t count = 0;
    pthread_mutex_lock(&lock);
    for (const struct object *object = objects; object; object = object->next) ++count;
    pthread_mutex_unlock(&lock);
    return count;
}
