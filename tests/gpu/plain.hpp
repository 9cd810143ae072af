// What an application without planrt would do: CUDA's driver and TensorRT 8.5 called directly, as the yardstick that planrt
// is held against. There is no TensorRT SDK on a test machine, so the few methods are called by their place in the vtable
// (tensorrt-sys/vtables.tsv, column 8.5.3), which is the machine code that a C++ virtual call compiles to.
#ifndef PLAIN_HPP
#define PLAIN_HPP

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace plain {

[[noreturn]] inline void fail(const std::string& what) {
    std::fprintf(stderr, "plain TensorRT: %s\n", what.c_str());
    std::exit(1);
}

inline void* open_library(const char* name) {
    void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) fail(dlerror());
    return library;
}

template <class Function>
Function* symbol(void* library, const char* name) {
    void* address = dlsym(library, name);
    if (address == nullptr) fail(dlerror());
    return reinterpret_cast<Function*>(address);
}

// ---- The driver ----

using Stream = void*;
using Event = void*;
using Graph = void*;
using DeviceAddress = unsigned long long;

struct Cuda {
    void* library = open_library("libcuda.so.1");
    decltype(symbol<int(unsigned)>(nullptr, "")) init = symbol<int(unsigned)>(library, "cuInit");
    int (*primary)(void**, int) = symbol<int(void**, int)>(library, "cuDevicePrimaryCtxRetain");
    int (*set_current)(void*) = symbol<int(void*)>(library, "cuCtxSetCurrent");
    int (*create_stream)(Stream*, unsigned) = symbol<int(Stream*, unsigned)>(library, "cuStreamCreate");
    int (*synchronize)(Stream) = symbol<int(Stream)>(library, "cuStreamSynchronize");
    int (*allocate)(DeviceAddress*, size_t) = symbol<int(DeviceAddress*, size_t)>(library, "cuMemAlloc_v2");
    int (*allocate_pinned)(void**, size_t, unsigned) = symbol<int(void**, size_t, unsigned)>(library, "cuMemHostAlloc");
    int (*copy)(DeviceAddress, DeviceAddress, size_t, Stream) =
        symbol<int(DeviceAddress, DeviceAddress, size_t, Stream)>(library, "cuMemcpyAsync");

    int (*begin_capture)(Stream, int) = symbol<int(Stream, int)>(library, "cuStreamBeginCapture_v2");
    int (*end_capture)(Stream, void**) = symbol<int(Stream, void**)>(library, "cuStreamEndCapture");
    int (*instantiate)(Graph*, void*, unsigned long long) =
        symbol<int(Graph*, void*, unsigned long long)>(library, "cuGraphInstantiateWithFlags");
    int (*launch)(Graph, Stream) = symbol<int(Graph, Stream)>(library, "cuGraphLaunch");
    void* context = nullptr;

    // Makes device 0 current on this thread.
    void start() {
        if (init(0) != 0 || primary(&context, 0) != 0) fail("no CUDA device");
        enter();
    }
    // The same for a further thread.
    void enter() {
        if (set_current(context) != 0) fail("the device cannot be made current");
    }
    // What the work gives to the stream, to be launched at once.
    template <class Work>
    Graph capture(Stream stream, const Work& work) {
        void* captured = nullptr;
        Graph graph = nullptr;
        if (begin_capture(stream, 1 /* this thread's calls */) != 0) fail("no capture");
        work();
        if (end_capture(stream, &captured) != 0 || instantiate(&graph, captured, 0) != 0) fail("no CUDA graph");
        return graph;
    }
    Stream stream() {
        Stream stream = nullptr;
        if (create_stream(&stream, 1 /* does not wait for the default stream */) != 0) fail("no stream");
        return stream;
    }
    DeviceAddress device_memory(size_t bytes) {
        DeviceAddress address = 0;
        if (allocate(&address, bytes) != 0) fail("no device memory");
        return address;
    }
    void* pinned_memory(size_t bytes) {
        void* address = nullptr;
        if (allocate_pinned(&address, bytes, 0) != 0) fail("no page-locked memory");
        return address;
    }
};

// ---- TensorRT 8.5 ----

// The method at an index of an object's vtable.
template <class R, class... Arguments>
R call_on(void* object, size_t index, Arguments... arguments) {
    void** vtable = *static_cast<void***>(object);
    return reinterpret_cast<R (*)(void*, Arguments...)>(vtable[index])(object, arguments...);
}

// A handle of TensorRT's: its own vtable (the destructors), and the object that the methods are called on.
struct Handle {
    void (**destructors)(Handle*);
    void* object;

    template <class R, class... Arguments>
    R call(size_t index, Arguments... arguments) {
        return call_on<R, Arguments...>(object, index, arguments...);
    }
    void destroy() { destructors[1](this); }
};

struct Dims {
    int32_t count;
    int32_t extents[8];
};

// As TensorRT's own header declares it: the destructors follow. TensorRT has one for a process, so that planrt's builds are heard, too.
class Logger {
public:
    virtual void log(int32_t severity, const char* message) noexcept {
        // And what becomes of timing caches, which decides how long a build takes.
        const bool is_of_cache = severity <= 3 && std::strstr(message, "iming") != nullptr && std::strstr(message, "ache") != nullptr;
        if (severity <= 1 || is_of_cache) std::fprintf(stderr, "plain TensorRT: %s\n", message);
    }
    virtual ~Logger() = default;
};

struct TensorRt {
    void* library = open_library("libnvinfer.so.8");
    Logger logger;
    Handle* runtime = nullptr;

    TensorRt() {
        const int version = symbol<int()>(library, "getInferLibVersion")();
        runtime = symbol<Handle*(void*, int)>(library, "createInferRuntime_INTERNAL")(&logger, version);
        if (runtime == nullptr) fail("no runtime");
    }
    Handle* deserialize(const void* data, size_t size) {
        Handle* engine = runtime->call<Handle*, const void*, size_t, void*>(2, data, size, nullptr);
        if (engine == nullptr) fail("the plan is not taken");
        return engine;
    }
};

inline Handle* create_context(Handle* engine) { return engine->call<Handle*>(11); }
inline bool set_profile(Handle* context, int32_t profile, Stream stream) {
    return context->call<bool, int32_t, Stream>(25, profile, stream);
}
inline bool set_input_shape(Handle* context, const char* name, const Dims& shape) {
    return context->call<bool, const char*, const Dims*>(29, name, &shape);
}
inline bool set_tensor_address(Handle* context, const char* name, DeviceAddress address) {
    return context->call<bool, const char*, DeviceAddress>(32, name, address);
}
inline bool enqueue(Handle* context, Stream stream) { return context->call<bool, Stream>(44, stream); }

// A file mapped for reading.
struct Mapped {
    const void* data;
    size_t size;

    explicit Mapped(const std::string& path) {
        const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        struct stat info {};
        if (file < 0 || fstat(file, &info) != 0) fail("cannot read " + path);
        size = static_cast<size_t>(info.st_size);
        data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
        close(file);
        if (data == MAP_FAILED) fail("cannot map " + path);
    }
    Mapped(const Mapped&) = delete;
    Mapped& operator=(const Mapped&) = delete;
    ~Mapped() { munmap(const_cast<void*>(data), size); }
};

}  // namespace plain

#endif
