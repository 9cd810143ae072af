/// planrt.hpp: planrt for C++17. Header only, over planrt.h, which says more on each call.
///
/// Every class of a handle owns it, is move-only and deletes it in its destructor. The library counts references: a
/// context keeps its engine alive and an engine its runtime, so objects may be destroyed in any order. What fails
/// throws planrt::Error. A moved-from object may be destroyed or assigned to. Sizes are in bytes, strings are UTF-8.
///
///     planrt::Runtime runtime;
///     auto engine = planrt::Engine::from_file(runtime, "model.onnx");
///     planrt::Context context(engine);
///     context.run({planrt::Tensor::input("image", voxels, {1, 1, 128, 128, 128})},
///                 {planrt::Tensor::output("prob", probability)});

#ifndef PLANRT_HPP
#define PLANRT_HPP

#include "planrt.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace planrt {

enum class ErrorCode : planrt_error_code {
    invalid_argument = PLANRT_ERROR_INVALID_ARGUMENT,
    not_found = PLANRT_ERROR_NOT_FOUND,
    io = PLANRT_ERROR_IO,
    invalid_model = PLANRT_ERROR_INVALID_MODEL,
    incompatible_model = PLANRT_ERROR_INCOMPATIBLE_MODEL,
    missing_plugin = PLANRT_ERROR_MISSING_PLUGIN,
    no_cuda = PLANRT_ERROR_NO_CUDA,
    no_tensorrt = PLANRT_ERROR_NO_TENSORRT,
    unsupported = PLANRT_ERROR_UNSUPPORTED,
    shape = PLANRT_ERROR_SHAPE,
    buffer_too_small = PLANRT_ERROR_BUFFER_TOO_SMALL,
    out_of_memory = PLANRT_ERROR_OUT_OF_MEMORY,
    in_use = PLANRT_ERROR_IN_USE,
    cancelled = PLANRT_ERROR_CANCELLED,
    cuda = PLANRT_ERROR_CUDA,
    tensorrt = PLANRT_ERROR_TENSORRT,
    poisoned = PLANRT_ERROR_POISONED,
    internal = PLANRT_ERROR_INTERNAL,
    deadline = PLANRT_ERROR_DEADLINE,
    queue_full = PLANRT_ERROR_QUEUE_FULL,
    shut_down = PLANRT_ERROR_SHUT_DOWN,
    forked = PLANRT_ERROR_FORKED,
    device_lost = PLANRT_ERROR_DEVICE_LOST,
};

enum class LogLevel : planrt_log_level {
    error = PLANRT_LOG_ERROR,
    warning = PLANRT_LOG_WARNING,
    info = PLANRT_LOG_INFO,
    debug = PLANRT_LOG_DEBUG,
};

enum class Backend : planrt_backend {
    tensorrt = PLANRT_BACKEND_TENSORRT,
    cpu = PLANRT_BACKEND_CPU,
};

enum class ElementType : planrt_element_type {
    float32 = PLANRT_FLOAT32,
    float16 = PLANRT_FLOAT16,
    bfloat16 = PLANRT_BFLOAT16,
    int8 = PLANRT_INT8,
    uint8 = PLANRT_UINT8,
    int32 = PLANRT_INT32,
    int64 = PLANRT_INT64,
    boolean = PLANRT_BOOL,
};

enum class TensorRole : planrt_tensor_role {
    input = PLANRT_INPUT,
    output = PLANRT_OUTPUT,
};

enum class MemoryKind : planrt_memory_kind {
    host = PLANRT_MEMORY_HOST,
    pinned = PLANRT_MEMORY_PINNED,
    device = PLANRT_MEMORY_DEVICE,
};

/// A number that TensorRT knows of a plan; planrt.h says which versions do.
enum class Statistic : planrt_statistic {
    weights_size = PLANRT_STATISTIC_WEIGHTS_SIZE,
    stripped_weights_size = PLANRT_STATISTIC_STRIPPED_WEIGHTS_SIZE,
    streamable_weights_size = PLANRT_STATISTIC_STREAMABLE_WEIGHTS_SIZE,
    weight_streaming_budget = PLANRT_STATISTIC_WEIGHT_STREAMING_BUDGET,
    aux_streams = PLANRT_STATISTIC_AUX_STREAMS,
};

/// Extents in elements, outermost first; -1 where dynamic.
using Shape = std::vector<int64_t>;

/// The elements that a shape without dynamic extents holds.
inline size_t element_count(const Shape& shape) {
    size_t count = 1;
    for (const int64_t extent : shape) {
        count *= static_cast<size_t>(extent);
    }
    return count;
}

/// Bytes of one element; 0 for a type that the library does not know.
inline size_t size_of(ElementType type) noexcept {
    return planrt_element_type_get_size(static_cast<planrt_element_type>(type));
}

/// The ElementType of a C++ type. C++17 has no 16-bit floating point types: specialize this for your own.
template <class T>
struct ElementTypeOf;
template <>
struct ElementTypeOf<float> : std::integral_constant<ElementType, ElementType::float32> {};
template <>
struct ElementTypeOf<int8_t> : std::integral_constant<ElementType, ElementType::int8> {};
template <>
struct ElementTypeOf<uint8_t> : std::integral_constant<ElementType, ElementType::uint8> {};
template <>
struct ElementTypeOf<int32_t> : std::integral_constant<ElementType, ElementType::int32> {};
template <>
struct ElementTypeOf<int64_t> : std::integral_constant<ElementType, ElementType::int64> {};
template <>
struct ElementTypeOf<bool> : std::integral_constant<ElementType, ElementType::boolean> {};

template <class T>
inline constexpr ElementType element_type_of = ElementTypeOf<std::remove_cv_t<T>>::value;

/// What went wrong: what() is for people, code() for programs. A value; copying it does not throw.
class Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string& message, const std::string& detail = {}, int32_t cuda_code = 0)
        : std::runtime_error(message),
          code_(code),
          cuda_code_(cuda_code),
          detail_(std::make_shared<const std::string>(detail)) {}

    ErrorCode code() const noexcept { return code_; }
    /// TensorRT's own last lines; empty if there are none.
    const std::string& detail() const noexcept { return *detail_; }
    /// The CUresult of the CUDA call that failed; 0 if none did.
    int32_t cuda_code() const noexcept { return cuda_code_; }

private:
    ErrorCode code_;
    int32_t cuda_code_;
    std::shared_ptr<const std::string> detail_;
};

/// Called from any thread, several at once. What it throws is dropped.
using LogCallback = std::function<void(LogLevel level, const char* message)>;

namespace detail {

inline std::string text(const char* text_or_null) {
    return text_or_null != nullptr ? std::string(text_or_null) : std::string();
}

inline void check(planrt_error* error) {
    if (error == nullptr) {
        return;
    }
    const std::unique_ptr<planrt_error, decltype(&planrt_error_delete)> owned(error, &planrt_error_delete);
    throw Error(static_cast<ErrorCode>(planrt_error_get_code(error)), text(planrt_error_get_message(error)),
                text(planrt_error_get_detail(error)), planrt_error_get_cuda_code(error));
}

inline std::string take_text(char* owned_text) {
    const std::unique_ptr<char, decltype(&planrt_string_delete)> owned(owned_text, &planrt_string_delete);
    return text(owned_text);
}

inline int32_t rank_of(const Shape& shape) {
    if (shape.size() > PLANRT_MAX_RANK) {
        throw Error(ErrorCode::invalid_argument, "a shape has " + std::to_string(shape.size()) +
                                                     " dimensions; planrt takes " + std::to_string(PLANRT_MAX_RANK));
    }
    return static_cast<int32_t>(shape.size());
}

using LogSink = std::shared_ptr<const LogCallback>;

inline void forward_log(void* user_data, planrt_log_level level, const char* message) noexcept {
    try {
        (*static_cast<const LogCallback*>(user_data))(static_cast<LogLevel>(level), message);
    } catch (...) {
        // An exception must not enter the library, and there is nobody else to tell.
    }
}

/// A C handle and its owner. Everything made from a runtime logs to that runtime's sink, even after the Runtime is
/// gone: so each handle holds the sink, and lets go of it only after the handle is deleted.
template <class T, void (*Delete)(T*)>
class Handle {
public:
    /// The handle for calls of planrt.h; still owned by this object.
    T* get() const noexcept { return owned_.get(); }
    const LogSink& log_sink() const noexcept { return owned_.get_deleter().log_sink; }

protected:
    Handle(T* handle, LogSink log_sink) noexcept : owned_(handle, Deleter{std::move(log_sink)}) {}

private:
    struct Deleter {
        LogSink log_sink;
        void operator()(T* handle) const noexcept { Delete(handle); }
    };
    std::unique_ptr<T, Deleter> owned_;
};

}  // namespace detail

/// Options of a Runtime. A value; what is not set keeps the library's default.
struct RuntimeOptions {
    std::optional<int32_t> device;  ///< ordinal of the GPU
    std::string tensorrt_path;      ///< TensorRT's library, or the folder it is in; empty: looked for
    std::vector<std::string> plugin_libraries;
    std::optional<bool> standard_plugins;  ///< whether libnvinfer_plugin may be loaded when a plan asks for it
    /// Whether plans may bring code that runs on the host, as version-compatible ones do: for trusted plans only.
    std::optional<bool> engine_host_code_allowed;
    LogCallback log;
    LogLevel log_level = LogLevel::warning;  ///< the most verbose level that reaches `log`
};

namespace detail {

using RuntimeOptionsHandle = std::unique_ptr<planrt_runtime_options, decltype(&planrt_runtime_options_delete)>;

/// The sink must outlive the options and every runtime made from them.
inline RuntimeOptionsHandle make_options(const RuntimeOptions& options, const LogSink& log_sink) {
    planrt_runtime_options* raw = nullptr;
    check(planrt_runtime_options_new(&raw));
    RuntimeOptionsHandle handle(raw, &planrt_runtime_options_delete);
    if (options.device) {
        check(planrt_runtime_options_set_device(raw, *options.device));
    }
    if (!options.tensorrt_path.empty()) {
        check(planrt_runtime_options_set_tensorrt_path(raw, options.tensorrt_path.c_str()));
    }
    for (const std::string& library : options.plugin_libraries) {
        check(planrt_runtime_options_add_plugin_library(raw, library.c_str()));
    }
    if (options.standard_plugins) {
        check(planrt_runtime_options_set_standard_plugins(raw, *options.standard_plugins));
    }
    if (options.engine_host_code_allowed) {
        check(planrt_runtime_options_set_engine_host_code_allowed(raw, *options.engine_host_code_allowed));
    }
    if (*log_sink) {
        // The C interface carries the sink as void*; forward_log reads it as what it is, const.
        check(planrt_runtime_options_set_log(raw, &forward_log, const_cast<LogCallback*>(log_sink.get()), nullptr,
                                             static_cast<planrt_log_level>(options.log_level)));
    }
    return handle;
}

/// Throws unless the library that was found speaks the interface that this header was written for.
inline void check_api_version() {
    uint32_t major = 0;
    uint32_t minor = 0;
    planrt_api_version(&major, &minor);
    if (major != PLANRT_API_MAJOR || minor != PLANRT_API_MINOR) {
        throw Error(ErrorCode::unsupported,
                    "libplanrt has interface " + std::to_string(major) + "." + std::to_string(minor) +
                        "; this program was compiled for " + std::to_string(PLANRT_API_MAJOR) + "." +
                        std::to_string(PLANRT_API_MINOR) + ": install a libplanrt of that version");
    }
}

}  // namespace detail

/// What was found and loaded: CUDA driver, TensorRT, device, log. Owns its handle; any thread, several at once.
class Runtime : public detail::Handle<planrt_runtime, &planrt_runtime_delete> {
public:
    /// Loads nothing yet: the driver and TensorRT are looked for when the first call needs them.
    explicit Runtime(const RuntimeOptions& options = {})
        : Runtime(options, std::make_shared<const LogCallback>(options.log)) {}

    /// Loads TensorRT now, and throws with the reason where that cannot be.
    void load_tensorrt() const { detail::check(planrt_runtime_load_tensorrt(get())); }

    /// What was found and what was not, with reasons, as JSON.
    std::string describe() const {
        char* json = nullptr;
        detail::check(planrt_runtime_describe(get(), &json));
        return detail::take_text(json);
    }

private:
    Runtime(const RuntimeOptions& options, const detail::LogSink& log_sink)
        : Handle(create(options, log_sink), log_sink) {}

    static planrt_runtime* create(const RuntimeOptions& options, const detail::LogSink& log_sink) {
        detail::check_api_version();
        planrt_runtime* runtime = nullptr;
        detail::check(planrt_runtime_new(detail::make_options(options, log_sink).get(), &runtime));
        return runtime;
    }
};

/// What a model says of one of its inputs or outputs. A value.
struct TensorInfo {
    std::string name;
    TensorRole role;
    ElementType element_type;
    MemoryKind memory_kind;  ///< where an address bound to it must lie
    Shape shape;
};

/// The shapes that one profile of a plan takes for one input. A value.
struct ProfileShape {
    Shape min;
    Shape opt;
    Shape max;
};

/// Options of an Engine. A value; what is not set keeps the library's default.
struct EngineOptions {
    std::optional<int32_t> cpu_threads;      ///< 0: all cores
    std::optional<int32_t> cpu_shape_cache;  ///< shapes for which the CPU backend keeps a prepared model
    std::string lean_runtime;  ///< libnvinfer_lean that is to run a version-compatible plan; empty: none
    /// Bytes of device memory that a plan's weights may take, or PLANRT_WEIGHT_STREAMING_AUTOMATIC.
    std::optional<int64_t> weight_streaming_budget;
};

/// A loaded model. Owns its handle; any thread, several at once.
class Engine : public detail::Handle<planrt_engine, &planrt_engine_delete> {
public:
    /// Loads a TensorRT plan or an ONNX model, told apart by content. `path` is UTF-8.
    static Engine from_file(const Runtime& runtime, const std::string& path, const EngineOptions& options = {}) {
        planrt_engine* engine = nullptr;
        detail::check(planrt_engine_load_file(runtime.get(), path.c_str(), make_options(options).get(), &engine));
        return Engine(engine, runtime.log_sink());
    }

    /// The same from memory, which need not outlive the call.
    static Engine from_memory(const Runtime& runtime, const void* data, size_t size,
                              const EngineOptions& options = {}) {
        planrt_engine* engine = nullptr;
        detail::check(planrt_engine_load_memory(runtime.get(), data, size, make_options(options).get(), &engine));
        return Engine(engine, runtime.log_sink());
    }

    Backend backend() const { return static_cast<Backend>(planrt_engine_get_backend(get())); }
    std::string name() const { return detail::text(planrt_engine_get_name(get())); }
    std::string device_name() const { return detail::text(planrt_engine_get_device_name(get())); }

    /// All inputs and outputs, in the model's order.
    std::vector<TensorInfo> tensors() const {
        std::vector<TensorInfo> all;
        const int32_t count = planrt_engine_get_tensor_count(get());
        for (int32_t index = 0; index < count; ++index) {
            all.push_back(tensor(index));
        }
        return all;
    }

    TensorInfo tensor(const std::string& name) const {
        int32_t index = 0;
        detail::check(planrt_engine_find_tensor(get(), name.c_str(), &index));
        return tensor(index);
    }

    /// 0 on the CPU, where every shape goes that the model takes.
    int32_t profile_count() const { return planrt_engine_get_profile_count(get()); }

    ProfileShape profile_shape(int32_t profile, const std::string& input) const {
        planrt_profile_shape shape{};
        shape.struct_size = sizeof shape;
        detail::check(planrt_engine_get_profile_shape(get(), profile, input.c_str(), &shape));
        return {Shape(shape.min, shape.min + shape.rank), Shape(shape.opt, shape.opt + shape.rank),
                Shape(shape.max, shape.max + shape.rank)};
    }

    /// Bytes of device memory that one context needs; 0 on the CPU.
    size_t device_memory_size() const { return planrt_engine_get_device_memory_size(get()); }

    /// The same under one profile.
    size_t device_memory_size(int32_t profile) const {
        size_t bytes = 0;
        detail::check(planrt_engine_get_profile_device_memory_size(get(), profile, &bytes));
        return bytes;
    }

    int64_t statistic(Statistic statistic) const {
        int64_t value = 0;
        detail::check(planrt_engine_get_statistic(get(), static_cast<planrt_statistic>(statistic), &value));
        return value;
    }

    /// The layers as TensorRT's inspector tells them.
    std::string layers_json() const {
        char* json = nullptr;
        detail::check(planrt_engine_get_layers_json(get(), &json));
        return detail::take_text(json);
    }

private:
    using OptionsHandle = std::unique_ptr<planrt_engine_options, decltype(&planrt_engine_options_delete)>;

    Engine(planrt_engine* engine, const detail::LogSink& log_sink) noexcept : Handle(engine, log_sink) {}

    static OptionsHandle make_options(const EngineOptions& options) {
        planrt_engine_options* raw = nullptr;
        detail::check(planrt_engine_options_new(&raw));
        OptionsHandle handle(raw, &planrt_engine_options_delete);
        if (options.cpu_threads) {
            detail::check(planrt_engine_options_set_cpu_threads(raw, *options.cpu_threads));
        }
        if (options.cpu_shape_cache) {
            detail::check(planrt_engine_options_set_cpu_shape_cache(raw, *options.cpu_shape_cache));
        }
        if (!options.lean_runtime.empty()) {
            detail::check(planrt_engine_options_set_lean_runtime(raw, options.lean_runtime.c_str()));
        }
        if (options.weight_streaming_budget) {
            detail::check(planrt_engine_options_set_weight_streaming_budget(raw, *options.weight_streaming_budget));
        }
        return handle;
    }

    TensorInfo tensor(int32_t index) const {
        planrt_tensor_info info{};
        info.struct_size = sizeof info;
        detail::check(planrt_engine_get_tensor_info(get(), index, &info));
        return {detail::text(info.name), static_cast<TensorRole>(info.role),
                static_cast<ElementType>(info.element_type), static_cast<MemoryKind>(info.memory_kind),
                Shape(info.shape, info.shape + info.rank)};
    }
};

/// Device, pinned or host memory. Owns its handle, and the memory unless it was wrapped; any thread, several at once,
/// and what is in the memory is theirs to arrange.
class Buffer : public detail::Handle<planrt_buffer, &planrt_buffer_delete> {
public:
    Buffer(const Runtime& runtime, MemoryKind kind, size_t bytes)
        : Handle(create(runtime, kind, bytes), runtime.log_sink()) {}

    /// The application's own memory, which must outlive this object.
    static Buffer wrap(const Runtime& runtime, MemoryKind kind, void* address, size_t bytes) {
        planrt_buffer* buffer = nullptr;
        detail::check(
            planrt_buffer_wrap(runtime.get(), static_cast<planrt_memory_kind>(kind), address, bytes, &buffer));
        return Buffer(buffer, runtime.log_sink());
    }

    void* data() const noexcept { return planrt_buffer_get_data(get()); }
    /// In bytes.
    size_t size() const noexcept { return planrt_buffer_get_size(get()); }
    MemoryKind kind() const noexcept { return static_cast<MemoryKind>(planrt_buffer_get_kind(get())); }

private:
    Buffer(planrt_buffer* buffer, const detail::LogSink& log_sink) noexcept : Handle(buffer, log_sink) {}

    static planrt_buffer* create(const Runtime& runtime, MemoryKind kind, size_t bytes) {
        planrt_buffer* buffer = nullptr;
        detail::check(planrt_buffer_new(runtime.get(), static_cast<planrt_memory_kind>(kind), bytes, &buffer));
        return buffer;
    }
};

/// A CUDA stream. Owns its handle, and the stream unless it was wrapped; any thread, and the order of what several give
/// it is theirs to arrange.
class Stream : public detail::Handle<planrt_stream, &planrt_stream_delete> {
public:
    /// Lower priorities go first; 0 is the ordinary one.
    explicit Stream(const Runtime& runtime, int32_t priority = 0)
        : Handle(create(runtime, priority), runtime.log_sink()) {}

    /// The application's own CUstream, which must outlive this object.
    static Stream wrap(const Runtime& runtime, void* cuda_stream) {
        planrt_stream* stream = nullptr;
        detail::check(planrt_stream_wrap(runtime.get(), cuda_stream, &stream));
        return Stream(stream, runtime.log_sink());
    }

    /// The CUstream.
    void* native() const noexcept { return planrt_stream_get_native(get()); }

    /// Waits for all work that the stream holds.
    void synchronize() { detail::check(planrt_stream_synchronize(get())); }

    /// Whether all work that the stream holds is done.
    bool query() {
        bool done = false;
        detail::check(planrt_stream_query(get(), &done));
        return done;
    }

    /// What is put on this stream from here on waits for what `other` holds now.
    void wait_for(Stream& other) { detail::check(planrt_stream_wait_for(get(), other.get())); }

    /// Copies between any of host and device, asynchronously: both must live until the stream has passed the copy.
    void copy(void* to, const void* from, size_t bytes) { detail::check(planrt_stream_copy(get(), to, from, bytes)); }

private:
    Stream(planrt_stream* stream, const detail::LogSink& log_sink) noexcept : Handle(stream, log_sink) {}

    static planrt_stream* create(const Runtime& runtime, int32_t priority) {
        planrt_stream* stream = nullptr;
        detail::check(planrt_stream_new(runtime.get(), priority, &stream));
        return stream;
    }
};

/// A named view of elements, for Context::run in host or pinned memory, for a request of a Session in device memory too. A
/// value that does not own the elements: they must outlive the run or request. They are dense, and of the model's type; in
/// host memory float for a model's 16-bit type is converted.
class Tensor {
public:
    /// Elements in host memory that the model reads: a std::vector or any other contiguous container.
    template <class Container>
    static Tensor input(std::string name, const Container& elements, Shape shape) {
        using Element = std::remove_pointer_t<decltype(std::data(elements))>;
        return input(std::move(name), std::data(elements), std::size(elements) * sizeof(Element),
                     element_type_of<Element>, std::move(shape), MemoryKind::host);
    }
    static Tensor input(std::string name, const Buffer& buffer, ElementType type, Shape shape) {
        return input(std::move(name), buffer.data(), buffer.size(), type, std::move(shape), buffer.kind());
    }
    static Tensor input(std::string name, const void* data, size_t bytes, ElementType type, Shape shape,
                        MemoryKind kind = MemoryKind::host) {
        return Tensor(std::move(name), data, nullptr, bytes, type, std::move(shape), kind);
    }

    /// Elements in host memory that the model writes, from the first one on; the container may be larger than the output.
    template <class Container>
    static Tensor output(std::string name, Container&& elements) {
        using Element = std::remove_pointer_t<decltype(std::data(elements))>;
        return output(std::move(name), std::data(elements), std::size(elements) * sizeof(Element),
                      element_type_of<Element>, MemoryKind::host);
    }
    static Tensor output(std::string name, const Buffer& buffer, ElementType type) {
        return output(std::move(name), buffer.data(), buffer.size(), type, buffer.kind());
    }
    static Tensor output(std::string name, void* data, size_t bytes, ElementType type,
                         MemoryKind kind = MemoryKind::host) {
        return Tensor(std::move(name), nullptr, data, bytes, type, {}, kind);
    }

    /// Borrows from this object.
    planrt_tensor get() const {
        planrt_tensor tensor{};
        tensor.struct_size = sizeof tensor;
        tensor.name = name_.c_str();
        tensor.input_data = input_data_;
        tensor.output_data = output_data_;
        tensor.size_bytes = bytes_;
        tensor.element_type = static_cast<planrt_element_type>(type_);
        tensor.memory_kind = static_cast<planrt_memory_kind>(kind_);
        tensor.rank = detail::rank_of(shape_);
        std::copy(shape_.begin(), shape_.end(), tensor.shape);
        return tensor;
    }

private:
    Tensor(std::string name, const void* input_data, void* output_data, size_t bytes, ElementType type, Shape shape,
           MemoryKind kind)
        : name_(std::move(name)), input_data_(input_data), output_data_(output_data), bytes_(bytes), type_(type),
          shape_(std::move(shape)), kind_(kind) {}

    std::string name_;
    const void* input_data_;
    void* output_data_;
    size_t bytes_;
    ElementType type_;
    Shape shape_;
    MemoryKind kind_;
};

/// One execution context: shapes, addresses, runs. Owns its handle; one thread at a time, except for cancel().
class Context : public detail::Handle<planrt_context, &planrt_context_delete> {
public:
    explicit Context(const Engine& engine) : Handle(create(engine), engine.log_sink()) {}

    /// One without device memory of its own: set_device_memory() lends it some. Contexts that take turns can share it.
    static Context without_memory(const Engine& engine) {
        planrt_context* context = nullptr;
        detail::check(planrt_context_new_without_memory(engine.get(), &context));
        return Context(context, engine.log_sink());
    }

    /// Fixes the optimization profile, or with -1 (the default) leaves the choice to the shapes.
    void set_profile(int32_t profile) { detail::check(planrt_context_set_profile(get(), profile)); }

    /// The optimization profile in use; -1 where there is none.
    int32_t profile() {
        int32_t profile = 0;
        detail::check(planrt_context_get_profile(get(), &profile));
        return profile;
    }

    void set_shape(const std::string& input, const Shape& shape) {
        detail::check(planrt_context_set_shape(get(), input.c_str(), shape.data(), detail::rank_of(shape)));
    }

    /// The shape of an input, or of an output once the inputs have theirs.
    Shape shape(const std::string& tensor) {
        int64_t shape[PLANRT_MAX_RANK] = {};
        int32_t rank = 0;
        detail::check(planrt_context_get_shape(get(), tensor.c_str(), shape, &rank));
        return Shape(shape, shape + rank);
    }

    /// Bytes of a tensor with the shapes as they are, in the model's own element type.
    size_t size(const std::string& tensor) {
        size_t bytes = 0;
        detail::check(planrt_context_get_size(get(), tensor.c_str(), &bytes));
        return bytes;
    }

    /// Runs from host memory to host memory, and returns when the outputs are written. Every input must be given, and
    /// its shape is set; an output that is not given is dropped. On an error the outputs hold what they held.
    void run(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs) {
        const std::vector<planrt_tensor> c_inputs = views(inputs);
        const std::vector<planrt_tensor> c_outputs = views(outputs);
        detail::check(planrt_context_run(get(), c_inputs.data(), c_inputs.size(), c_outputs.data(), c_outputs.size()));
    }

    /// Memory of the tensor's MemoryKind, for enqueue(): it must live until other memory is bound and the enqueued work
    /// has ended.
    void bind(const std::string& tensor, void* address, size_t bytes) {
        detail::check(planrt_context_bind(get(), tensor.c_str(), address, bytes));
    }
    void bind(const std::string& tensor, const Buffer& buffer) { bind(tensor, buffer.data(), buffer.size()); }

    /// Bytes of device memory that a run takes with the shapes as they are.
    size_t device_memory_size() {
        size_t bytes = 0;
        detail::check(planrt_context_get_device_memory_size(get(), &bytes));
        return bytes;
    }

    /// Device memory for a context made without: it must live until other memory is lent and the enqueued work has ended.
    void set_device_memory(void* address, size_t bytes) {
        detail::check(planrt_context_set_device_memory(get(), address, bytes));
    }
    void set_device_memory(const Buffer& buffer) { set_device_memory(buffer.data(), buffer.size()); }

    /// Streams for the parts of a run that may go beside one another; they must outlive the context's work.
    void set_aux_streams(const std::vector<Stream*>& streams) {
        std::vector<planrt_stream*> handles;
        for (const Stream* stream : streams) {
            handles.push_back(stream->get());
        }
        detail::check(planrt_context_set_aux_streams(get(), handles.data(), handles.size()));
    }

    /// Runs on the bound memory, asynchronously on the stream.
    void enqueue(Stream& stream) { detail::check(planrt_context_enqueue(get(), stream.get())); }

    /// The same on the CPU, where there are no streams and the run is done when this returns.
    void enqueue() { detail::check(planrt_context_enqueue(get(), nullptr)); }

    /// Asks the run under way, or else the next one, to end with ErrorCode::cancelled. From any thread.
    void cancel() noexcept { planrt_context_cancel(get()); }

private:
    Context(planrt_context* context, const detail::LogSink& log_sink) noexcept : Handle(context, log_sink) {}

    static planrt_context* create(const Engine& engine) {
        planrt_context* context = nullptr;
        detail::check(planrt_context_new(engine.get(), &context));
        return context;
    }

    static std::vector<planrt_tensor> views(const std::vector<Tensor>& tensors) {
        std::vector<planrt_tensor> views;
        views.reserve(tensors.size());
        for (const Tensor& tensor : tensors) {
            views.push_back(tensor.get());
        }
        return views;
    }
};

enum class WhenFull : planrt_when_full {
    refuse = PLANRT_WHEN_FULL_REFUSE,
    block = PLANRT_WHEN_FULL_BLOCK,
};

/// Options of a Session. A value; what is not set keeps the library's default.
struct SessionOptions {
    std::optional<int32_t> largest_batch;  ///< 1 turns batching off
    std::vector<int32_t> preferred_batches;
    std::optional<int64_t> max_delay;  ///< in microseconds; -1: as long as company can be expected
    std::optional<int32_t> queue_capacity;
    WhenFull when_full = WhenFull::refuse;  ///< with queue_capacity
    std::optional<int32_t> contexts;
    std::optional<size_t> memory_budget;  ///< in bytes
    bool retry = false;
    bool pumped = false;
};

/// Called once with the outcome, null for success. It must not throw.
using RequestCallback = std::function<void(const Error* error)>;

/// How a request is treated. A value.
struct RequestOptions {
    int32_t priority = 0;       ///< higher ones go first
    int64_t timeout_us = 0;     ///< in microseconds from now; 0: none
    Stream* stream = nullptr;   ///< what it holds now is waited for
    void* event = nullptr;      ///< a CUevent instead
    RequestCallback callback;
};

/// A request that was submitted. Owns its handle; any thread, several at once. It outlives its session.
class Request : public detail::Handle<planrt_request, &planrt_request_delete> {
public:
    /// Throws what the request failed with.
    void wait() { detail::check(planrt_request_wait(get(), -1, nullptr)); }

    /// False if the time was not enough.
    bool wait(int64_t microseconds) {
        bool done = false;
        detail::check(planrt_request_wait(get(), microseconds, &done));
        return done;
    }

    bool poll() const noexcept { return planrt_request_poll(get()); }

    /// Gives the request up. It is answered all the same, at once or when its batch has ended.
    void cancel() noexcept { planrt_request_cancel(get()); }

private:
    friend class Session;
    Request(planrt_request* request, const detail::LogSink& log_sink) noexcept : Handle(request, log_sink) {}
};

/// Runs requests of many threads, those that fit together as one batch. Owns its handle; any thread, several at once.
class Session : public detail::Handle<planrt_session, &planrt_session_delete> {
public:
    explicit Session(const Engine& engine, const SessionOptions& options = {})
        : Handle(create({engine.get()}, options), engine.log_sink()) {}

    /// One model, loaded on several devices.
    explicit Session(const std::vector<const Engine*>& engines, const SessionOptions& options = {})
        : Handle(create(handles(engines), options), engines.at(0)->log_sink()) {}

    /// Runs and returns when the outputs are written. The options' callback is not called.
    void run(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
             const RequestOptions& options = {}) {
        const auto c_inputs = views(inputs), c_outputs = views(outputs);
        const planrt_request_options c_options = get_options(options, nullptr);
        detail::check(planrt_session_run(get(), c_inputs.data(), c_inputs.size(), c_outputs.data(), c_outputs.size(),
                                         &c_options));
    }

    /// The memory of inputs and outputs must stay until the request is answered.
    Request submit(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                   const RequestOptions& options = {}) {
        const auto c_inputs = views(inputs), c_outputs = views(outputs);
        auto callback = options.callback ? std::make_unique<RequestCallback>(options.callback) : nullptr;
        const planrt_request_options c_options = get_options(options, callback.get());
        planrt_request* request = nullptr;
        detail::check(planrt_session_submit(get(), c_inputs.data(), c_inputs.size(), c_outputs.data(),
                                            c_outputs.size(), &c_options, &request));
        callback.release();  // forward_answer owns it now
        return Request(request, log_sink());
    }

    /// Makes callbacks that are due, on this thread; how many.
    size_t pump(int64_t timeout_microseconds = 0) {
        size_t calls = 0;
        detail::check(planrt_session_pump(get(), timeout_microseconds, &calls));
        return calls;
    }

    planrt_session_statistics statistics() const {
        planrt_session_statistics statistics{};
        statistics.struct_size = sizeof statistics;
        detail::check(planrt_session_get_statistics(get(), &statistics));
        return statistics;
    }

    /// For Prometheus.
    std::string metrics_text() const {
        char* text = nullptr;
        detail::check(planrt_session_get_metrics_text(get(), &text));
        return detail::take_text(text);
    }

private:
    using OptionsHandle = std::unique_ptr<planrt_session_options, decltype(&planrt_session_options_delete)>;

    static std::vector<const planrt_engine*> handles(const std::vector<const Engine*>& engines) {
        std::vector<const planrt_engine*> handles;
        for (const Engine* engine : engines) {
            handles.push_back(engine->get());
        }
        return handles;
    }

    static planrt_session* create(const std::vector<const planrt_engine*>& engines, const SessionOptions& options) {
        planrt_session_options* raw = nullptr;
        detail::check(planrt_session_options_new(&raw));
        const OptionsHandle owned(raw, &planrt_session_options_delete);
        if (options.largest_batch) {
            detail::check(planrt_session_options_set_largest_batch(raw, *options.largest_batch));
        }
        if (!options.preferred_batches.empty()) {
            detail::check(planrt_session_options_set_preferred_batches(raw, options.preferred_batches.data(),
                                                                       options.preferred_batches.size()));
        }
        if (options.max_delay) {
            detail::check(planrt_session_options_set_max_delay(raw, *options.max_delay));
        }
        if (options.queue_capacity) {
            detail::check(planrt_session_options_set_queue(raw, *options.queue_capacity,
                                                           static_cast<planrt_when_full>(options.when_full)));
        }
        if (options.contexts) {
            detail::check(planrt_session_options_set_contexts(raw, *options.contexts));
        }
        if (options.memory_budget) {
            detail::check(planrt_session_options_set_memory_budget(raw, *options.memory_budget));
        }
        detail::check(planrt_session_options_set_retry(raw, options.retry));
        detail::check(planrt_session_options_set_pumped(raw, options.pumped));
        planrt_session* session = nullptr;
        detail::check(planrt_session_new(engines.data(), engines.size(), raw, &session));
        return session;
    }

    static planrt_request_options get_options(const RequestOptions& options, RequestCallback* callback) {
        planrt_request_options c_options{};
        c_options.struct_size = sizeof c_options;
        c_options.priority = options.priority;
        c_options.timeout_us = options.timeout_us;
        c_options.stream = options.stream != nullptr ? options.stream->get() : nullptr;
        c_options.event = options.event;
        if (callback != nullptr) {
            c_options.callback = &forward_answer;
            c_options.user_data = callback;
        }
        return c_options;
    }

    static void forward_answer(void* user_data, const planrt_error* error) noexcept {
        const std::unique_ptr<RequestCallback> callback(static_cast<RequestCallback*>(user_data));
        try {
            if (error == nullptr) {
                (*callback)(nullptr);
                return;
            }
            const Error copy(static_cast<ErrorCode>(planrt_error_get_code(error)),
                             detail::text(planrt_error_get_message(error)),
                             detail::text(planrt_error_get_detail(error)), planrt_error_get_cuda_code(error));
            (*callback)(&copy);
        } catch (...) {
            // An exception must not enter the library, and there is nobody else to tell.
        }
    }

    static std::vector<planrt_tensor> views(const std::vector<Tensor>& tensors) {
        std::vector<planrt_tensor> views;
        views.reserve(tensors.size());
        for (const Tensor& tensor : tensors) {
            views.push_back(tensor.get());
        }
        return views;
    }
};

/// The version of the library that was found.
inline std::string version() {
    return detail::text(planrt_version());
}

struct DoctorReport {
    std::string text;
    bool usable;  ///< whether the model, or without one any model at all, will run here
};

/// Text for people: driver, GPUs, TensorRT, plugins, CPU backend; and the model, unless its path is empty.
inline DoctorReport doctor(const RuntimeOptions& options = {}, const std::string& model_path = {}) {
    detail::check_api_version();
    const auto log_sink = std::make_shared<const LogCallback>(options.log);
    const auto c_options = detail::make_options(options, log_sink);
    char* text = nullptr;
    bool usable = false;
    detail::check(planrt_doctor(c_options.get(), model_path.empty() ? nullptr : model_path.c_str(), &text, &usable));
    return {detail::take_text(text), usable};
}

}  // namespace planrt

#endif
