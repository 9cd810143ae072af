// What only some generations of TensorRT have: used where it is there, else refused with the version that has it. And
// several generations in one process, side by side.

#include "doubles.hpp"

#include <thread>

namespace {

const char COPY[] = "profiles 2\nmemory 4096\ninput x 0 -1,4 1,4 2,4 8,4\noutput y 0 -1,4\ncopies\n";

bool is(const Double& tensorrt, const char* version) { return tensorrt.version.rfind(version, 0) == 0; }

// Has it, or says which version does.
void expect_support(bool supported, const char* since, const std::function<void()>& call) {
    if (supported) return call();
    expect(planrt::ErrorCode::unsupported, since, call);
}

std::string hex(const void* address) {
    char text[32];
    std::snprintf(text, sizeof text, "0x%zx", reinterpret_cast<size_t>(address));
    return text;
}

bool runs(planrt::Context& context) {
    const std::vector<float> x = {1, 2, 3, 4, 5, 6, 7, 8};
    std::vector<float> y(8);
    context.run({planrt::Tensor::input("x", x, {2, 4})}, {planrt::Tensor::output("y", y)});
    return x == y;
}

void host_code(const Double& tensorrt) {
    const std::string plan = std::string(COPY) + "brings-host-code\n";
    const planrt::Runtime careful(tensorrt.options());
    const auto error = expect(planrt::ErrorCode::incompatible_model, "planrt_runtime_options_set_engine_host_code_allowed",
                              [&] { tensorrt.load(careful, plan); });
    CHECK(!error.detail().empty());
    planrt::RuntimeOptions options = tensorrt.options();
    options.engine_host_code_allowed = true;
    const planrt::Runtime runtime(options);
    expect_support(!is(tensorrt, "8.5"), "TensorRT 8 from 8.6.0, TensorRT 10", [&] {
        const planrt::Engine engine = tensorrt.load(runtime, plan);
        planrt::Context context(engine);
        CHECK(runs(context));
    });
}

void lean_runtime(const Double& tensorrt) {
    const std::string plan = std::string(COPY) + "wants-lean-runtime\n";
    const planrt::Runtime runtime(tensorrt.options());
    planrt::EngineOptions options;
    options.lean_runtime = "/opt/libnvinfer_lean.so.8";
    expect_support(!is(tensorrt, "8.5"), "8.6.0", [&] {
        expect(planrt::ErrorCode::incompatible_model, tensorrt.name(), [&] { tensorrt.load(runtime, plan); });
        std::optional<planrt::Engine> engine;
        const std::string calls = tensorrt.calls([&] { engine = tensorrt.load(runtime, plan, options); });
        CHECK(holds(calls, "IRuntime::loadRuntime(\"/opt/libnvinfer_lean.so.8\")"));
        planrt::Context context(*engine);
        engine.reset();
        CHECK(runs(context));  // which keeps the lean runtime
        options.lean_runtime = "/missing";
        const auto error = expect(planrt::ErrorCode::no_tensorrt, "/missing", [&] { tensorrt.load(runtime, plan, options); });
        CHECK(holds(error.detail(), "there is no lean runtime"));
        options.lean_runtime.clear();
    });
    if (is(tensorrt, "8.5"))
        expect(planrt::ErrorCode::unsupported, "8.6.0", [&] { tensorrt.load(runtime, plan, options); });
}

void weight_streaming(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const std::string plan = std::string(COPY) + "streamable 1000\n";
    planrt::EngineOptions options;
    options.weight_streaming_budget_bytes = 600;
    const bool supported = tensorrt.major != 8 && !is(tensorrt, "10.0");
    expect_support(supported, "TensorRT 10", [&] {
        const planrt::Engine engine = tensorrt.load(runtime, plan, options);
        CHECK(engine.statistic(planrt::Statistic::weight_streaming_budget) == 600);
        CHECK(engine.statistic(planrt::Statistic::streamable_weights_size) == 1000);
    });
    if (!supported) return;
    options.weight_streaming_budget_bytes = PLANRT_WEIGHT_STREAMING_AUTOMATIC;
    CHECK(tensorrt.load(runtime, plan, options).statistic(planrt::Statistic::weight_streaming_budget) == 51);
    expect(planrt::ErrorCode::unsupported, "kWEIGHT_STREAMING",
           [&] { tensorrt.load(runtime, std::string(COPY) + "streamable 0\n", options); });
    options.weight_streaming_budget_bytes = 1001;
    const auto error = expect(planrt::ErrorCode::tensorrt, "1001 bytes", [&] { tensorrt.load(runtime, plan, options); });
    CHECK(holds(error.detail(), "larger than the weights"));
    options.weight_streaming_budget_bytes = -2;
    expect(planrt::ErrorCode::invalid_argument, "-2 bytes", [&] { tensorrt.load(runtime, plan, options); });
}

// Contexts that take turns compute in one piece of memory.
void lent_device_memory(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    CHECK(engine.device_memory_size() == 4096 && engine.device_memory_size(1) == 4096);
    expect(planrt::ErrorCode::invalid_argument, "no profile 2", [&] { return engine.device_memory_size(2); });
    planrt::Context first = planrt::Context::without_memory(engine), second = planrt::Context::without_memory(engine);
    expect(planrt::ErrorCode::shape, "\"x\"", [&] { return first.device_memory_size(); });
    first.set_shape("x", {2, 4});
    CHECK(first.device_memory_size() == 4096);
    expect(planrt::ErrorCode::buffer_too_small, "was lent 0", [&] { runs(first); });
    const planrt::Buffer memory(runtime, planrt::MemoryKind::device, 4096), small(runtime, planrt::MemoryKind::device, 4095);
    first.set_device_memory(small);
    expect(planrt::ErrorCode::buffer_too_small, "was lent 4095", [&] { runs(first); });
    expect(planrt::ErrorCode::invalid_argument, "multiple of 256",
           [&] { first.set_device_memory(static_cast<char*>(memory.data()) + 16, 4080); });
    const std::string calls = tensorrt.calls([&] {
        for (planrt::Context* context : {&first, &second}) context->set_device_memory(memory);
        for (int round = 0; round < 3; ++round) CHECK(runs(first) && runs(second));
    });
    const bool sized = tensorrt.major != 8 && !is(tensorrt, "10.0");
    const std::string told = sized ? "setDeviceMemoryV2(" + hex(memory.data()) + ", 4096)"
                                   : "setDeviceMemory(" + hex(memory.data()) + ")";
    const size_t once = calls.find(told), twice = calls.find(told, once + 1);
    CHECK(once != std::string::npos && twice != std::string::npos && calls.find(told, twice + 1) == std::string::npos);
    first.set_profile(tensorrt.major == 8 ? 0 : 1);
    CHECK(runs(first));

    planrt::Context own(tensorrt.load(runtime, COPY));
    CHECK(runs(own) && own.device_memory_size() == 4096);
    expect(planrt::ErrorCode::invalid_argument, "of its own", [&] { own.set_device_memory(memory); });
}

void aux_streams(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::Context context(engine);
    planrt::Stream first(runtime), second(runtime), legacy = planrt::Stream::wrap(runtime, nullptr);
    expect_support(!is(tensorrt, "8.5"), "8.6.0", [&] {
        const std::string calls = tensorrt.calls([&] { context.set_aux_streams({&first, &second}); });
        CHECK(holds(calls, "setAuxStreams(2, " + hex(first.native()) + ", " + hex(second.native()) + ")"));
        CHECK(holds(tensorrt.calls([&] { context.set_aux_streams({}); }), "setAuxStreams(0, "));
        CHECK(engine.statistic(planrt::Statistic::aux_streams) == 2);
    });
    expect(planrt::ErrorCode::invalid_argument, "streams[1]", [&] { context.set_aux_streams({&first, &legacy}); });
    CHECK(runs(context));
}

void statistics(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    const bool has_stat = tensorrt.is_rtx || tensorrt.major >= 11 || is(tensorrt, "10.14") || is(tensorrt, "10.16");
    expect_support(has_stat, "10.14.0, TensorRT 11", [&] {
        CHECK(engine.statistic(planrt::Statistic::weights_size) == 60);
        CHECK(engine.statistic(planrt::Statistic::stripped_weights_size) == 61);
    });
    expect_support(tensorrt.major != 8, "TensorRT 10", [&] { return engine.statistic(planrt::Statistic::streamable_weights_size); });
    expect(planrt::ErrorCode::invalid_argument, "PLANRT_STATISTIC_", [&] { return engine.statistic(planrt::Statistic{77}); });
}

// All of them in one process: each runs its plan in a thread of its own, at the same time.
void side_by_side(const std::vector<Double>& all) {
    std::vector<std::thread> threads;
    for (const Double& tensorrt : all) {
        threads.emplace_back([&tensorrt] {
            const planrt::Runtime runtime(tensorrt.options());
            CHECK(holds(runtime.describe(), tensorrt.name()));
            const planrt::Engine engine = tensorrt.load(runtime, COPY);
            planrt::Context context(engine);
            for (int round = 0; round < 50; ++round) CHECK(runs(context));
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (const Double& tensorrt : all) CHECK(tensorrt.alive() == 0);
    CHECK(cuda_alive() == 0);
}

// Two TensorRTs of one name: each runs its plans, but TensorRT's own plugins would go to the first one only.
void same_name(const Double& first) {
    namespace fs = std::filesystem;
    const fs::path folder = fs::current_path() / ("copy of " + first.version);
    fs::create_directories(folder);
    const fs::path file = folder / fs::path(first.path).filename();
    fs::copy_file(first.path, file, fs::copy_options::overwrite_existing);
    const std::string plugin = "libnvinfer_plugin.so." + std::to_string(first.major);
    const auto load = [&first](const std::string& path) {
        planrt::RuntimeOptions options;
        options.tensorrt_path = path;
        const planrt::Runtime runtime(options);
        planrt::Context context(first.load(runtime, COPY));
        CHECK(runs(context));
        first.load(runtime, "needs-plugin Foo_TRT\n");
    };
    const std::string error = expect(planrt::ErrorCode::missing_plugin, "Foo_TRT", [&] { load(file); }).what();
    CHECK(holds(error, "it would register with " + first.name() + " (" + fs::canonical(first.path).string() + ")"));
    // Of the first one they are looked for.
    CHECK(holds(expect(planrt::ErrorCode::missing_plugin, "Foo_TRT", [&] { load(first.path); }).what(), plugin + ": not found"));
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<Double> all = doubles(argc, argv);
    on_each(all, {
        {"host code", host_code},
        {"lean runtime", lean_runtime},
        {"weight streaming", weight_streaming},
        {"lent device memory", lent_device_memory},
        {"auxiliary streams", aux_streams},
        {"statistics", statistics},
    });
    side_by_side(all);
    // The first of its major; a second one is a copy anyway.
    for (const int major : {8, 10, 11}) {
        const auto first = std::find_if(all.begin(), all.end(), [&](const Double& one) { return one.major == major; });
        if (first != all.end()) same_name(*first);
    }
}
