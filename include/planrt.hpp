/// planrt.hpp: planrt for C++17 and later. Header only, over planrt.h, which says more on each call.
///
///     planrt::Runtime runtime;
///     auto engine = planrt::Engine::from_file(runtime, "model.onnx");
///     planrt::Context context(engine);
///     context.run({planrt::Tensor::input("image", voxels, {1, 1, 128, 128, 128})},
///                 {planrt::Tensor::output("prob", probability)});
///
/// Ownership. Each class of a handle owns one, can be moved and not copied, and deletes it in its destructor. adopt() takes
/// a handle of planrt.h over, release() gives it up, get() lends it. One made by default or moved from is empty: false as a
/// condition, and calls on it throw or, where they cannot, give nothing. The library counts references: a context keeps its
/// engine and an engine its runtime, so objects may be destroyed in any order.
///
/// Errors. What fails throws planrt::Error, in constructors too. Memory for outputs is untouched then, unless a call says
/// otherwise.
///
/// Threads. Const member functions may be called by several threads at once, and beside them no others. Destroying,
/// assigning, moving and release() are one thread's, when no other uses the object.
///
/// Callbacks may be called on any thread, those of several requests one after the other, those of the log several at once.
/// What they throw is caught and dropped: it cannot pass through the library, and there is nobody on that thread to tell.
///
/// Units. Sizes are in bytes, shapes in elements, outermost dimension first. Strings are UTF-8.

#ifndef PLANRT_HPP
#define PLANRT_HPP

#include "planrt.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__has_include)
#if __cplusplus >= 202002L && __has_include(<ranges>)
#include <ranges>
#endif
#if __cplusplus >= 202302L && __has_include(<stdfloat>)
#include <stdfloat>
#endif
#endif

namespace planrt {

// ---------------------------------------------------------------------------------------------------------- constants

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
    self_test = PLANRT_ERROR_SELF_TEST,
    no_openvino = PLANRT_ERROR_NO_OPENVINO,
    openvino = PLANRT_ERROR_OPENVINO,
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
    openvino = PLANRT_BACKEND_OPENVINO,
    fastest_cpu = PLANRT_BACKEND_FASTEST_CPU,  ///< for EngineOptions only: OpenVINO where it is found, else cpu
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
    int16 = PLANRT_INT16,      ///< of host memory only: converted from and to a model's floating-point type
    uint16 = PLANRT_UINT16,    ///< of host memory only
    float64 = PLANRT_FLOAT64,  ///< of host memory only
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

/// In what a plan may compute beside float32; joined by `|`. planrt.h says what each means.
enum class Precision : planrt_precision {
    float32 = 0,
    tf32 = PLANRT_PRECISION_TF32,
    float16 = PLANRT_PRECISION_FLOAT16,
    bfloat16 = PLANRT_PRECISION_BFLOAT16,
    int8 = PLANRT_PRECISION_INT8,
    best = PLANRT_PRECISION_BEST,
    typed = PLANRT_PRECISION_TYPED,
};

constexpr Precision operator|(Precision one, Precision other) noexcept {
    return static_cast<Precision>(static_cast<planrt_precision>(one) | static_cast<planrt_precision>(other));
}

/// What a plan is to be capable of; joined by `|`. planrt.h says which versions of TensorRT have which.
enum class BuildFeatures : planrt_build_features {
    none = 0,
    version_compatible = PLANRT_BUILD_VERSION_COMPATIBLE,
    exclude_lean_runtime = PLANRT_BUILD_EXCLUDE_LEAN_RUNTIME,
    refittable = PLANRT_BUILD_REFITTABLE,
    strip_weights = PLANRT_BUILD_STRIP_WEIGHTS,
    weight_streaming = PLANRT_BUILD_WEIGHT_STREAMING,
    sparse_weights = PLANRT_BUILD_SPARSE_WEIGHTS,
    detailed_layers = PLANRT_BUILD_DETAILED_LAYERS,
};

constexpr BuildFeatures operator|(BuildFeatures one, BuildFeatures other) noexcept {
    return static_cast<BuildFeatures>(static_cast<planrt_build_features>(one) | static_cast<planrt_build_features>(other));
}

/// On which GPUs a plan is to run.
enum class HardwareCompatibility : planrt_hardware_compatibility {
    same = PLANRT_HARDWARE_SAME,
    ampere_plus = PLANRT_HARDWARE_AMPERE_PLUS,
    same_compute_capability = PLANRT_HARDWARE_SAME_COMPUTE_CAPABILITY,
};

/// Where TensorRT may take kernels from, beside its own; joined by `|`. planrt.h says which versions have which.
enum class Tactics : planrt_tactics {
    none = 0,
    cublas = PLANRT_TACTICS_CUBLAS,
    cublas_lt = PLANRT_TACTICS_CUBLAS_LT,
    cudnn = PLANRT_TACTICS_CUDNN,
    edge_mask_convolutions = PLANRT_TACTICS_EDGE_MASK_CONVOLUTIONS,
    jit_convolutions = PLANRT_TACTICS_JIT_CONVOLUTIONS,
};

constexpr Tactics operator|(Tactics one, Tactics other) noexcept {
    return static_cast<Tactics>(static_cast<planrt_tactics>(one) | static_cast<planrt_tactics>(other));
}

/// What computes InstanceNormalization.
enum class InstanceNormalization : planrt_instance_normalization {
    automatic = PLANRT_INSTANCE_NORMALIZATION_DEFAULT,
    native = PLANRT_INSTANCE_NORMALIZATION_NATIVE,
    plugin = PLANRT_INSTANCE_NORMALIZATION_PLUGIN,
    decomposed = PLANRT_INSTANCE_NORMALIZATION_DECOMPOSED,
};

/// A number that TensorRT knows of a plan; planrt.h says which versions do.
enum class Statistic : planrt_statistic {
    weights_size = PLANRT_STATISTIC_WEIGHTS_SIZE,
    stripped_weights_size = PLANRT_STATISTIC_STRIPPED_WEIGHTS_SIZE,
    streamable_weights_size = PLANRT_STATISTIC_STREAMABLE_WEIGHTS_SIZE,
    weight_streaming_budget = PLANRT_STATISTIC_WEIGHT_STREAMING_BUDGET,
    aux_streams = PLANRT_STATISTIC_AUX_STREAMS,
};

/// What a session does with one request more than its queue holds.
enum class WhenFull : planrt_when_full {
    refuse = PLANRT_WHEN_FULL_REFUSE,
    block = PLANRT_WHEN_FULL_BLOCK,
};

/// In which form a report comes.
enum class ReportFormat : planrt_report_format {
    text = PLANRT_REPORT_TEXT,
    json = PLANRT_REPORT_JSON,
};

// ------------------------------------------------------------------------------------------------------------- errors

/// What went wrong: what() is for people, code() for programs. A value; copying it does not throw.
class Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string& message, const std::string& detail = {}, int32_t cuda_code = 0)
        : std::runtime_error(message),
          code_(code),
          cuda_code_(cuda_code),
          detail_(std::make_shared<const std::string>(detail)) {}

    /// One that the library has added since this header was written is none of the enumerators.
    [[nodiscard]] ErrorCode code() const noexcept { return code_; }
    /// What the library underneath said of it (TensorRT's last lines); empty where there is nothing.
    [[nodiscard]] const std::string& detail() const noexcept { return *detail_; }
    /// The CUresult of the CUDA call that failed; 0 if none did.
    [[nodiscard]] int32_t cuda_code() const noexcept { return cuda_code_; }

private:
    ErrorCode code_;
    int32_t cuda_code_;
    std::shared_ptr<const std::string> detail_;
};

namespace detail {

inline std::string text(const char* text_or_null) {
    return text_or_null != nullptr ? std::string(text_or_null) : std::string();
}

}  // namespace detail

/// "PLANRT_ERROR_SHAPE", for logs; empty for a code that the library does not know.
[[nodiscard]] inline std::string name_of(ErrorCode code) {
    return detail::text(planrt_error_code_get_name(static_cast<planrt_error_code>(code)));
}

namespace detail {

inline Error copy(const planrt_error* error) {
    return Error(static_cast<ErrorCode>(planrt_error_get_code(error)), text(planrt_error_get_message(error)),
                 text(planrt_error_get_detail(error)), planrt_error_get_cuda_code(error));
}

using OwnedError = std::unique_ptr<planrt_error, decltype(&planrt_error_delete)>;

/// Throws the error, unless it is null.
inline void check(planrt_error* error) {
    if (error != nullptr) {
        const OwnedError owned(error, &planrt_error_delete);
        throw copy(error);
    }
}

inline std::string take_text(char* owned_text) {
    const std::unique_ptr<char, decltype(&planrt_string_delete)> owned(owned_text, &planrt_string_delete);
    return text(owned_text);
}

/// For the C interface, where a NUL would end the text early. It lives as long as `text`.
inline const char* c_string(const std::string& text) {
    if (text.find('\0') != std::string::npos) {
        throw Error(ErrorCode::invalid_argument, "a name or path has a NUL inside: " + text.substr(0, text.find('\0')));
    }
    return text.c_str();
}

inline std::string utf8(const std::filesystem::path& path) {
    const auto text = path.u8string();
    return std::string(text.begin(), text.end());
}

/// Rounded up, and held within what the C interface can say.
template <class Rep, class Period>
int64_t microseconds(std::chrono::duration<Rep, Period> time) {
    constexpr int64_t most = (std::numeric_limits<int64_t>::max)();
    const long double exact = std::chrono::duration<long double, std::micro>(time).count();
    if (exact >= static_cast<long double>(most)) {
        return most;
    }
    if (!(exact > -static_cast<long double>(most))) {
        return -most;
    }
    const auto whole = static_cast<int64_t>(exact);
    return static_cast<long double>(whole) < exact ? whole + 1 : whole;
}

/// As a time-out of planrt_request_wait and planrt_session_pump: a time that is over is none, the longest has no end.
template <class Rep, class Period>
int64_t timeout_us(std::chrono::duration<Rep, Period> timeout) {
    const int64_t time = microseconds(timeout);
    return time == (std::numeric_limits<int64_t>::max)() ? -1 : (std::max)(time, int64_t{0});
}

}  // namespace detail

// ------------------------------------------------------------------------------------------------------------ handles

namespace detail {

struct Adopt {};

/// For constructors that take this type only. As templates they do not take empty braces, which are meant for options and
/// lists.
template <class T, class Only>
using IfSame = std::enable_if_t<std::is_same_v<T, Only>, int>;

/// A handle of the C interface and its owner. `Self` is the class that derives from it.
template <class Self, class T, void (*Delete)(T*)>
class Handle {
public:
    /// An empty one, of `nullptr`.
    template <class Null, IfSame<Null, std::nullptr_t> = 0>
    Handle(Null) noexcept {}

    /// Takes a handle of the C interface over; null makes an empty object.
    [[nodiscard]] static Self adopt(T* handle) noexcept { return Self(Adopt{}, handle); }
    /// Gives the handle up: to delete it is the caller's part from here on.
    [[nodiscard]] T* release() noexcept { return owned_.release(); }

    /// The handle, for calls of planrt.h; null where there is none. It stays this object's.
    [[nodiscard]] const T* get() const noexcept { return owned_.get(); }
    [[nodiscard]] T* get() noexcept { return owned_.get(); }

    /// Whether there is one.
    explicit operator bool() const noexcept { return owned_ != nullptr; }

protected:
    Handle() noexcept = default;
    template <class Tag, IfSame<Tag, Adopt> = 0>
    Handle(Tag, T* handle) noexcept : owned_(handle) {}

private:
    struct Deleter {
        void operator()(T* handle) const noexcept { Delete(handle); }
    };
    std::unique_ptr<T, Deleter> owned_;
};

}  // namespace detail

// ------------------------------------------------------------------------------------------------------------ runtime

/// Called from any thread, several at once. It must not call planrt; planrt_log_callback in planrt.h says more.
using LogCallback = std::function<void(LogLevel level, const char* message)>;

/// Options of a Runtime. A value; what is not set keeps the library's default.
struct RuntimeOptions {
    std::optional<int32_t> device;         ///< ordinal of the GPU
    std::filesystem::path tensorrt_path;   ///< TensorRT's library, or the folder it is in; empty: looked for
    std::filesystem::path openvino_path;   ///< OpenVINO's library, or a folder that has it; empty: looked for
    std::vector<std::filesystem::path> plugin_libraries;
    std::optional<bool> standard_plugins;  ///< whether libnvinfer_plugin may be loaded when a plan asks for it
    /// Whether plans may bring code that runs on the host, as version-compatible ones do: for trusted plans only.
    std::optional<bool> engine_host_code_allowed;
    /// Kept until the last object that logs there is gone, wherever it is destroyed.
    LogCallback log;
    LogLevel log_level = LogLevel::warning;  ///< the most verbose level that reaches `log`
};

namespace detail {

inline void forward_log(void* user_data, planrt_log_level level, const char* message) noexcept {
    try {
        (*static_cast<const LogCallback*>(user_data))(static_cast<LogLevel>(level), message);
    } catch (...) {
        // An exception must not enter the library, and there is nobody else to tell.
    }
}

inline void release_log(void* user_data) noexcept {
    delete static_cast<LogCallback*>(user_data);
}

using RuntimeOptionsHandle = std::unique_ptr<planrt_runtime_options, decltype(&planrt_runtime_options_delete)>;

inline RuntimeOptionsHandle make_options(const RuntimeOptions& options) {
    planrt_runtime_options* raw = nullptr;
    check(planrt_runtime_options_new(&raw));
    RuntimeOptionsHandle handle(raw, &planrt_runtime_options_delete);
    if (options.device) {
        check(planrt_runtime_options_set_device(raw, *options.device));
    }
    if (!options.tensorrt_path.empty()) {
        check(planrt_runtime_options_set_tensorrt_path(raw, c_string(utf8(options.tensorrt_path))));
    }
    if (!options.openvino_path.empty()) {
        check(planrt_runtime_options_set_openvino_path(raw, c_string(utf8(options.openvino_path))));
    }
    for (const std::filesystem::path& library : options.plugin_libraries) {
        check(planrt_runtime_options_add_plugin_library(raw, c_string(utf8(library))));
    }
    if (options.standard_plugins) {
        check(planrt_runtime_options_set_standard_plugins(raw, *options.standard_plugins));
    }
    if (options.engine_host_code_allowed) {
        check(planrt_runtime_options_set_engine_host_code_allowed(raw, *options.engine_host_code_allowed));
    }
    if (options.log) {
        auto log = std::make_unique<LogCallback>(options.log);
        check(planrt_runtime_options_set_log(raw, &forward_log, log.get(), &release_log,
                                             static_cast<planrt_log_level>(options.log_level)));
        static_cast<void>(log.release());  // the library's now, until release_log
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

/// What was found and loaded: CUDA driver, TensorRT, device, log. Any thread, several at once.
class Runtime : public detail::Handle<Runtime, planrt_runtime, &planrt_runtime_delete> {
public:
    using Handle::Handle;

    /// Loads nothing yet: the driver and TensorRT are looked for when the first call needs them.
    explicit Runtime(const RuntimeOptions& options = {}) : Handle(detail::Adopt{}, create(options)) {}

    /// Loads TensorRT now, and throws with the reason where that cannot be.
    void load_tensorrt() const { detail::check(planrt_runtime_load_tensorrt(get())); }

    /// Loads OpenVINO now, and throws with the reason where that cannot be.
    void load_openvino() const { detail::check(planrt_runtime_load_openvino(get())); }

    /// What was found and what was not, with reasons, as JSON.
    [[nodiscard]] std::string describe() const {
        char* json = nullptr;
        detail::check(planrt_runtime_describe(get(), &json));
        return detail::take_text(json);
    }

private:
    static planrt_runtime* create(const RuntimeOptions& options) {
        detail::check_api_version();
        planrt_runtime* runtime = nullptr;
        detail::check(planrt_runtime_new(detail::make_options(options).get(), &runtime));
        return runtime;
    }
};

// -------------------------------------------------------------------------------------------------- shapes and elements

/// Extents in elements, outermost first; -1 where the model leaves one open.
using Shape = std::vector<int64_t>;

/// The elements that a shape without open extents holds; throws for one with them, and where no memory could hold so many.
[[nodiscard]] inline size_t element_count(const Shape& shape) {
    size_t count = 1;
    for (const int64_t extent : shape) {
        if (extent < 0) {
            throw Error(ErrorCode::shape, "a shape with the extent " + std::to_string(extent) +
                                              " has no number of elements; put the real one in its place");
        }
        const auto factor = static_cast<uint64_t>(extent);
        if (factor != 0 && count > (std::numeric_limits<size_t>::max)() / factor) {
            throw Error(ErrorCode::shape, "a shape has more elements than can be counted");
        }
        count *= static_cast<size_t>(factor);
    }
    return count;
}

/// Bytes of one element; 0 for a type that the library does not know.
[[nodiscard]] inline size_t size_of(ElementType type) noexcept {
    return planrt_element_type_get_size(static_cast<planrt_element_type>(type));
}

/// "float32", for people; empty for a type that the library does not know.
[[nodiscard]] inline std::string name_of(ElementType type) {
    return detail::text(planrt_element_type_get_name(static_cast<planrt_element_type>(type)));
}

/// The ElementType of a C++ type. C++17 has no 16-bit floating point types: specialize this for your own.
template <class T>
struct ElementTypeOf;
template <>
struct ElementTypeOf<float> : std::integral_constant<ElementType, ElementType::float32> {};
template <>
struct ElementTypeOf<double> : std::integral_constant<ElementType, ElementType::float64> {};
template <>
struct ElementTypeOf<int8_t> : std::integral_constant<ElementType, ElementType::int8> {};
template <>
struct ElementTypeOf<uint8_t> : std::integral_constant<ElementType, ElementType::uint8> {};
template <>
struct ElementTypeOf<int16_t> : std::integral_constant<ElementType, ElementType::int16> {};
template <>
struct ElementTypeOf<uint16_t> : std::integral_constant<ElementType, ElementType::uint16> {};
template <>
struct ElementTypeOf<int32_t> : std::integral_constant<ElementType, ElementType::int32> {};
template <>
struct ElementTypeOf<int64_t> : std::integral_constant<ElementType, ElementType::int64> {};
template <>
struct ElementTypeOf<bool> : std::integral_constant<ElementType, ElementType::boolean> {};
#if defined(__STDCPP_FLOAT16_T__)
template <>
struct ElementTypeOf<std::float16_t> : std::integral_constant<ElementType, ElementType::float16> {};
#endif
#if defined(__STDCPP_BFLOAT16_T__)
template <>
struct ElementTypeOf<std::bfloat16_t> : std::integral_constant<ElementType, ElementType::bfloat16> {};
#endif

template <class T>
inline constexpr ElementType element_type_of = ElementTypeOf<std::remove_cv_t<T>>::value;

// ------------------------------------------------------------------------------------------------------------ engines

/// What a model says of one of its inputs or outputs. A value.
struct TensorInfo {
    std::string name;
    TensorRole role;
    ElementType element_type;
    MemoryKind memory_kind;  ///< where an address bound to it must lie
    Shape shape;
    /// For each extent the name that the model gives it, if it leaves it open; empty where there is none. Extents of the same
    /// name have to be the same in one run.
    std::vector<std::string> dimension_names;
};

/// The shapes that one profile of a plan takes for one input. A value.
struct ProfileShape {
    Shape min;
    Shape opt;
    Shape max;
};

/// Options of an Engine. A value; what is not set keeps the library's default.
struct EngineOptions {
    std::optional<Backend> cpu_backend;      ///< what runs ONNX models: cpu, openvino or fastest_cpu
    std::optional<int32_t> cpu_threads;      ///< 0: all cores
    std::optional<int32_t> cpu_shape_cache;  ///< shapes for which the CPU backend keeps a prepared model
    std::filesystem::path lean_runtime;  ///< libnvinfer_lean that is to run a version-compatible plan; empty: none
    /// Device memory that a plan's weights may take, or PLANRT_WEIGHT_STREAMING_AUTOMATIC.
    std::optional<int64_t> weight_streaming_budget_bytes;
    /// Whether a model folder none of whose plans runs here may run its ONNX model on the CPU.
    std::optional<bool> cpu_allowed;
    /// Whether a model folder with a head is loaded without it: what the engine gives is features.
    std::optional<bool> features_allowed;
};

/// How a model is measured: see planrt_bench.
struct BenchSettings {
    int32_t streams = 1;           ///< contexts that run side by side
    int32_t concurrency = 0;       ///< threads that ask a session, which is measured instead; 0: contexts
    int32_t largest_batch = 0;     ///< the session's; 0: its own choice
    bool use_cuda_graph = false;
    bool data_transfers = true;    ///< inputs come from the host in each run, and outputs go there
    int32_t least_runs = 10;       ///< of each stream or thread
    std::chrono::microseconds warm_up = std::chrono::milliseconds(200);
    std::chrono::microseconds duration = std::chrono::seconds(3);
    std::vector<double> percentiles = {90, 95, 99};
};

struct BuildOptions;

/// A loaded model. Any thread, several at once. It keeps what it needs of its runtime.
class Engine : public detail::Handle<Engine, planrt_engine, &planrt_engine_delete> {
public:
    using Handle::Handle;
    Engine() noexcept = default;

    /// Loads a TensorRT plan or an ONNX model, told apart by content.
    [[nodiscard]] static Engine from_file(const Runtime& runtime, const std::filesystem::path& path,
                                          const EngineOptions& options = {}) {
        planrt_engine* engine = nullptr;
        detail::check(planrt_engine_load_file(runtime.get(), detail::c_string(detail::utf8(path)),
                                              make_options(options).get(), &engine));
        return adopt(engine);
    }

    /// The same from memory, which need not outlive the call.
    [[nodiscard]] static Engine from_memory(const Runtime& runtime, const void* data, size_t size_bytes,
                                            const EngineOptions& options = {}) {
        planrt_engine* engine = nullptr;
        detail::check(
            planrt_engine_load_memory(runtime.get(), data, size_bytes, make_options(options).get(), &engine));
        return adopt(engine);
    }

    /// Loads a model folder: every file held against its hash, the plan that runs here, or the ONNX model on the CPU where that
    /// is allowed.
    [[nodiscard]] static Engine from_folder(const Runtime& runtime, const std::filesystem::path& folder,
                                            const EngineOptions& options = {}) {
        planrt_engine* engine = nullptr;
        detail::check(planrt_engine_load_folder(runtime.get(), detail::c_string(detail::utf8(folder)),
                                                make_options(options).get(), &engine));
        return adopt(engine);
    }

    /// The same, and where none of its plans runs here builds one from its ONNX model, kept in the file `plan` by one process
    /// for all.
    [[nodiscard]] static Engine from_folder(const Runtime& runtime, const std::filesystem::path& folder,
                                            const BuildOptions& build, const std::filesystem::path& plan,
                                            const EngineOptions& options = {});

    /// Runs the test vectors of the folder that this engine was loaded from; what was found, as JSON. Throws
    /// ErrorCode::self_test where the model's answers are others: it is not to be used here then.
    std::string self_test(const std::filesystem::path& folder) const {
        char* report = nullptr;
        detail::check(planrt_engine_self_test(get(), detail::c_string(detail::utf8(folder)), &report));
        return detail::take_text(report);
    }

    [[nodiscard]] Backend backend() const noexcept { return static_cast<Backend>(planrt_engine_get_backend(get())); }
    [[nodiscard]] std::string name() const { return detail::text(planrt_engine_get_name(get())); }
    [[nodiscard]] std::string device_name() const { return detail::text(planrt_engine_get_device_name(get())); }

    /// All inputs and outputs: inputs come first, each in the model's order.
    [[nodiscard]] std::vector<TensorInfo> tensors() const {
        std::vector<TensorInfo> all;
        const int32_t count = planrt_engine_get_tensor_count(get());
        for (int32_t index = 0; index < count; ++index) {
            all.push_back(tensor(index));
        }
        return all;
    }

    [[nodiscard]] TensorInfo tensor(const std::string& name) const {
        int32_t index = 0;
        detail::check(planrt_engine_find_tensor(get(), detail::c_string(name), &index));
        return tensor(index);
    }

    /// 0 on the CPU, where every shape goes that the model takes.
    [[nodiscard]] int32_t profile_count() const noexcept { return planrt_engine_get_profile_count(get()); }

    [[nodiscard]] ProfileShape profile_shape(int32_t profile, const std::string& input) const {
        planrt_profile_shape shape{};
        shape.struct_size = sizeof shape;
        detail::check(planrt_engine_get_profile_shape(get(), profile, detail::c_string(input), &shape));
        return {Shape(shape.min, shape.min + shape.rank), Shape(shape.opt, shape.opt + shape.rank),
                Shape(shape.max, shape.max + shape.rank)};
    }

    /// Bytes of device memory that one context needs; 0 on the CPU.
    [[nodiscard]] size_t device_memory_size() const noexcept { return planrt_engine_get_device_memory_size(get()); }

    /// The same under one profile.
    [[nodiscard]] size_t device_memory_size(int32_t profile) const {
        size_t bytes = 0;
        detail::check(planrt_engine_get_profile_device_memory_size(get(), profile, &bytes));
        return bytes;
    }

    [[nodiscard]] int64_t statistic(Statistic statistic) const {
        int64_t value = 0;
        detail::check(planrt_engine_get_statistic(get(), static_cast<planrt_statistic>(statistic), &value));
        return value;
    }

    /// What the model's file says of itself, as JSON; planrt_engine_get_metadata_json says what there is.
    [[nodiscard]] std::string metadata_json() const {
        char* json = nullptr;
        detail::check(planrt_engine_get_metadata_json(get(), &json));
        return detail::take_text(json);
    }

    /// The layers as TensorRT's inspector tells them, or an ONNX model's nodes in the same form.
    [[nodiscard]] std::string layers_json() const {
        char* json = nullptr;
        detail::check(planrt_engine_get_layers_json(get(), &json));
        return detail::take_text(json);
    }

    /// The layers with their precisions and, for more than 0 runs, how long each takes. `shapes` are the inputs', by name.
    [[nodiscard]] std::string inspect(const std::map<std::string, Shape>& shapes = {}, int32_t runs = 0,
                                      ReportFormat format = ReportFormat::text) const {
        const auto given = input_shapes(shapes);
        char* report = nullptr;
        detail::check(planrt_inspect(get(), given.data(), given.size(), runs, static_cast<planrt_report_format>(format), &report));
        return detail::take_text(report);
    }

    /// Throughput and latency.
    [[nodiscard]] std::string bench(const std::map<std::string, Shape>& shapes = {}, const BenchSettings& settings = {},
                                    ReportFormat format = ReportFormat::text) const {
        const auto given = input_shapes(shapes);
        planrt_bench_settings raw{};
        raw.struct_size = sizeof raw;
        raw.streams = settings.streams;
        raw.concurrency = settings.concurrency;
        raw.largest_batch = settings.largest_batch;
        raw.use_cuda_graph = settings.use_cuda_graph ? 1 : 0;
        raw.no_data_transfers = settings.data_transfers ? 0 : 1;
        raw.least_runs = settings.least_runs;
        // In C 0 is the default, and -1 none.
        const auto time = [](std::chrono::microseconds us) { return us.count() == 0 ? int64_t{-1} : int64_t{us.count()}; };
        raw.warm_up_us = time(settings.warm_up);
        raw.duration_us = time(settings.duration);
        raw.percentiles = settings.percentiles.data();
        raw.percentile_count = settings.percentiles.size();
        char* report = nullptr;
        detail::check(planrt_bench(get(), given.data(), given.size(), &raw, static_cast<planrt_report_format>(format), &report));
        return detail::take_text(report);
    }

private:
    friend class Segmenter;

    using OptionsHandle = std::unique_ptr<planrt_engine_options, decltype(&planrt_engine_options_delete)>;

    /// Good for as long as `shapes` are.
    static std::vector<planrt_input_shape> input_shapes(const std::map<std::string, Shape>& shapes) {
        std::vector<planrt_input_shape> given;
        for (const auto& [name, shape] : shapes) {
            if (shape.size() > PLANRT_MAX_RANK) throw std::invalid_argument("planrt: the shape of an input has too high a rank");
            planrt_input_shape one{};
            one.struct_size = sizeof one;
            one.name = detail::c_string(name);
            one.rank = static_cast<int32_t>(shape.size());
            std::copy(shape.begin(), shape.end(), one.shape);
            given.push_back(one);
        }
        return given;
    }

    static OptionsHandle make_options(const EngineOptions& options) {
        planrt_engine_options* raw = nullptr;
        detail::check(planrt_engine_options_new(&raw));
        OptionsHandle handle(raw, &planrt_engine_options_delete);
        if (options.cpu_backend) {
            detail::check(planrt_engine_options_set_cpu_backend(raw, static_cast<planrt_backend>(*options.cpu_backend)));
        }
        if (options.cpu_threads) {
            detail::check(planrt_engine_options_set_cpu_threads(raw, *options.cpu_threads));
        }
        if (options.cpu_shape_cache) {
            detail::check(planrt_engine_options_set_cpu_shape_cache(raw, *options.cpu_shape_cache));
        }
        if (options.cpu_allowed) {
            detail::check(planrt_engine_options_set_cpu_allowed(raw, *options.cpu_allowed));
        }
        if (options.features_allowed) {
            detail::check(planrt_engine_options_set_features_allowed(raw, *options.features_allowed));
        }
        if (!options.lean_runtime.empty()) {
            detail::check(
                planrt_engine_options_set_lean_runtime(raw, detail::c_string(detail::utf8(options.lean_runtime))));
        }
        if (options.weight_streaming_budget_bytes) {
            detail::check(
                planrt_engine_options_set_weight_streaming_budget(raw, *options.weight_streaming_budget_bytes));
        }
        return handle;
    }

    TensorInfo tensor(int32_t index) const {
        planrt_tensor_info info{};
        info.struct_size = sizeof info;
        detail::check(planrt_engine_get_tensor_info(get(), index, &info));
        std::vector<std::string> dimension_names;
        for (int32_t axis = 0; axis < info.rank; ++axis) {
            dimension_names.push_back(detail::text(planrt_engine_get_dimension_name(get(), index, axis)));
        }
        return {detail::text(info.name),
                static_cast<TensorRole>(info.role),
                static_cast<ElementType>(info.element_type),
                static_cast<MemoryKind>(info.memory_kind),
                Shape(info.shape, info.shape + info.rank),
                std::move(dimension_names)};
    }
};

/// How far a build is: `done` of `steps` steps of a phase, which may be part of another (`parent`, else empty). False ends
/// it. Called one at a time during the build, also from TensorRT's threads; what it throws ends the build.
using BuildProgress =
    std::function<bool(const std::string& phase, const std::string& parent, int32_t done, int32_t steps)>;

/// Options of a build. A value; what is not set keeps the library's default. See planrt_build_options_set_….
struct BuildOptions {
    std::vector<std::map<std::string, ProfileShape>> profiles;  ///< for each the shapes of the inputs, by name
    Precision precision = Precision::float32;
    BuildFeatures features = BuildFeatures::none;
    std::vector<std::string> float32_nodes;                     ///< nodes of the model that stay in float32
    std::vector<std::string> float32_operators;                 ///< operators whose nodes do
    std::optional<size_t> workspace_limit_bytes;
    std::filesystem::path timing_cache;  ///< empty: none
    std::optional<int32_t> optimization_level;
    Tactics use_tactics_too = Tactics::none;  ///< beside those that TensorRT uses of its own accord
    Tactics use_tactics_not = Tactics::none;
    std::optional<HardwareCompatibility> hardware_compatibility;
    std::optional<InstanceNormalization> instance_normalization;
    std::filesystem::path weights_folder;  ///< of a model from memory that keeps weights in other files
    BuildProgress progress;
};

/// A plan in memory, built from an ONNX model. Any thread may use it.
class Plan : public detail::Handle<Plan, planrt_plan, &planrt_plan_delete> {
public:
    using Handle::Handle;
    Plan() noexcept = default;

    /// Builds a plan from an ONNX file. Minutes may pass.
    [[nodiscard]] static Plan from_onnx(const Runtime& runtime, const std::filesystem::path& path,
                                        const BuildOptions& options = {}) {
        planrt_plan* plan = nullptr;
        detail::check(planrt_build_file(runtime.get(), detail::c_string(detail::utf8(path)),
                                        make_options(options).get(), &plan));
        return adopt(plan);
    }

    /// The same from memory, which need not outlive the call.
    [[nodiscard]] static Plan from_onnx_memory(const Runtime& runtime, const void* data, size_t size_bytes,
                                               const BuildOptions& options = {}) {
        planrt_plan* plan = nullptr;
        detail::check(planrt_build_memory(runtime.get(), data, size_bytes, make_options(options).get(), &plan));
        return adopt(plan);
    }

    /// A plan with the weights of an ONNX file of the graph that it was built from. It was built with
    /// BuildFeatures::refittable, or without its weights. Of `options` the InstanceNormalization, which is to be as it was
    /// built, the folder of weights and the progress count.
    [[nodiscard]] static Plan refitted(const Runtime& runtime, const std::filesystem::path& plan_path,
                                       const std::filesystem::path& onnx_path, const BuildOptions& options = {}) {
        planrt_plan* plan = nullptr;
        detail::check(planrt_refit_file(runtime.get(), detail::c_string(detail::utf8(plan_path)),
                                        detail::c_string(detail::utf8(onnx_path)), make_options(options).get(), &plan));
        return adopt(plan);
    }

    /// The same from memory, which need not outlive the call.
    [[nodiscard]] static Plan refitted_memory(const Runtime& runtime, const void* plan_data, size_t plan_bytes,
                                              const void* onnx, size_t onnx_bytes, const BuildOptions& options = {}) {
        planrt_plan* plan = nullptr;
        detail::check(planrt_refit_memory(runtime.get(), plan_data, plan_bytes, onnx, onnx_bytes,
                                          make_options(options).get(), &plan));
        return adopt(plan);
    }

    /// The bytes, for Engine::from_memory.
    [[nodiscard]] const void* data() const noexcept { return planrt_plan_get_data(get()); }
    [[nodiscard]] size_t size_bytes() const noexcept { return planrt_plan_get_size(get()); }

    /// Writes the file whole or not at all.
    void save(const std::filesystem::path& path) const {
        detail::check(planrt_plan_save(get(), detail::c_string(detail::utf8(path))));
    }

private:
    friend class Engine;
    using OptionsHandle = std::unique_ptr<planrt_build_options, decltype(&planrt_build_options_delete)>;

    static bool forward_progress(void* user_data, const char* phase, const char* parent, int32_t done,
                                 int32_t steps) noexcept {
        try {
            return (*static_cast<const BuildProgress*>(user_data))(phase, parent != nullptr ? parent : "", done, steps);
        } catch (...) {
            return false;
        }
    }

    /// Good for as long as `options` are.
    static OptionsHandle make_options(const BuildOptions& options) {
        planrt_build_options* raw = nullptr;
        detail::check(planrt_build_options_new(&raw));
        OptionsHandle handle(raw, &planrt_build_options_delete);
        int32_t number = 0;
        for (const auto& profile : options.profiles) {
            for (const auto& [input, bounds] : profile) {
                if (bounds.min.size() > PLANRT_MAX_RANK || bounds.opt.size() != bounds.min.size() ||
                    bounds.max.size() != bounds.min.size())
                    throw std::invalid_argument("planrt: the shapes of a profile have different ranks, or too high ones");
                planrt_profile_shape shape{};
                shape.struct_size = sizeof shape;
                shape.rank = static_cast<int32_t>(bounds.min.size());
                std::copy(bounds.min.begin(), bounds.min.end(), shape.min);
                std::copy(bounds.opt.begin(), bounds.opt.end(), shape.opt);
                std::copy(bounds.max.begin(), bounds.max.end(), shape.max);
                detail::check(planrt_build_options_set_profile_shape(raw, number, detail::c_string(input), &shape));
            }
            ++number;
        }
        detail::check(planrt_build_options_set_precision(raw, static_cast<planrt_precision>(options.precision)));
        detail::check(planrt_build_options_set_features(raw, static_cast<planrt_build_features>(options.features)));
        for (const auto& node : options.float32_nodes)
            detail::check(planrt_build_options_keep_float32_node(raw, detail::c_string(node)));
        for (const auto& type : options.float32_operators)
            detail::check(planrt_build_options_keep_float32_operator(raw, detail::c_string(type)));
        if (options.workspace_limit_bytes)
            detail::check(planrt_build_options_set_workspace_limit(raw, *options.workspace_limit_bytes));
        if (!options.timing_cache.empty())
            detail::check(
                planrt_build_options_set_timing_cache(raw, detail::c_string(detail::utf8(options.timing_cache))));
        if (options.optimization_level)
            detail::check(planrt_build_options_set_optimization_level(raw, *options.optimization_level));
        detail::check(planrt_build_options_set_tactics(raw, static_cast<planrt_tactics>(options.use_tactics_too),
                                                       static_cast<planrt_tactics>(options.use_tactics_not)));
        if (options.hardware_compatibility)
            detail::check(planrt_build_options_set_hardware_compatibility(raw, static_cast<planrt_hardware_compatibility>(*options.hardware_compatibility)));
        if (options.instance_normalization)
            detail::check(planrt_build_options_set_instance_normalization(raw, static_cast<planrt_instance_normalization>(*options.instance_normalization)));
        if (!options.weights_folder.empty())
            detail::check(
                planrt_build_options_set_weights_folder(raw, detail::c_string(detail::utf8(options.weights_folder))));
        if (options.progress)
            detail::check(planrt_build_options_set_progress(
                raw, &forward_progress, const_cast<BuildProgress*>(&options.progress)));
        return handle;
    }
};

inline Engine Engine::from_folder(const Runtime& runtime, const std::filesystem::path& folder, const BuildOptions& build,
                                  const std::filesystem::path& plan, const EngineOptions& options) {
    const auto handle = make_options(options);
    detail::check(planrt_engine_options_set_build(handle.get(), Plan::make_options(build).get(),
                                                  detail::c_string(detail::utf8(plan))));
    planrt_engine* engine = nullptr;
    detail::check(planrt_engine_load_folder(runtime.get(), detail::c_string(detail::utf8(folder)), handle.get(), &engine));
    return adopt(engine);
}

// ------------------------------------------------------------------------------------------------- memory and streams

/// Device, pinned or host memory; the memory is this object's too, unless it was wrapped. The handle: any thread, several at
/// once; what is in the memory is its users' to arrange.
class Buffer : public detail::Handle<Buffer, planrt_buffer, &planrt_buffer_delete> {
public:
    using Handle::Handle;
    Buffer() noexcept = default;

    /// Host memory is aligned to 64 bytes and zeroed.
    Buffer(const Runtime& runtime, MemoryKind kind, size_t size_bytes) : Handle(detail::Adopt{}, create(runtime, kind, size_bytes)) {}

    /// The application's own memory, which must outlive this object.
    [[nodiscard]] static Buffer wrap(const Runtime& runtime, MemoryKind kind, void* address, size_t size_bytes) {
        planrt_buffer* buffer = nullptr;
        detail::check(
            planrt_buffer_wrap(runtime.get(), static_cast<planrt_memory_kind>(kind), address, size_bytes, &buffer));
        return adopt(buffer);
    }

    /// A host address, or a CUdeviceptr for device memory.
    [[nodiscard]] void* data() const noexcept { return planrt_buffer_get_data(get()); }
    /// In bytes.
    [[nodiscard]] size_t size() const noexcept { return planrt_buffer_get_size(get()); }
    [[nodiscard]] MemoryKind kind() const noexcept { return static_cast<MemoryKind>(planrt_buffer_get_kind(get())); }

private:
    static planrt_buffer* create(const Runtime& runtime, MemoryKind kind, size_t size_bytes) {
        planrt_buffer* buffer = nullptr;
        detail::check(planrt_buffer_new(runtime.get(), static_cast<planrt_memory_kind>(kind), size_bytes, &buffer));
        return buffer;
    }
};

/// A CUDA stream; it is this object's too, unless it was wrapped. Any thread, one at a time: the order of what several give
/// it is theirs to arrange.
class Stream : public detail::Handle<Stream, planrt_stream, &planrt_stream_delete> {
public:
    using Handle::Handle;
    Stream() noexcept = default;

    /// Lower priorities go first; 0 is the ordinary one.
    explicit Stream(const Runtime& runtime, int32_t priority = 0) : Handle(detail::Adopt{}, create(runtime, priority)) {}

    /// The application's own CUstream, which must outlive this object; null is the legacy default stream.
    [[nodiscard]] static Stream wrap(const Runtime& runtime, void* cuda_stream) {
        planrt_stream* stream = nullptr;
        detail::check(planrt_stream_wrap(runtime.get(), cuda_stream, &stream));
        return adopt(stream);
    }

    /// The CUstream.
    [[nodiscard]] void* native() const noexcept { return planrt_stream_get_native(get()); }

    /// Waits for all work that the stream holds.
    void synchronize() { detail::check(planrt_stream_synchronize(get())); }

    /// Whether all work that the stream holds is done.
    [[nodiscard]] bool query() {
        bool done = false;
        detail::check(planrt_stream_query(get(), &done));
        return done;
    }

    /// What is put on this stream from here on waits for what `other` holds now.
    void wait_for(Stream& other) { detail::check(planrt_stream_wait_for(get(), other.get())); }

    /// Copies between any of host and device, asynchronously: both must live until the stream has passed the copy.
    void copy(void* to, const void* from, size_t size_bytes) {
        detail::check(planrt_stream_copy(get(), to, from, size_bytes));
    }

private:
    static planrt_stream* create(const Runtime& runtime, int32_t priority) {
        planrt_stream* stream = nullptr;
        detail::check(planrt_stream_new(runtime.get(), priority, &stream));
        return stream;
    }
};

// ------------------------------------------------------------------------------------------------------------ tensors

/// Whether objects of a type only point to elements that live elsewhere, so that the elements outlive a temporary of that
/// type: true for Span, in C++20 for std::span and other borrowed ranges. Specialize it for a view of your own.
template <class View>
inline constexpr bool is_view =
#if defined(__cpp_lib_ranges)
    std::ranges::enable_borrowed_range<View>;
#else
    false;
#endif

namespace detail {

template <class Container>
using ElementOf = std::remove_pointer_t<decltype(std::data(std::declval<Container&>()))>;

/// Elements one after the other, of a type that tensors have.
template <class Container, class = void>
inline constexpr bool is_contiguous = false;
template <class Container>
inline constexpr bool
    is_contiguous<Container, std::void_t<decltype(std::size(std::declval<Container&>())),
                                         decltype(ElementTypeOf<std::remove_cv_t<ElementOf<Container>>>::value)>> =
        true;

/// A container that would be gone, with its elements, before a request has used them. `Container` as a forwarding
/// reference deduces it.
template <class Container>
inline constexpr bool is_temporary =
    !std::is_lvalue_reference_v<Container> && !is_view<std::remove_cv_t<std::remove_reference_t<Container>>>;

template <class Container>
using IfReadable = std::enable_if_t<is_contiguous<Container> && !is_temporary<Container>, int>;
template <class Container>
using IfWritable = std::enable_if_t<
    is_contiguous<Container> && !is_temporary<Container> && !std::is_const_v<ElementOf<Container>>, int>;
template <class Container>
using IfTemporary = std::enable_if_t<is_contiguous<Container> && is_temporary<Container>, int>;

inline int32_t rank_of(const Shape& shape) {
    if (shape.size() > PLANRT_MAX_RANK) {
        throw Error(ErrorCode::invalid_argument, "a shape has " + std::to_string(shape.size()) +
                                                     " dimensions; planrt takes " + std::to_string(PLANRT_MAX_RANK));
    }
    return static_cast<int32_t>(shape.size());
}

}  // namespace detail

/// Elements in host memory that somebody else owns: what std::span is from C++20 on.
template <class T>
class Span {
public:
    constexpr Span() noexcept = default;
    constexpr Span(T* data, size_t size) noexcept : data_(data), size_(size) {}

    /// Of a std::vector, std::array, array, std::span or any other contiguous container; not of a temporary one.
    template <class Container,
              std::enable_if_t<!detail::is_temporary<Container> &&
                                   std::is_convertible_v<detail::ElementOf<Container> (*)[], T (*)[]>,
                               int> = 0>
    constexpr Span(Container&& elements) noexcept : data_(std::data(elements)), size_(std::size(elements)) {}

    [[nodiscard]] constexpr T* data() const noexcept { return data_; }
    [[nodiscard]] constexpr size_t size() const noexcept { return size_; }
    [[nodiscard]] constexpr size_t size_bytes() const noexcept { return size_ * sizeof(T); }
    [[nodiscard]] constexpr bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] constexpr T* begin() const noexcept { return data_; }
    [[nodiscard]] constexpr T* end() const noexcept { return data_ + size_; }
    [[nodiscard]] constexpr T& operator[](size_t index) const noexcept { return data_[index]; }

private:
    T* data_ = nullptr;
    size_t size_ = 0;
};

template <class T>
inline constexpr bool is_view<Span<T>> = true;

/// A named view of elements: for Context::run in host or pinned memory, for a request of a Session in device memory too. A
/// value that does not own the elements: they must outlive the run or request, so temporary containers are refused at
/// compile time. They are dense, and of the model's type; in host memory float for a model's 16-bit type is converted.
class Tensor {
public:
    /// Elements in host memory that the model reads: of a std::vector or any other contiguous container, a Span, a
    /// std::span.
    template <class Container, detail::IfReadable<Container> = 0>
    [[nodiscard]] static Tensor input(std::string name, Container&& elements, Shape shape) {
        using Element = detail::ElementOf<Container>;
        return input(std::move(name), std::data(elements), std::size(elements) * sizeof(Element),
                     element_type_of<Element>, std::move(shape), MemoryKind::host);
    }
    /// A temporary container's elements are gone before they are read: give it a name that lives as long as the request.
    template <class Container, detail::IfTemporary<Container> = 0>
    static Tensor input(std::string name, Container&& elements, Shape shape) = delete;

    /// A buffer's memory, of its kind.
    [[nodiscard]] static Tensor input(std::string name, const Buffer& buffer, ElementType type, Shape shape) {
        return input(std::move(name), buffer.data(), buffer.size(), type, std::move(shape), buffer.kind());
    }
    static Tensor input(std::string name, const Buffer&& buffer, ElementType type, Shape shape) = delete;

    [[nodiscard]] static Tensor input(std::string name, const void* data, size_t size_bytes, ElementType type,
                                      Shape shape, MemoryKind kind = MemoryKind::host) {
        return Tensor(std::move(name), data, nullptr, size_bytes, type, std::move(shape), kind);
    }

    /// Elements in host memory that the model writes, from the first one on; there may be more of them than the output has.
    template <class Container, detail::IfWritable<Container> = 0>
    [[nodiscard]] static Tensor output(std::string name, Container&& elements) {
        using Element = detail::ElementOf<Container>;
        return output(std::move(name), std::data(elements), std::size(elements) * sizeof(Element),
                      element_type_of<Element>, MemoryKind::host);
    }
    /// A temporary container's elements are gone before they are written.
    template <class Container, detail::IfTemporary<Container> = 0>
    static Tensor output(std::string name, Container&& elements) = delete;

    [[nodiscard]] static Tensor output(std::string name, const Buffer& buffer, ElementType type) {
        return output(std::move(name), buffer.data(), buffer.size(), type, buffer.kind());
    }
    static Tensor output(std::string name, const Buffer&& buffer, ElementType type) = delete;

    [[nodiscard]] static Tensor output(std::string name, void* data, size_t size_bytes, ElementType type,
                                       MemoryKind kind = MemoryKind::host) {
        return Tensor(std::move(name), nullptr, data, size_bytes, type, {}, kind);
    }

    /// For calls of planrt.h: it points into this object.
    [[nodiscard]] planrt_tensor get() const& {
        planrt_tensor tensor{};
        tensor.struct_size = sizeof tensor;
        tensor.name = detail::c_string(name_);
        tensor.input_data = input_data_;
        tensor.output_data = output_data_;
        tensor.size_bytes = size_bytes_;
        tensor.element_type = static_cast<planrt_element_type>(type_);
        tensor.memory_kind = static_cast<planrt_memory_kind>(kind_);
        tensor.rank = detail::rank_of(shape_);
        std::copy(shape_.begin(), shape_.end(), tensor.shape);
        return tensor;
    }
    planrt_tensor get() const&& = delete;

private:
    Tensor(std::string name, const void* input_data, void* output_data, size_t size_bytes, ElementType type,
           Shape shape, MemoryKind kind)
        : name_(std::move(name)),
          input_data_(input_data),
          output_data_(output_data),
          size_bytes_(size_bytes),
          type_(type),
          shape_(std::move(shape)),
          kind_(kind) {}

    std::string name_;
    const void* input_data_;
    void* output_data_;
    size_t size_bytes_;
    ElementType type_;
    Shape shape_;
    MemoryKind kind_;
};

namespace detail {

/// They point into `tensors`.
inline std::vector<planrt_tensor> c_tensors(const std::vector<Tensor>& tensors) {
    std::vector<planrt_tensor> all;
    all.reserve(tensors.size());
    for (const Tensor& tensor : tensors) {
        all.push_back(tensor.get());
    }
    return all;
}

}  // namespace detail

// ----------------------------------------------------------------------------------------------------------- contexts

/// One execution context: shapes, addresses, runs. One thread at a time, except for cancel(). It keeps its engine.
class Context : public detail::Handle<Context, planrt_context, &planrt_context_delete> {
public:
    using Handle::Handle;
    Context() noexcept = default;

    explicit Context(const Engine& engine) : Handle(detail::Adopt{}, create(engine)) {}

    /// One without device memory of its own: set_device_memory() lends it some. Contexts that take turns can share it.
    [[nodiscard]] static Context without_memory(const Engine& engine) {
        planrt_context* context = nullptr;
        detail::check(planrt_context_new_without_memory(engine.get(), &context));
        return adopt(context);
    }

    /// Fixes the optimization profile, or with -1 (the default) leaves the choice to the shapes.
    void set_profile(int32_t profile) { detail::check(planrt_context_set_profile(get(), profile)); }

    /// The optimization profile in use; -1 where there is none.
    [[nodiscard]] int32_t profile() {
        int32_t profile = 0;
        detail::check(planrt_context_get_profile(get(), &profile));
        return profile;
    }

    void set_shape(const std::string& input, const Shape& shape) {
        detail::check(
            planrt_context_set_shape(get(), detail::c_string(input), shape.data(), detail::rank_of(shape)));
    }

    /// The shape of an input, or of an output once the inputs have theirs.
    [[nodiscard]] Shape shape(const std::string& tensor) {
        int64_t shape[PLANRT_MAX_RANK] = {};
        int32_t rank = 0;
        detail::check(planrt_context_get_shape(get(), detail::c_string(tensor), shape, &rank));
        return Shape(shape, shape + rank);
    }

    /// Bytes of a tensor with the shapes as they are, in the model's own element type.
    [[nodiscard]] size_t size(const std::string& tensor) {
        size_t bytes = 0;
        detail::check(planrt_context_get_size(get(), detail::c_string(tensor), &bytes));
        return bytes;
    }

    /// Runs from host memory to host memory, and returns when the outputs are written. Every input must be given, and
    /// its shape is set; an output that is not given is dropped. On an error the outputs hold what they held, unless the
    /// device itself fails while they are copied.
    void run(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs) {
        const std::vector<planrt_tensor> c_inputs = detail::c_tensors(inputs);
        const std::vector<planrt_tensor> c_outputs = detail::c_tensors(outputs);
        detail::check(planrt_context_run(get(), c_inputs.data(), c_inputs.size(), c_outputs.data(), c_outputs.size()));
    }

    /// The shape that an output had in the last run, given or dropped, also where it depends on the data: give memory for the
    /// largest that can come, and ask afterwards how much of it was written.
    [[nodiscard]] Shape output_shape(const std::string& output) {
        int64_t shape[PLANRT_MAX_RANK] = {};
        int32_t rank = 0;
        detail::check(planrt_context_get_output_shape(get(), detail::c_string(output), shape, &rank));
        return Shape(shape, shape + rank);
    }

    /// Memory of the tensor's MemoryKind, for enqueue(): it must live until other memory is bound and the enqueued work
    /// has ended.
    void bind(const std::string& tensor, void* address, size_t size_bytes) {
        detail::check(planrt_context_bind(get(), detail::c_string(tensor), address, size_bytes));
    }
    void bind(const std::string& tensor, const Buffer& buffer) { bind(tensor, buffer.data(), buffer.size()); }
    void bind(const std::string& tensor, const Buffer&& buffer) = delete;

    /// Bytes of device memory that a run takes with the shapes as they are.
    [[nodiscard]] size_t device_memory_size() {
        size_t bytes = 0;
        detail::check(planrt_context_get_device_memory_size(get(), &bytes));
        return bytes;
    }

    /// Device memory for a context made without: it must live until other memory is lent and the enqueued work has ended.
    void set_device_memory(void* address, size_t size_bytes) {
        detail::check(planrt_context_set_device_memory(get(), address, size_bytes));
    }
    void set_device_memory(const Buffer& buffer) { set_device_memory(buffer.data(), buffer.size()); }
    void set_device_memory(const Buffer&& buffer) = delete;

    /// Streams for the parts of a run that may go beside one another; they must outlive the context's work.
    void set_aux_streams(const std::vector<Stream*>& streams) {
        std::vector<planrt_stream*> handles;
        for (Stream* stream : streams) {
            handles.push_back(stream != nullptr ? stream->get() : nullptr);
        }
        detail::check(planrt_context_set_aux_streams(get(), handles.data(), handles.size()));
    }

    /// Runs on the bound memory, asynchronously on the stream, which must outlive the work.
    void enqueue(Stream& stream) { detail::check(planrt_context_enqueue(get(), stream.get())); }

    /// The same on the CPU, where there are no streams and the run is done when this returns.
    void enqueue() { detail::check(planrt_context_enqueue(get(), nullptr)); }

    /// Asks the run under way, or else the next one, to end with ErrorCode::cancelled. From any thread.
    void cancel() const noexcept { planrt_context_cancel(get()); }

private:
    static planrt_context* create(const Engine& engine) {
        planrt_context* context = nullptr;
        detail::check(planrt_context_new(engine.get(), &context));
        return context;
    }
};

// ----------------------------------------------------------------------------------------------------------- requests

/// Called once with the outcome, null for success; the error is valid during the call. It may submit requests, wait for
/// others, and destroy its Request and its Session.
using RequestCallback = std::function<void(const Error* error)>;

/// How a request is treated. A value.
struct RequestOptions {
    int32_t priority = 0;  ///< higher ones go first
    /// From the call on: a request that has not begun by then is answered with ErrorCode::deadline. Unset: there is no end.
    std::optional<std::chrono::microseconds> timeout;
    Stream* stream = nullptr;  ///< what it holds now is waited for
    void* event = nullptr;     ///< a CUevent instead; it must live until the request is answered
    /// Outputs are in ordinary host memory before the request is answered, and not copied there by whoever first asks: for
    /// threads that poll and must not be held up.
    bool copy_in_background = false;
    /// For submit(): called when the request is answered, unless its Request is destroyed before.
    RequestCallback callback;
    /// For submit(): called once when the request's memory is the caller's again, after the callback, and then destroyed
    /// with what it holds, such as the owners of that memory. That is so however the request ends: on the thread of the
    /// callback when it was answered, in ~Request, in submit() where that throws.
    std::function<void()> release;
};

namespace detail {

/// What a request has to call: shared by its Request and the library, which call from different threads.
class RequestCalls {
public:
    RequestCalls(RequestCallback callback, std::function<void()> release) noexcept
        : callback_(std::move(callback)), release_(std::move(release)) {}

    /// Calls back, unless disarmed.
    void answer(const planrt_error* error) noexcept {
        if (!begin()) {
            return;
        }
        try {
            if (error == nullptr) {
                call(callback_, nullptr);
            } else {
                const Error owned = copy(error);
                call(callback_, &owned);
            }
        } catch (...) {
            // RequestCallback says so: there is nobody to tell.
        }
        end();
    }

    /// Returns when the callback is not under way, other than on this thread, and will not be any more.
    void disarm() noexcept {
        if (begin()) {
            end();
            return;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return ended_ || caller_ == std::this_thread::get_id(); });
    }

private:
    template <class Callback, class... Arguments>
    static void call(const Callback& callback, Arguments... arguments) {
        if (callback) {
            callback(arguments...);
        }
    }

    /// True for the first.
    bool begin() noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (begun_) {
            return false;
        }
        begun_ = true;
        caller_ = std::this_thread::get_id();
        return true;
    }

    void end() noexcept {
        callback_ = nullptr;
        try {
            call(release_);
        } catch (...) {
            // As above.
        }
        release_ = nullptr;
        const std::lock_guard<std::mutex> lock(mutex_);
        ended_ = true;
        changed_.notify_all();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    bool begun_ = false;
    bool ended_ = false;
    std::thread::id caller_;
    RequestCallback callback_;
    std::function<void()> release_;
};

}  // namespace detail

/// A request that was submitted. Any thread, several at once. It may outlive its session.
///
/// The memory of its inputs and outputs is the request's until it is answered. So a Request that is destroyed, or assigned
/// to, before that cancels it and waits: afterwards the memory is the caller's, and no callback is under way or comes, other
/// than one that destroys its own Request. Declare the memory before the Request. detach() lets it go on alone instead. (Not
/// inside a log callback, where nothing can be waited for: there it goes on as after detach().)
class [[nodiscard]] Request : public detail::Handle<Request, planrt_request, &planrt_request_delete> {
public:
    using Handle::Handle;
    Request() noexcept = default;
    Request(Request&& other) noexcept = default;
    Request& operator=(Request&& other) noexcept {
        if (this != &other) {
            finish();
            Handle::operator=(std::move(other));
            calls_ = std::move(other.calls_);
        }
        return *this;
    }
    ~Request() { finish(); }

    /// Returns when it is answered, and throws what it failed with. The callback may still be to come.
    void wait() const { detail::check(planrt_request_wait(get(), -1, nullptr)); }

    /// The same, for a time: false if that was not enough.
    template <class Rep, class Period>
    [[nodiscard]] bool wait(std::chrono::duration<Rep, Period> timeout) const {
        bool done = false;
        detail::check(planrt_request_wait(get(), detail::timeout_us(timeout), &done));
        return done;
    }

    /// The shape of one of its outputs, given or dropped, from the submission on.
    [[nodiscard]] Shape output_shape(const std::string& output) const {
        int64_t shape[PLANRT_MAX_RANK] = {};
        int32_t rank = 0;
        detail::check(planrt_request_get_output_shape(get(), detail::c_string(output), shape, &rank));
        return Shape(shape, shape + rank);
    }

    /// Orders a stream behind its outputs in device memory: what the stream is given afterwards finds them written, and the
    /// host does not wait for the device. Throws ErrorCode::unsupported where the host writes outputs.
    void order_stream(Stream& stream) const { detail::check(planrt_request_order_stream(get(), stream.get())); }

    /// Whether it is answered: its outputs are written then, if it succeeded.
    [[nodiscard]] bool poll() const noexcept { return planrt_request_poll(get()); }

    /// What it failed with; nothing where it succeeded, and while it is not answered.
    [[nodiscard]] std::optional<Error> error() const {
        planrt_error* error = planrt_request_get_error(get());
        if (error == nullptr) {
            return std::nullopt;
        }
        const detail::OwnedError owned(error, &planrt_error_delete);
        return detail::copy(error);
    }

    /// Gives it up. It is answered all the same, at once or when its batch has ended; outputs may hold anything then.
    void cancel() const noexcept { planrt_request_cancel(get()); }

    /// Lets it go on without this object, which is empty afterwards. Its memory must stay until its callback or release is
    /// called, or its session destroyed; release can own that memory.
    void detach() noexcept {
        planrt_request_delete(release());
        calls_.reset();
    }

    /// Gives the handle up, as detach() does: cancelling and waiting are the caller's part from here on.
    [[nodiscard]] planrt_request* release() noexcept {
        calls_.reset();
        return Handle::release();
    }

private:
    friend class Session;

    void take(planrt_request* handle) noexcept { Handle::operator=(Request(detail::Adopt{}, handle)); }

    void finish() noexcept {
        if (planrt_request* request = Handle::release()) {
            planrt_request_cancel(request);
            planrt_error_delete(planrt_request_wait(request, -1, nullptr));
            planrt_request_delete(request);
        }
        if (calls_) {
            calls_->disarm();
            calls_.reset();
        }
    }

    std::shared_ptr<detail::RequestCalls> calls_;
};

// ----------------------------------------------------------------------------------------------------------- sessions

/// Options of a Session. A value; what is not set keeps the library's default.
struct SessionOptions {
    std::optional<int32_t> largest_batch;    ///< in items; 1 turns batching off
    std::vector<int32_t> preferred_batches;  ///< in items
    /// How long the first request of a batch waits for company; unset: as long as some can be expected.
    std::optional<std::chrono::microseconds> max_delay;
    std::optional<int32_t> queue_capacity;  ///< in requests
    WhenFull when_full = WhenFull::refuse;
    std::optional<int32_t> contexts;
    std::optional<size_t> memory_budget_bytes;
    bool retry = false;   ///< requests that a lost device has not finished run again on another one
    bool pumped = false;  ///< callbacks are made by pump()
};

/// The time that half of the requests stayed below, nine in ten, and 99 in 100.
struct Percentiles {
    using Time = std::chrono::duration<double, std::micro>;
    Time p50;
    Time p90;
    Time p99;
};

/// What a session has done since it was made.
struct SessionStatistics {
    uint64_t submitted;         ///< requests that were taken in
    uint64_t refused;           ///< requests that were not, because the queue was full
    uint64_t succeeded;         ///< requests answered with success
    uint64_t failed;            ///< requests answered with an error other than the next two
    uint64_t cancelled;         ///< requests that were cancelled
    uint64_t timed_out;         ///< requests whose time-out passed
    uint64_t waiting_requests;  ///< requests that wait now
    uint64_t running_items;     ///< items of the batches that run now
    uint64_t items;             ///< items of all batches
    Percentiles queue;          ///< from submission to the start of the batch
    Percentiles run;            ///< from the start of the batch to its end, copies included
    Percentiles total;          ///< from submission to the end of the batch
    double utilization;         ///< the part of the time that contexts were at work: 0 to 1
    /// How many batches had so many items; the last count is of all that had more.
    std::array<uint64_t, PLANRT_BATCH_SIZES> batches;
};

/// Runs requests of many threads, those that fit together as one batch. Any thread, several at once. It keeps its engines.
///
/// Destroying it answers what waits with ErrorCode::shut_down, finishes what runs, and makes the callbacks that are due;
/// its own thread may do so inside a callback.
class Session : public detail::Handle<Session, planrt_session, &planrt_session_delete> {
public:
    using Handle::Handle;
    Session() noexcept = default;

    explicit Session(const Engine& engine, const SessionOptions& options = {}) : Session({&engine}, options) {}

    /// One model, loaded on several devices: at least one engine.
    explicit Session(std::initializer_list<const Engine*> engines, const SessionOptions& options = {})
        : Session(std::vector<const Engine*>(engines), options) {}
    explicit Session(const std::vector<const Engine*>& engines, const SessionOptions& options = {})
        : Handle(detail::Adopt{}, create(engines, options)) {}

    /// Runs a request and returns when the outputs are written; throws what it failed with. Options with a callback or a
    /// release are for submit().
    void run(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
             const RequestOptions& options = {}) const {
        if (options.callback || options.release) {
            throw Error(ErrorCode::invalid_argument,
                        "Session::run returns when the request is answered; callback and release are for submit");
        }
        const std::vector<planrt_tensor> c_inputs = detail::c_tensors(inputs);
        const std::vector<planrt_tensor> c_outputs = detail::c_tensors(outputs);
        const planrt_request_options c_options = get_options(options);
        detail::check(planrt_session_run(get(), c_inputs.data(), c_inputs.size(), c_outputs.data(), c_outputs.size(),
                                         &c_options));
    }

    /// Gives the session a request and returns. The memory of inputs and outputs is the request's until it is answered, as
    /// Request says; where this throws, it is the caller's.
    Request submit(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                   RequestOptions options = {}) const {
        Request request;  // where something throws it goes, and calls the release
        request.calls_ = make_calls(options);
        const std::vector<planrt_tensor> c_inputs = detail::c_tensors(inputs);
        const std::vector<planrt_tensor> c_outputs = detail::c_tensors(outputs);
        planrt_request_options c_options = get_options(options);
        std::unique_ptr<SharedCalls> calls;
        if (request.calls_) {
            calls = std::make_unique<SharedCalls>(request.calls_);
            c_options.callback = &forward_answer;
            c_options.user_data = calls.get();
        }
        planrt_request* handle = nullptr;
        detail::check(planrt_session_submit(get(), c_inputs.data(), c_inputs.size(), c_outputs.data(),
                                            c_outputs.size(), &c_options, &handle));
        static_cast<void>(calls.release());  // the library's now, until forward_answer
        request.take(handle);
        return request;
    }

    /// Makes callbacks that are due, on this thread; how many. For sessions whose options say `pumped`.
    size_t pump() const { return pump(std::chrono::microseconds(0)); }

    /// The same; waits so long for the first. std::chrono::microseconds::max() has no end.
    template <class Rep, class Period>
    size_t pump(std::chrono::duration<Rep, Period> timeout) const {
        size_t calls = 0;
        detail::check(planrt_session_pump(get(), detail::timeout_us(timeout), &calls));
        return calls;
    }

    [[nodiscard]] SessionStatistics statistics() const {
        planrt_session_statistics raw{};
        raw.struct_size = sizeof raw;
        detail::check(planrt_session_get_statistics(get(), &raw));
        using Time = Percentiles::Time;
        SessionStatistics statistics{
            raw.submitted,
            raw.refused,
            raw.succeeded,
            raw.failed,
            raw.cancelled,
            raw.timed_out,
            raw.waiting_requests,
            raw.running_items,
            raw.items,
            {Time(raw.queue_p50_us), Time(raw.queue_p90_us), Time(raw.queue_p99_us)},
            {Time(raw.run_p50_us), Time(raw.run_p90_us), Time(raw.run_p99_us)},
            {Time(raw.total_p50_us), Time(raw.total_p90_us), Time(raw.total_p99_us)},
            raw.utilization,
            {},
        };
        std::copy(std::begin(raw.batches), std::end(raw.batches), statistics.batches.begin());
        return statistics;
    }

    /// What the session chose when it was made: contexts, batch sizes and memory of each device, as JSON.
    [[nodiscard]] std::string describe() const {
        char* json = nullptr;
        detail::check(planrt_session_describe(get(), &json));
        return detail::take_text(json);
    }

    /// The statistics for Prometheus, in its text format.
    [[nodiscard]] std::string metrics_text() const {
        char* text = nullptr;
        detail::check(planrt_session_get_metrics_text(get(), &text));
        return detail::take_text(text);
    }

private:
    friend class Segmenter;
    using OptionsHandle = std::unique_ptr<planrt_session_options, decltype(&planrt_session_options_delete)>;
    using SharedCalls = std::shared_ptr<detail::RequestCalls>;

    static planrt_session* create(const std::vector<const Engine*>& engines, const SessionOptions& options) {
        std::vector<const planrt_engine*> handles;
        for (const Engine* engine : engines) {
            handles.push_back(engine != nullptr ? engine->get() : nullptr);
        }
        planrt_session* session = nullptr;
        detail::check(planrt_session_new(handles.data(), handles.size(), make_options(options).get(), &session));
        return session;
    }

    static OptionsHandle make_options(const SessionOptions& options) {
        planrt_session_options* raw = nullptr;
        detail::check(planrt_session_options_new(&raw));
        OptionsHandle handle(raw, &planrt_session_options_delete);
        if (options.largest_batch) {
            detail::check(planrt_session_options_set_largest_batch(raw, *options.largest_batch));
        }
        if (!options.preferred_batches.empty()) {
            detail::check(planrt_session_options_set_preferred_batches(raw, options.preferred_batches.data(),
                                                                       options.preferred_batches.size()));
        }
        if (options.max_delay) {
            detail::check(planrt_session_options_set_max_delay(raw, detail::microseconds(*options.max_delay)));
        }
        detail::check(planrt_session_options_set_queue(raw, options.queue_capacity.value_or(0),
                                                       static_cast<planrt_when_full>(options.when_full)));
        if (options.contexts) {
            detail::check(planrt_session_options_set_contexts(raw, *options.contexts));
        }
        if (options.memory_budget_bytes) {
            detail::check(planrt_session_options_set_memory_budget(raw, *options.memory_budget_bytes));
        }
        detail::check(planrt_session_options_set_retry(raw, options.retry));
        detail::check(planrt_session_options_set_pumped(raw, options.pumped));
        return handle;
    }

    static planrt_request_options get_options(const RequestOptions& options) {
        planrt_request_options c_options{};
        c_options.struct_size = sizeof c_options;
        c_options.priority = options.priority;
        if (options.timeout) {
            // 0 stands for none there; one that is over, for -1.
            const int64_t timeout = detail::microseconds(*options.timeout);
            c_options.timeout_us = timeout > 0 ? timeout : -1;
        }
        c_options.stream = options.stream != nullptr ? options.stream->get() : nullptr;
        c_options.event = options.event;
        c_options.copy_in_background = options.copy_in_background ? 1 : 0;
        return c_options;
    }

    /// Null where there is nothing to call. Where even that cannot be made, the release is called.
    static SharedCalls make_calls(RequestOptions& options) {
        if (!options.callback && !options.release) {
            return nullptr;
        }
        try {
            return std::make_shared<detail::RequestCalls>(std::move(options.callback), std::move(options.release));
        } catch (...) {
            detail::RequestCalls(std::move(options.callback), std::move(options.release)).disarm();
            throw;
        }
    }

    static void forward_answer(void* user_data, const planrt_error* error) noexcept {
        const std::unique_ptr<SharedCalls> calls(static_cast<SharedCalls*>(user_data));
        (*calls)->answer(error);
    }
};

// ----------------------------------------------------------------------------------------------------------- segmenters

/// A scan in host memory, which it does not own, and where its voxels lie. A value.
struct Volume {
    const void* data = nullptr;
    size_t size_bytes = 0;
    ElementType element_type = ElementType::float32;
    std::array<int64_t, 3> extents{};     ///< voxels along z, y and x
    std::array<double, 3> spacing_mm{};   ///< between centres of voxels along z, y and x
    std::array<double, 3> origin_mm{};    ///< of the centre of voxel (0, 0, 0): left, posterior, superior, as in ITK
    std::array<double, 9> direction{1, 0, 0, 0, 1, 0, 0, 0, 1};  ///< row after row, as ITK has it
    double rescale_slope = 1;
    double rescale_intercept = 0;
    int32_t channels = 1;
    std::array<int64_t, 4> strides_bytes{};  ///< of channels, z, y and x; all 0 where voxels lie without gaps
    size_t first_voxel_bytes = 0;            ///< not 0 where a stride is negative
    MemoryKind memory_kind = MemoryKind::host;

    /// Voxels without gaps, x fastest, in a std::vector or any other contiguous container that outlives the segmentation.
    template <class Container, detail::IfReadable<Container> = 0>
    [[nodiscard]] static Volume of(Container&& voxels, std::array<int64_t, 3> extents, std::array<double, 3> spacing_mm) {
        using Element = detail::ElementOf<Container>;
        Volume volume;
        volume.data = std::data(voxels);
        volume.size_bytes = std::size(voxels) * sizeof(Element);
        volume.element_type = element_type_of<Element>;
        volume.extents = extents;
        volume.spacing_mm = spacing_mm;
        return volume;
    }
    /// A temporary container's voxels are gone before they are read.
    template <class Container, detail::IfTemporary<Container> = 0>
    static Volume of(Container&& voxels, std::array<int64_t, 3> extents, std::array<double, 3> spacing_mm) = delete;

    /// For calls of planrt.h.
    [[nodiscard]] planrt_volume get() const noexcept {
        planrt_volume volume{};
        volume.struct_size = sizeof volume;
        volume.data = data;
        volume.size_bytes = size_bytes;
        volume.first_voxel_bytes = first_voxel_bytes;
        volume.element_type = static_cast<planrt_element_type>(element_type);
        volume.memory_kind = static_cast<planrt_memory_kind>(memory_kind);
        volume.channels = channels;
        std::copy(extents.begin(), extents.end(), volume.extents);
        std::copy(strides_bytes.begin(), strides_bytes.end(), volume.strides_bytes);
        std::copy(spacing_mm.begin(), spacing_mm.end(), volume.spacing_mm);
        std::copy(origin_mm.begin(), origin_mm.end(), volume.origin_mm);
        std::copy(direction.begin(), direction.end(), volume.direction);
        volume.rescale_slope = rescale_slope;
        volume.rescale_intercept = rescale_intercept;
        return volume;
    }
};

/// Host memory for labels, one for each voxel of the scan, which it does not own. A value.
struct LabelMap {
    void* data = nullptr;
    size_t size_bytes = 0;
    ElementType element_type = ElementType::uint8;  ///< or uint16
    std::array<int64_t, 3> strides_bytes{};         ///< of z, y and x; all 0 where labels lie without gaps
    size_t first_voxel_bytes = 0;                   ///< not 0 where a stride is negative
    MemoryKind memory_kind = MemoryKind::host;

    /// Labels without gaps, x fastest, in a container of uint8_t or uint16_t that outlives the segmentation.
    template <class Container, detail::IfWritable<Container> = 0>
    [[nodiscard]] static LabelMap of(Container&& labels) {
        using Element = detail::ElementOf<Container>;
        LabelMap map;
        map.data = std::data(labels);
        map.size_bytes = std::size(labels) * sizeof(Element);
        map.element_type = element_type_of<Element>;
        return map;
    }
    /// A temporary container's labels would be seen by nobody.
    template <class Container, detail::IfTemporary<Container> = 0>
    static LabelMap of(Container&& labels) = delete;

    /// For calls of planrt.h.
    [[nodiscard]] planrt_label_map get() const noexcept {
        planrt_label_map map{};
        map.struct_size = sizeof map;
        map.data = data;
        map.size_bytes = size_bytes;
        map.first_voxel_bytes = first_voxel_bytes;
        map.element_type = static_cast<planrt_element_type>(element_type);
        map.memory_kind = static_cast<planrt_memory_kind>(memory_kind);
        std::copy(strides_bytes.begin(), strides_bytes.end(), map.strides_bytes);
        return map;
    }
};

/// Host memory for what labels are decided by, a value for each channel and voxel of the scan, which it does not own. A value.
struct ScoreMap {
    void* data = nullptr;
    size_t size_bytes = 0;
    ElementType element_type = ElementType::float32;  ///< or float16
    std::array<int64_t, 4> strides_bytes{};           ///< of channels, z, y and x; all 0 where values lie without gaps
    size_t first_voxel_bytes = 0;                     ///< not 0 where a stride is negative
    MemoryKind memory_kind = MemoryKind::host;
    bool probabilities = false;  ///< and not what the network gives, before any activation

    /// Values without gaps, x fastest and channels slowest, in a container that outlives the segmentation.
    template <class Container, detail::IfWritable<Container> = 0>
    [[nodiscard]] static ScoreMap of(Container&& values, bool probabilities = false) {
        using Element = detail::ElementOf<Container>;
        ScoreMap map;
        map.data = std::data(values);
        map.size_bytes = std::size(values) * sizeof(Element);
        map.element_type = element_type_of<Element>;
        map.probabilities = probabilities;
        return map;
    }
    /// A temporary container's values would be seen by nobody.
    template <class Container, detail::IfTemporary<Container> = 0>
    static ScoreMap of(Container&& values, bool probabilities = false) = delete;

    /// For calls of planrt.h.
    [[nodiscard]] planrt_score_map get() const noexcept {
        planrt_score_map map{};
        map.struct_size = sizeof map;
        map.data = data;
        map.size_bytes = size_bytes;
        map.first_voxel_bytes = first_voxel_bytes;
        map.element_type = static_cast<planrt_element_type>(element_type);
        map.memory_kind = static_cast<planrt_memory_kind>(memory_kind);
        std::copy(strides_bytes.begin(), strides_bytes.end(), map.strides_bytes);
        map.probabilities = probabilities ? 1 : 0;
        return map;
    }
};

/// A scan that was read from a NIfTI-1 file. Any thread.
class Scan : public detail::Handle<Scan, planrt_scan, &planrt_scan_delete> {
public:
    using Handle::Handle;
    Scan() noexcept = default;

    explicit Scan(const std::filesystem::path& file) : Handle(detail::Adopt{}, read(file)) {}

    /// The channels of several scans on one grid, in their order.
    explicit Scan(const std::vector<const Scan*>& scans) : Handle(detail::Adopt{}, join(scans)) {}

    /// As a segmenter takes it; what it points to lives as long as the scan.
    [[nodiscard]] Volume volume() const& {
        planrt_volume c_volume{};
        c_volume.struct_size = sizeof c_volume;
        detail::check(planrt_scan_get_volume(get(), &c_volume));
        Volume volume;
        volume.data = c_volume.data;
        volume.size_bytes = c_volume.size_bytes;
        volume.element_type = static_cast<ElementType>(c_volume.element_type);
        std::copy(std::begin(c_volume.extents), std::end(c_volume.extents), volume.extents.begin());
        std::copy(std::begin(c_volume.spacing_mm), std::end(c_volume.spacing_mm), volume.spacing_mm.begin());
        std::copy(std::begin(c_volume.origin_mm), std::end(c_volume.origin_mm), volume.origin_mm.begin());
        std::copy(std::begin(c_volume.direction), std::end(c_volume.direction), volume.direction.begin());
        volume.rescale_slope = c_volume.rescale_slope;
        volume.rescale_intercept = c_volume.rescale_intercept;
        volume.channels = c_volume.channels;
        return volume;
    }

    /// The voxels of a temporary scan go with it.
    Volume volume() const&& = delete;

    /// What a person should know of the file beside its content; empty where there is nothing.
    [[nodiscard]] std::string note() const { return planrt_scan_get_note(get()); }

    /// Writes labels without gaps as a NIfTI-1 file that lies where the scan lies, compressed where it ends in .gz.
    void write_labels(const std::filesystem::path& file, const LabelMap& labels) const {
        write(&planrt_scan_write_labels, file, labels);
    }

    /// Writes a PNG with the scan in grey and labels without gaps over it in colour.
    void write_overlay(const std::filesystem::path& file, const LabelMap& labels) const {
        write(&planrt_scan_write_overlay, file, labels);
    }

private:
    static planrt_scan* read(const std::filesystem::path& file) {
        planrt_scan* scan = nullptr;
        detail::check(planrt_scan_read_file(detail::c_string(detail::utf8(file)), &scan));
        return scan;
    }

    static planrt_scan* join(const std::vector<const Scan*>& scans) {
        std::vector<const planrt_scan*> handles;
        for (const Scan* one : scans) {
            handles.push_back(one != nullptr ? one->get() : nullptr);
        }
        planrt_scan* scan = nullptr;
        detail::check(planrt_scan_join(handles.data(), handles.size(), &scan));
        return scan;
    }

    template <class Write>
    void write(Write call, const std::filesystem::path& file, const LabelMap& labels) const {
        if (labels.strides_bytes != std::array<int64_t, 3>{} || labels.first_voxel_bytes != 0) {
            throw Error(ErrorCode::unsupported, "labels that are written to a file lie without gaps");
        }
        detail::check(call(get(), detail::c_string(detail::utf8(file)), labels.data, labels.size_bytes,
                            static_cast<planrt_element_type>(labels.element_type)));
    }
};

/// How many tiles of a volume are done, and how many there are; false cancels the segmentation, as does what it throws. It must
/// not destroy its Segmentation.
using SegmentationProgress = std::function<bool(int64_t done, int64_t count)>;

/// A part of a scan: so many of its voxels along z, y and x from there on. A value.
struct Region {
    std::array<int64_t, 3> start{};
    std::array<int64_t, 3> extents{};
};

/// A plane of what labels are decided by. What it points to is lent for the call that it is handed to.
struct ScorePlane {
    const float* values;                   ///< that of channel 0 at the plane's first voxel
    int32_t channels;                      ///< of the model
    std::array<int64_t, 3> start;          ///< the scan's voxel, by its z, y and x, that is the first one
    std::array<int64_t, 3> extents;        ///< along the scan's z, y and x: 1 along the axis that planes follow each other on
    std::array<int64_t, 4> strides_bytes;  ///< of channels, z, y and x; negative where planes come the other way round

    [[nodiscard]] float at(int32_t channel, int64_t z, int64_t y, int64_t x) const noexcept {
        const auto [of_channel, of_z, of_y, of_x] = strides_bytes;
        const int64_t bytes = channel * of_channel + z * of_z + y * of_y + x * of_x;
        return *(values + bytes / static_cast<int64_t>(sizeof(float)));
    }
};

/// Receives planes as they are done, each once; false ends the segmentation, as does what it throws. It must not destroy its
/// Segmentation.
using ScorePlaneCallback = std::function<bool(const ScorePlane& plane)>;

/// How a volume is treated. A value.
struct SegmentationOptions {
    int32_t priority = 0;  ///< tiles of higher ones go first
    /// From the call on; then it ends with ErrorCode::deadline. Unset: there is no end.
    std::optional<std::chrono::microseconds> timeout;
    bool nan_allowed = false;            ///< whether the network may give what is no number
    bool any_direction_allowed = false;  ///< whether the volume's directions need not be orthonormal
    std::optional<size_t> memory_budget_bytes;  ///< of host memory that planrt takes beside the application's own
    std::optional<size_t> device_memory_budget_bytes;  ///< the same of a GPU's, beside what engines and sessions have
    std::optional<ScoreMap> scores;             ///< for what the labels are decided by, too
    ScorePlaneCallback score_plane;             ///< the same plane by plane; then there are no scores
    bool score_plane_probabilities = false;     ///< and not what the network gives, before any activation
    std::optional<Region> region;               ///< all that is segmented, as if the scan had no more
    SegmentationProgress progress;
    RequestCallback callback;       ///< for submit(): as a Request's
    std::function<void()> release;  ///< for submit(): as a Request's
};

namespace detail {

/// What a segmentation has to call, as long as it is under way.
struct SegmentationCalls {
    SegmentationProgress progress;
    ScorePlaneCallback score_plane;
    std::shared_ptr<RequestCalls> calls;

    static bool forward_plane(void* user_data, const planrt_score_plane* c_plane) noexcept {
        try {
            ScorePlane plane{c_plane->values, c_plane->channels, {}, {}, {}};
            std::copy(std::begin(c_plane->start), std::end(c_plane->start), plane.start.begin());
            std::copy(std::begin(c_plane->extents), std::end(c_plane->extents), plane.extents.begin());
            std::copy(std::begin(c_plane->strides_bytes), std::end(c_plane->strides_bytes), plane.strides_bytes.begin());
            return static_cast<SegmentationCalls*>(user_data)->score_plane(plane);
        } catch (...) {
            return false;  // ScorePlaneCallback says so
        }
    }

    static bool forward_progress(void* user_data, int64_t done, int64_t count) noexcept {
        try {
            return static_cast<SegmentationCalls*>(user_data)->progress(done, count);
        } catch (...) {
            return false;  // SegmentationProgress says so
        }
    }

    static void forward_answer(void* user_data, const planrt_error* error) noexcept {
        const std::unique_ptr<SegmentationCalls> owned(static_cast<SegmentationCalls*>(user_data));
        owned->calls->answer(error);
    }
};

}  // namespace detail

/// A volume that was submitted. Any thread, several at once. It may outlive its segmenter.
///
/// The memory of its volume and labels is its own until it is answered. So one that is destroyed, or assigned to, before that
/// is cancelled and waited for, as a Request is, and detach() lets it go on alone instead.
class [[nodiscard]] Segmentation
    : public detail::Handle<Segmentation, planrt_segmentation, &planrt_segmentation_delete> {
public:
    using Handle::Handle;
    Segmentation() noexcept = default;
    Segmentation(Segmentation&& other) noexcept = default;
    Segmentation& operator=(Segmentation&& other) noexcept {
        if (this != &other) {
            finish();
            Handle::operator=(std::move(other));
            calls_ = std::move(other.calls_);
        }
        return *this;
    }
    ~Segmentation() { finish(); }

    /// Returns when the labels are written, and throws what it failed with. The callback may still be to come.
    void wait() const { detail::check(planrt_segmentation_wait(get(), -1, nullptr)); }

    /// The same, for a time: false if that was not enough.
    template <class Rep, class Period>
    [[nodiscard]] bool wait(std::chrono::duration<Rep, Period> timeout) const {
        bool done = false;
        detail::check(planrt_segmentation_wait(get(), detail::timeout_us(timeout), &done));
        return done;
    }

    /// Whether it is answered: its labels are written then, if it succeeded.
    [[nodiscard]] bool poll() const noexcept { return planrt_segmentation_poll(get()); }

    /// What it failed with; nothing where it succeeded, and while it is not answered.
    [[nodiscard]] std::optional<Error> error() const {
        planrt_error* error = planrt_segmentation_get_error(get());
        if (error == nullptr) {
            return std::nullopt;
        }
        const detail::OwnedError owned(error, &planrt_error_delete);
        return detail::copy(error);
    }

    struct Progress {
        int64_t done;   ///< tiles
        int64_t count;  ///< 0 as long as that is not known
    };
    [[nodiscard]] Progress progress() const {
        Progress progress{};
        detail::check(planrt_segmentation_get_progress(get(), &progress.done, &progress.count));
        return progress;
    }

    /// How much of the scan has a label, in millilitres, once it is answered.
    [[nodiscard]] double label_volume_ml(int32_t label) const {
        double volume_ml = 0;
        detail::check(planrt_segmentation_get_label_volume(get(), label, &volume_ml));
        return volume_ml;
    }

    /// Gives it up. It is answered all the same, when the tiles that run have ended.
    void cancel() const noexcept { planrt_segmentation_cancel(get()); }

    /// Lets it go on without this object, as Request::detach() does.
    void detach() noexcept { planrt_segmentation_delete(release()); }

    /// Gives the handle up, as detach() does: cancelling and waiting are the caller's part from here on.
    [[nodiscard]] planrt_segmentation* release() noexcept {
        calls_.reset();
        return Handle::release();
    }

private:
    friend class Segmenter;

    void take(planrt_segmentation* handle) noexcept { Handle::operator=(Segmentation(detail::Adopt{}, handle)); }

    void finish() noexcept {
        if (planrt_segmentation* segmentation = Handle::release()) {
            planrt_segmentation_cancel(segmentation);
            planrt_error_delete(planrt_segmentation_wait(segmentation, -1, nullptr));
            planrt_segmentation_delete(segmentation);
        }
        if (calls_) {
            calls_->disarm();
            calls_.reset();
        }
    }

    std::shared_ptr<detail::RequestCalls> calls_;
};

class Segmenter;

/// Options of a Segmenter. A value; what is not set keeps what the model's description says, or the library's default.
struct SegmenterOptions {
    std::optional<double> overlap;                ///< of a tile with its neighbour, 0 to below 1
    std::optional<std::array<bool, 3>> mirrored;  ///< axes of the model's grid that tiles are mirrored over
    std::optional<std::string> configuration;     ///< of an nnU-Net's folder the one that its models are, as "3d_fullres"
    std::optional<int32_t> threads;               ///< for what is not the network; 0: one a core
    std::optional<SessionOptions> session;        ///< of the sessions that run the tiles
    std::optional<EngineOptions> engine;          ///< how the models of a folder are loaded
    std::optional<std::string> output;            ///< of a model that has several, the one that is segmented by
    std::optional<bool> largest_component;        ///< whether only the largest connected part of each label is kept
    std::optional<std::vector<float>> window;     ///< a weight for each voxel that the network gives for a tile, x fastest
    const Segmenter* coarse = nullptr;            ///< finds the box that is segmented; it may go when the segmenter is made
    double coarse_margin_mm = 0;                  ///< around what the coarse one found
};

/// The memory that a volume takes, beside the application's own.
struct SegmentationMemory {
    size_t bytes;        ///< on the host, with the options that were given
    size_t least_bytes;  ///< the smallest budget that can be kept
    size_t device_bytes; ///< on the GPU that it is put together on, if it is
    size_t least_device_bytes;  ///< the smallest budget of that that can be kept
};

/// What a segmenter's model takes and gives.
struct SegmenterInfo {
    int32_t channels;              ///< that a volume has
    int32_t score_channels;        ///< of a ScoreMap
    int32_t largest_label;         ///< above 255 a LabelMap is of uint16_t
    std::array<int64_t, 3> patch;  ///< voxels of a tile along the axes of the model's grid, the slowest first
};

/// Segments whole volumes. Any thread, several at once: tiles of all volumes under way share batches. It keeps its engines.
///
/// Destroying it ends what is under way with ErrorCode::shut_down, and makes the callbacks that are due.
class Segmenter : public detail::Handle<Segmenter, planrt_segmenter, &planrt_segmenter_delete> {
public:
    using Handle::Handle;
    Segmenter() noexcept = default;

    /// A model's folder: its description, and its models.
    Segmenter(const Runtime& runtime, const std::filesystem::path& folder, const SegmenterOptions& options = {})
        : Handle(detail::Adopt{}, load(runtime, folder, options)) {}

    /// Engines that are a model's folds, at least one, and a recipe: what is done around them, as JSON.
    Segmenter(const std::vector<const Engine*>& folds, const std::string& recipe_json, const SegmenterOptions& options = {})
        : Handle(detail::Adopt{}, create(folds, recipe_json, options)) {}

    /// Sessions of the application's own, one for each fold, which run its requests beside the tiles.
    Segmenter(const std::vector<const Session*>& folds, const std::string& recipe_json, const SegmenterOptions& options = {})
        : Handle(detail::Adopt{}, create(folds, recipe_json, options)) {}

    /// The average of several segmenters' probabilities on the scan's grid, as nnU-Net's ensembles of configurations. They may go when
    /// it is made; of the options only a coarse one counts.
    [[nodiscard]] static Segmenter ensemble(const std::vector<const Segmenter*>& segmenters,
                                            const SegmenterOptions& options = {}) {
        std::vector<const planrt_segmenter*> handles;
        for (const Segmenter* one : segmenters) {
            handles.push_back(one != nullptr ? one->get() : nullptr);
        }
        planrt_segmenter* segmenter = nullptr;
        detail::check(planrt_segmenter_new_ensemble(handles.data(), handles.size(), make_options(options).get(), &segmenter));
        return Segmenter(detail::Adopt{}, segmenter);
    }

    /// Segments a volume by itself, and then so many times at once; throws ErrorCode::self_test where a mask is not the same to the bit.
    void check_company(const Volume& volume, int32_t company = 3, const SegmentationOptions& options = {}) const {
        const planrt_volume c_volume = volume.get();
        const planrt_segmentation_options c_options = get_options(options, nullptr);
        detail::check(planrt_segmenter_check_company(get(), &c_volume, &c_options, company));
    }

    /// Returns when the labels are written; throws what it failed with. Options with a callback or a release are for submit().
    void run(const Volume& volume, const LabelMap& labels, const SegmentationOptions& options = {}) const {
        if (options.callback || options.release) {
            throw Error(ErrorCode::invalid_argument,
                        "Segmenter::run returns when the labels are written; callback and release are for submit");
        }
        const planrt_volume c_volume = volume.get();
        const planrt_label_map c_labels = labels.get();
        const planrt_score_map c_scores = options.scores.value_or(ScoreMap()).get();
        planrt_segmentation_options c_options = get_options(options, &c_scores);
        detail::SegmentationCalls calls{options.progress, options.score_plane, nullptr};
        c_options.user_data = &calls;
        set_calls(c_options, calls);
        detail::check(planrt_segmenter_run(get(), &c_volume, &c_labels, &c_options));
    }

    /// The labels themselves, without gaps, x fastest. uint8_t holds labels up to 255.
    template <class Label = uint8_t>
    [[nodiscard]] std::vector<Label> labels(const Volume& volume, const SegmentationOptions& options = {}) const {
        std::vector<Label> labels(element_count({volume.extents.begin(), volume.extents.end()}));
        run(volume, LabelMap::of(labels), options);
        return labels;
    }

    /// Gives the segmenter a volume and returns. The memory of volume and labels is the segmentation's until it is answered;
    /// where this throws, it is the caller's.
    Segmentation submit(const Volume& volume, const LabelMap& labels, SegmentationOptions options = {}) const {
        Segmentation segmentation;  // where something throws it goes, and calls the release
        segmentation.calls_ = make_calls(options);
        const planrt_volume c_volume = volume.get();
        const planrt_label_map c_labels = labels.get();
        const planrt_score_map c_scores = options.scores.value_or(ScoreMap()).get();
        planrt_segmentation_options c_options = get_options(options, &c_scores);
        auto calls = std::make_unique<detail::SegmentationCalls>();
        calls->progress = std::move(options.progress);
        calls->score_plane = std::move(options.score_plane);
        calls->calls = segmentation.calls_;
        set_calls(c_options, *calls);
        c_options.callback = &detail::SegmentationCalls::forward_answer;
        c_options.user_data = calls.get();
        planrt_segmentation* handle = nullptr;
        detail::check(planrt_segmenter_submit(get(), &c_volume, &c_labels, &c_options, &handle));
        static_cast<void>(calls.release());  // the library's now, until forward_answer
        segmentation.take(handle);
        return segmentation;
    }

    [[nodiscard]] SegmenterInfo info() const {
        planrt_segmenter_info c_info{};
        c_info.struct_size = sizeof c_info;
        detail::check(planrt_segmenter_get_info(get(), &c_info));
        return {c_info.channels, c_info.score_channels, c_info.largest_label,
                {c_info.patch[0], c_info.patch[1], c_info.patch[2]}};
    }

    /// The host memory that a volume takes, told before it is segmented; its data may be null.
    [[nodiscard]] SegmentationMemory estimate(const Volume& volume, const SegmentationOptions& options = {}) const {
        const planrt_volume c_volume = volume.get();
        const planrt_score_map c_scores = options.scores.value_or(ScoreMap()).get();
        planrt_segmentation_options c_options = get_options(options, &c_scores);
        if (options.score_plane) {
            // It is not called.
            c_options.score_plane = &detail::SegmentationCalls::forward_plane;
        }
        SegmentationMemory memory{};
        detail::check(planrt_segmenter_estimate(get(), &c_volume, &c_options, &memory.bytes, &memory.least_bytes, &memory.device_bytes,
                                                &memory.least_device_bytes));
        return memory;
    }

private:
    using OptionsHandle = std::unique_ptr<planrt_segmenter_options, decltype(&planrt_segmenter_options_delete)>;

    static planrt_segmenter* load(const Runtime& runtime, const std::filesystem::path& folder,
                                  const SegmenterOptions& options) {
        planrt_segmenter* segmenter = nullptr;
        detail::check(planrt_segmenter_load(runtime.get(), detail::c_string(detail::utf8(folder)),
                                            make_options(options).get(), &segmenter));
        return segmenter;
    }

    static planrt_segmenter* create(const std::vector<const Engine*>& folds, const std::string& recipe_json,
                                    const SegmenterOptions& options) {
        std::vector<const planrt_engine*> handles;
        for (const Engine* fold : folds) {
            handles.push_back(fold != nullptr ? fold->get() : nullptr);
        }
        planrt_segmenter* segmenter = nullptr;
        detail::check(planrt_segmenter_new(handles.data(), handles.size(), detail::c_string(recipe_json),
                                           make_options(options).get(), &segmenter));
        return segmenter;
    }

    static planrt_segmenter* create(const std::vector<const Session*>& folds, const std::string& recipe_json,
                                    const SegmenterOptions& options) {
        std::vector<const planrt_session*> handles;
        for (const Session* fold : folds) {
            handles.push_back(fold != nullptr ? fold->get() : nullptr);
        }
        planrt_segmenter* segmenter = nullptr;
        detail::check(planrt_segmenter_new_over_sessions(handles.data(), handles.size(), detail::c_string(recipe_json),
                                                         make_options(options).get(), &segmenter));
        return segmenter;
    }

    static OptionsHandle make_options(const SegmenterOptions& options) {
        planrt_segmenter_options* raw = nullptr;
        detail::check(planrt_segmenter_options_new(&raw));
        OptionsHandle handle(raw, &planrt_segmenter_options_delete);
        if (options.overlap) {
            detail::check(planrt_segmenter_options_set_overlap(raw, *options.overlap));
        }
        if (options.mirrored) {
            const auto [z, y, x] = *options.mirrored;
            detail::check(planrt_segmenter_options_set_mirrored(raw, z, y, x));
        }
        if (options.configuration) {
            detail::check(planrt_segmenter_options_set_configuration(raw, detail::c_string(*options.configuration)));
        }
        if (options.threads) {
            detail::check(planrt_segmenter_options_set_threads(raw, *options.threads));
        }
        if (options.output) {
            detail::check(planrt_segmenter_options_set_output(raw, detail::c_string(*options.output)));
        }
        if (options.largest_component) {
            detail::check(planrt_segmenter_options_set_largest_component(raw, *options.largest_component));
        }
        if (options.window) {
            detail::check(planrt_segmenter_options_set_window(raw, options.window->data(), options.window->size()));
        }
        if (options.coarse != nullptr) {
            detail::check(planrt_segmenter_options_set_coarse(raw, options.coarse->get(), options.coarse_margin_mm));
        }
        if (options.session) {
            detail::check(
                planrt_segmenter_options_set_session_options(raw, Session::make_options(*options.session).get()));
        }
        if (options.engine) {
            detail::check(
                planrt_segmenter_options_set_engine_options(raw, Engine::make_options(*options.engine).get()));
        }
        return handle;
    }

    /// `scores` are those of the options.
    static planrt_segmentation_options get_options(const SegmentationOptions& options,
                                                   const planrt_score_map* scores) noexcept {
        planrt_segmentation_options c_options{};
        c_options.struct_size = sizeof c_options;
        c_options.priority = options.priority;
        if (options.timeout) {
            // 0 stands for none there; one that is over, for -1.
            const int64_t timeout = detail::microseconds(*options.timeout);
            c_options.timeout_us = timeout > 0 ? timeout : -1;
        }
        c_options.nan_allowed = options.nan_allowed ? 1 : 0;
        c_options.any_direction_allowed = options.any_direction_allowed ? 1 : 0;
        c_options.memory_budget_bytes = options.memory_budget_bytes.value_or(0);
        c_options.device_memory_budget_bytes = options.device_memory_budget_bytes.value_or(0);
        c_options.scores = options.scores ? scores : nullptr;
        c_options.score_plane_probabilities = options.score_plane_probabilities ? 1 : 0;
        if (options.region) {
            std::copy(options.region->start.begin(), options.region->start.end(), c_options.region_start);
            std::copy(options.region->extents.begin(), options.region->extents.end(), c_options.region_extents);
        }
        return c_options;
    }

    static void set_calls(planrt_segmentation_options& c_options, const detail::SegmentationCalls& calls) noexcept {
        if (calls.progress) {
            c_options.progress = &detail::SegmentationCalls::forward_progress;
        }
        if (calls.score_plane) {
            c_options.score_plane = &detail::SegmentationCalls::forward_plane;
        }
    }

    /// Where it cannot be made, the release is called.
    static std::shared_ptr<detail::RequestCalls> make_calls(SegmentationOptions& options) {
        try {
            return std::make_shared<detail::RequestCalls>(std::move(options.callback), std::move(options.release));
        } catch (...) {
            detail::RequestCalls(std::move(options.callback), std::move(options.release)).disarm();
            throw;
        }
    }
};

// ------------------------------------------------------------------------------------------------- library and machine

/// The version of the library that was found.
[[nodiscard]] inline std::string version() {
    return detail::text(planrt_version());
}

/// The GPUs that the driver shows this process, with their free memory, as JSON, for an application that wants to choose one
/// before it makes a Runtime; planrt_describe_devices says what is in it.
[[nodiscard]] inline std::string describe_devices() {
    detail::check_api_version();
    char* json = nullptr;
    detail::check(planrt_describe_devices(&json));
    return detail::take_text(json);
}

struct DoctorReport {
    std::string text;
    bool usable;  ///< whether the model, or without one any model at all, will run here
};

/// Text for people: driver, GPUs, TensorRT, plugins, CPU backend; and the model, unless its path is empty.
[[nodiscard]] inline DoctorReport doctor(const RuntimeOptions& options = {},
                                         const std::filesystem::path& model = {}) {
    detail::check_api_version();
    const std::string model_path = detail::utf8(model);
    char* text = nullptr;
    bool usable = false;
    detail::check(planrt_doctor(detail::make_options(options).get(),
                                model_path.empty() ? nullptr : detail::c_string(model_path), &text, &usable));
    return {detail::take_text(text), usable};
}

}  // namespace planrt

#endif
