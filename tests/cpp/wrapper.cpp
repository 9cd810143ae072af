// planrt.hpp: who owns what, what is thrown, and that each call reaches the library. requests.cpp has what is asynchronous.

#include "cpp_tests.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <thread>
#if __cplusplus >= 202002L
#include <span>
#endif

static const planrt::Shape image_shape{2, 1, 8, 8, 8};
static const std::vector<float> image(planrt::element_count(image_shape), 0.5f);

// Handles move and are not copied, may be empty, and are made of nothing else by accident.
template <class T, class Handle>
constexpr bool owns =
    std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> && !std::is_copy_constructible_v<T> &&
    !std::is_copy_assignable_v<T> && std::is_nothrow_destructible_v<T> && std::is_nothrow_constructible_v<T, std::nullptr_t> &&
    !std::is_constructible_v<T, Handle*> && !std::is_convertible_v<T, bool> && std::is_constructible_v<bool, T> &&
    std::is_same_v<decltype(std::declval<T&>().get()), Handle*> &&
    std::is_same_v<decltype(std::declval<const T&>().get()), const Handle*>;
static_assert(owns<planrt::Runtime, planrt_runtime> && owns<planrt::Engine, planrt_engine> &&
              owns<planrt::Context, planrt_context> && owns<planrt::Stream, planrt_stream> &&
              owns<planrt::Buffer, planrt_buffer> && owns<planrt::Request, planrt_request> &&
              owns<planrt::Session, planrt_session>);
static_assert(std::is_nothrow_copy_constructible_v<planrt::Error>);

// Which arguments Tensor takes: elements that live on, and of outputs those that can be written.
template <class Elements>
auto reads(int) -> decltype(planrt::Tensor::input("image", std::declval<Elements>(), {}), std::true_type());
template <class Elements>
std::false_type reads(long);
template <class Elements>
auto writes(int) -> decltype(planrt::Tensor::output("prob", std::declval<Elements>()), std::true_type());
template <class Elements>
std::false_type writes(long);
template <class Elements>
constexpr int taken = (decltype(reads<Elements>(0))::value ? 1 : 0) + (decltype(writes<Elements>(0))::value ? 2 : 0);

static_assert(taken<std::vector<float>&> == 3 && taken<const std::vector<float>&> == 1);
static_assert(taken<std::vector<float>> == 0 && taken<const std::vector<float>> == 0);
static_assert(taken<std::array<int8_t, 3>&> == 3 && taken<std::array<int8_t, 3>> == 0);
static_assert(taken<std::vector<uint16_t>&> == 3 && taken<std::vector<double>&> == 3);
static_assert(taken<uint8_t (&)[4]> == 3 && taken<const int64_t (&)[4]> == 1);
static_assert(taken<planrt::Span<float>> == 3 && taken<planrt::Span<const float>> == 1);
static_assert(taken<planrt::Span<float>&> == 3 && taken<const planrt::Span<float>&> == 3);
static_assert(taken<std::vector<std::string>&> == 0 && taken<std::vector<bool>&> == 0 && taken<float&> == 0);
#if __cplusplus >= 202002L
static_assert(taken<std::span<float>> == 3 && taken<std::span<const float>> == 1);
static_assert(std::is_constructible_v<planrt::Span<const float>, std::span<float>>);
#endif
static_assert(std::is_constructible_v<planrt::Span<const float>, std::vector<float>&>);
static_assert(!std::is_constructible_v<planrt::Span<const float>, std::vector<float>>);
static_assert(!std::is_constructible_v<planrt::Span<float>, const std::vector<float>&>);
static_assert(!std::is_constructible_v<planrt::Span<const float>, std::vector<double>&>);

// A const object may be used by several threads, so its calls are const.
static_assert(std::is_invocable_v<decltype(&planrt::Session::metrics_text), const planrt::Session&> &&
              std::is_invocable_v<decltype(&planrt::Request::cancel), const planrt::Request&> &&
              std::is_invocable_v<decltype(&planrt::Context::cancel), const planrt::Context&> &&
              !std::is_invocable_v<decltype(&planrt::Context::set_profile), const planrt::Context&, int32_t> &&
              !std::is_invocable_v<decltype(&planrt::Stream::synchronize), const planrt::Stream&>);

static std::vector<float> run(planrt::Context& context) {
    std::vector<float> prob(2 * image.size());
    context.run({planrt::Tensor::input("image", image, image_shape)}, {planrt::Tensor::output("prob", prob)});
    for (size_t item = 0; item < 2; item++)
        for (size_t voxel = 0; voxel < 512; voxel++)
            CHECK(std::fabs(prob[item * 1024 + voxel] + prob[item * 1024 + 512 + voxel] - 1) < 1e-4);
    return prob;
}

static void describes() {
    planrt::RuntimeOptions options;
    auto lines = std::make_shared<std::atomic<int>>(0);
    options.log = [lines](planrt::LogLevel, const char*) {
        ++*lines;
        throw std::runtime_error("a log callback that throws ends nothing");
    };
    options.log_level = planrt::LogLevel::debug;
    planrt::Runtime runtime(options);
    CHECK(runtime.describe().front() == '{');

    planrt::EngineOptions engine_options;
    engine_options.cpu_threads = 1;
    engine_options.cpu_allowed = true;
    CHECK(fails(planrt::ErrorCode::not_found, [&] { return planrt::Engine::from_folder(runtime, MODELS, engine_options); }));
    const auto engine = planrt::Engine::from_file(runtime, small, engine_options);
    CHECK(fails(planrt::ErrorCode::not_found, [&] { return engine.self_test(MODELS); }));
    CHECK(fails(planrt::ErrorCode::not_found, [&] { return planrt::Engine::from_folder(runtime, MODELS, planrt::BuildOptions(), "built.plan"); }));
    CHECK(*lines > 0);
    CHECK(engine.backend() == planrt::Backend::cpu);
    options.openvino_path = MODELS;
    const planrt::Runtime elsewhere(options);
    CHECK(fails(planrt::ErrorCode::no_openvino, [&] { elsewhere.load_openvino(); }));
    engine_options.cpu_backend = planrt::Backend::openvino;
    CHECK(fails(planrt::ErrorCode::no_openvino, [&] { return planrt::Engine::from_file(elsewhere, small, engine_options); }));
    engine_options.cpu_backend = planrt::Backend::fastest_cpu;
    CHECK(planrt::Engine::from_file(elsewhere, small, engine_options).backend() == planrt::Backend::cpu);
    CHECK(engine.tensors().size() == 2 && engine.profile_count() == 0 && engine.device_memory_size() == 0);
    const planrt::TensorInfo prob = engine.tensor("prob");
    CHECK(prob.role == planrt::TensorRole::output && prob.element_type == planrt::ElementType::float32);
    CHECK((prob.shape == planrt::Shape{-1, 2, 8, 8, 8}));
    CHECK(prob.dimension_names.size() == 5 && !prob.dimension_names[0].empty() && prob.dimension_names[1].empty());
    CHECK(engine.metadata_json().find("\"onnx\"") != std::string::npos);
    CHECK(planrt::describe_devices().find("\"devices\"") != std::string::npos);
    CHECK(planrt::version() == VERSION);
    CHECK(fails(planrt::ErrorCode::not_found, [&] { return engine.tensor("mask"); }));

    const planrt::DoctorReport report = planrt::doctor({}, small);
    CHECK(report.usable && report.text.find("prob") != std::string::npos);
}

static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
}

static void views() {
    std::vector<float> elements{1, 2, 3};
    const planrt::Span<float> all(elements), two(elements.data() + 1, 2), none;
    CHECK(all.size() == 3 && two.size_bytes() == 8 && two[0] == 2 && none.empty());
    CHECK(std::equal(all.begin(), all.end(), elements.begin()));
    const planrt::Tensor named = planrt::Tensor::output("prob", two);
    const planrt_tensor tensor = named.get();
    CHECK(tensor.output_data == two.data() && tensor.size_bytes == 8 && tensor.input_data == nullptr);
    CHECK(planrt::element_count({}) == 1 && planrt::element_count({2, 0, 3}) == 0);
    CHECK(fails(planrt::ErrorCode::shape, [] { return planrt::element_count({-1, 2}); }));
    const int64_t half = int64_t{1} << 40;
    CHECK(fails(planrt::ErrorCode::shape, [&] { return planrt::element_count({half, half}); }));
    CHECK(planrt::name_of(planrt::ElementType::float32) == "float32" && planrt::size_of(planrt::ElementType::int64) == 8);
    CHECK(planrt::name_of(planrt::ElementType{99}).empty() && planrt::size_of(planrt::ElementType{99}) == 0);
}

// An empty object says so, and calls on it fail as calls.
static void empty() {
    const planrt::Runtime no_runtime(nullptr);
    planrt::Engine no_engine;
    planrt::Context no_context = nullptr;
    const planrt::Session no_session;
    const planrt::Request no_request;
    planrt::Buffer no_buffer;
    planrt::Stream no_stream;
    CHECK(!no_runtime && !no_engine && !no_context && !no_session && !no_request && !no_buffer && !no_stream);
    const auto invalid = planrt::ErrorCode::invalid_argument;
    CHECK(fails(invalid, [&] { return planrt::Engine::from_file(no_runtime, small); }));
    CHECK(fails(invalid, [&] { return planrt::Context(no_engine); }));
    CHECK(fails(invalid, [&] { no_context.run({}, {}); }));
    CHECK(fails(invalid, [&] { no_context.enqueue(no_stream); }));
    CHECK(fails(invalid, [&] { no_context.set_aux_streams({nullptr}); }));
    CHECK(fails(invalid, [&] { no_session.run({}, {}); }));
    CHECK(fails(invalid, [&] { return no_session.submit({}, {}); }));
    CHECK(fails(invalid, [&] { no_request.wait(); }));
    CHECK(fails(invalid, [&] { no_stream.synchronize(); }));
    CHECK(!no_request.poll() && no_buffer.data() == nullptr && no_engine.name().empty());
    no_request.cancel();
    no_context.cancel();

    CHECK(fails(invalid, [] { return planrt::Session({}); }));
    CHECK(fails(invalid, [] { return planrt::Session({}, {}); }));
    CHECK(fails(invalid, [] { return planrt::Session(std::vector<const planrt::Engine*>()); }));
    CHECK(fails(invalid, [&] { return planrt::Session({nullptr}); }));
    CHECK(fails(invalid, [&] { return planrt::Session(no_engine); }));
    const auto engine = planrt::Engine::from_file(planrt::Runtime(), small);
    CHECK(fails(invalid, [&] { return planrt::Session({&engine, nullptr}); }));
    CHECK(planrt::Session({&engine}));

    // A name with a NUL would else be another one.
    CHECK(fails(invalid, [&] { return engine.tensor(std::string("prob\0x", 6)); }));
    CHECK(fails(invalid, [&] { return planrt::Engine::from_file(planrt::Runtime(), small + std::string("\0x", 2)); }));
}

// A handle goes to the C interface and comes back, and its log with it.
static void adopts() {
    auto lines = std::make_shared<std::atomic<int>>(0);
    const std::weak_ptr<std::atomic<int>> log = lines;
    planrt::RuntimeOptions options;
    options.log_level = planrt::LogLevel::debug;
    options.log = [lines](planrt::LogLevel, const char*) { ++*lines; };
    lines.reset();
    planrt_runtime* handle = nullptr;
    {
        planrt::Runtime runtime(options);
        options.log = nullptr;
        handle = runtime.release();
        CHECK(!runtime);
    }
    planrt_engine* engine = nullptr;
    OK(planrt_engine_load_file(handle, small.c_str(), nullptr, &engine));
    CHECK(!log.expired() && *log.lock() > 0);
    {
        const planrt::Runtime again = planrt::Runtime::adopt(handle);
        CHECK(again && again.get() == handle);
        const planrt::Engine adopted = planrt::Engine::adopt(engine);
        CHECK(adopted.get() == engine && adopted.tensors().size() == 2);
    }
    CHECK(log.expired());
    CHECK(!planrt::Engine::adopt(nullptr));
}

// The callback outlives the call that ends it: a sanitizer sees what is used after it is freed.
static void ends_inside_its_log() {
    std::optional<planrt::Runtime> runtime;
    auto kept = std::make_shared<std::vector<int>>(1000, 7);
    const std::weak_ptr<std::vector<int>> log = kept;
    planrt::RuntimeOptions options;
    options.log_level = planrt::LogLevel::debug;
    options.log = [&runtime, kept](planrt::LogLevel, const char*) {
        runtime.reset();
        CHECK(kept->back() == 7);
    };
    kept.reset();
    runtime.emplace(options);
    options.log = nullptr;
    const std::string model = content(small);
    try {
        static_cast<void>(planrt::Engine::from_memory(*runtime, model.data(), model.size()));
    } catch (const planrt::Error&) {
        // Whether the engine is still loaded is not what this is about.
    }
    CHECK(!runtime && log.expired());
}

// Whatever order they go in: each keeps what it needs.
static void is_destroyed_in_any_order() {
    std::array<int, 6> order{0, 1, 2, 3, 4, 5};
    do {
        auto kept = std::make_shared<int>(0);
        const std::weak_ptr<int> log = kept;
        planrt::RuntimeOptions options;
        options.log_level = planrt::LogLevel::debug;
        options.log = [kept](planrt::LogLevel, const char*) { CHECK(*kept == 0); };
        kept.reset();
        planrt::Runtime runtime(options);
        options.log = nullptr;
        planrt::EngineOptions one_thread;
        one_thread.cpu_threads = 1;
        auto engine = planrt::Engine::from_file(runtime, MODELS "/tiny.onnx", one_thread);
        planrt::Context context(engine);
        planrt::Session session(engine);
        planrt::Buffer buffer(runtime, planrt::MemoryKind::host, 64);
        SmallWork work;
        planrt::Request request = session.submit(work.inputs(), work.outputs());
        for (const int which : order) {
            switch (which) {
                case 0: runtime = nullptr; break;
                case 1: engine = nullptr; break;
                case 2: context = nullptr; break;
                case 3: session = nullptr; break;
                case 4: request = nullptr; break;
                default: buffer = nullptr; break;
            }
        }
        CHECK(log.expired());
    } while (std::next_permutation(order.begin(), order.end()));
}

// Handles move, and a context outlives what it was made from.
static void moves() {
    std::unique_ptr<planrt::Context> context;
    {
        planrt::Runtime first;
        planrt::Runtime runtime(std::move(first));
        auto engine = planrt::Engine::from_file(runtime, small);
        auto moved = std::move(engine);
        engine = planrt::Engine::from_file(runtime, small);
        context = std::make_unique<planrt::Context>(moved);
    }
    const std::vector<float> prob = run(*context);
    planrt::Context other(std::move(*context));
    CHECK(run(other) == prob);
}

static void binds() {
    planrt::Runtime runtime;
    const auto engine = planrt::Engine::from_file(runtime, small);
    planrt::Context context(engine);
    const std::vector<float> expected = run(context);
    context.set_shape("image", image_shape);
    CHECK((context.shape("prob") == planrt::Shape{2, 2, 8, 8, 8}));
    planrt::Buffer input(runtime, planrt::MemoryKind::host, image.size() * sizeof(float));
    std::vector<float> prob(expected.size());
    const auto output = planrt::Buffer::wrap(runtime, planrt::MemoryKind::host, prob.data(), context.size("prob"));
    std::memcpy(input.data(), image.data(), input.size());
    context.bind("image", input);
    context.bind("prob", output);
    context.enqueue();
    CHECK(prob == expected);
    CHECK((context.output_shape("prob") == planrt::Shape{2, 2, 8, 8, 8}));
}

static void throws() {
    planrt::Runtime runtime;
    CHECK(planrt::name_of(planrt::ErrorCode::device_lost) == "PLANRT_ERROR_DEVICE_LOST");
    CHECK(planrt::name_of(planrt::ErrorCode{999}).empty());
    const planrt::Error no_file = thrown([&] { return planrt::Engine::from_file(runtime, "no_such_file.onnx"); });
    CHECK(no_file.code() == planrt::ErrorCode::not_found && std::strstr(no_file.what(), "no_such_file.onnx"));
    CHECK(thrown([&] { return planrt::Engine::from_memory(runtime, "x", 1); }).code() == planrt::ErrorCode::invalid_model);

    planrt::Context context(planrt::Engine::from_file(runtime, small));
    CHECK(thrown([&] { context.set_shape("image", {1, 1, 8, 8}); }).code() == planrt::ErrorCode::shape);
    CHECK(thrown([&] { return context.shape("mask"); }).code() == planrt::ErrorCode::not_found);
    std::vector<float> short_of_room(7);
    const planrt::Error too_small = thrown([&] {
        context.run({planrt::Tensor::input("image", image, image_shape)},
                    {planrt::Tensor::output("prob", short_of_room)});
    });
    CHECK(too_small.code() == planrt::ErrorCode::buffer_too_small);
    CHECK(short_of_room == std::vector<float>(7));
    run(context);
}

// CT is int16, and probabilities may go into what an application has.
static void converts() {
    const auto engine = planrt::Engine::from_file(planrt::Runtime(), small);
    planrt::Context context(engine);
    const std::vector<int16_t> voxels(image.size(), -7);
    const std::vector<float> same(image.size(), -7.0f);
    std::vector<double> prob(2 * image.size());
    std::vector<float> expected(prob.size());
    context.run({planrt::Tensor::input("image", voxels, image_shape)}, {planrt::Tensor::output("prob", prob)});
    context.run({planrt::Tensor::input("image", same, image_shape)}, {planrt::Tensor::output("prob", expected)});
    CHECK(std::equal(prob.begin(), prob.end(), expected.begin(), [](double a, float b) { return a == double{b}; }));
}

static void cancels() {
    planrt::Runtime runtime;
    planrt::Context context(planrt::Engine::from_file(runtime, MODELS "/slow.onnx"));
    std::thread canceller([&] { context.cancel(); });
    const planrt::Shape shape{1, 1, 64, 64, 64};
    const std::vector<float> voxels(planrt::element_count(shape));
    std::vector<float> prob(voxels.size());
    const planrt::Error error = thrown([&] {
        context.run({planrt::Tensor::input("image", voxels, shape)}, {planrt::Tensor::output("prob", prob)});
    });
    canceller.join();
    CHECK(error.code() == planrt::ErrorCode::cancelled);
}

int main() {
    views();
    empty();
    adopts();
    ends_inside_its_log();
    is_destroyed_in_any_order();
    describes();
    moves();
    binds();
    throws();
    converts();
    cancels();
}
