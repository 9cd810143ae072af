// planrt.hpp: who owns what, what is thrown, and that each call reaches the library.

#include <planrt.hpp>

#include "../check.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <thread>

static const std::string small = MODELS "/small.onnx";
static const planrt::Shape image_shape{2, 1, 8, 8, 8};
static const std::vector<float> image(planrt::element_count(image_shape), 0.5f);

template <class T>
constexpr bool move_only = std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
                           !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(move_only<planrt::Runtime> && move_only<planrt::Engine> && move_only<planrt::Context> &&
              move_only<planrt::Stream> && move_only<planrt::Buffer>);

// What the call throws; the program ends if it throws nothing.
template <class Call>
planrt::Error thrown(Call call) {
    try {
        call();
    } catch (const planrt::Error& error) {
        std::printf("%d: %s\n", static_cast<int>(error.code()), error.what());
        return error;
    }
    CHECK(!"an error");
    std::abort();
}

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
    const auto engine = planrt::Engine::from_file(runtime, small, engine_options);
    CHECK(*lines > 0);
    CHECK(engine.backend() == planrt::Backend::cpu);
    CHECK(engine.tensors().size() == 2 && engine.profile_count() == 0 && engine.device_memory_size() == 0);
    const planrt::TensorInfo prob = engine.tensor("prob");
    CHECK(prob.role == planrt::TensorRole::output && prob.element_type == planrt::ElementType::float32);
    CHECK((prob.shape == planrt::Shape{-1, 2, 8, 8, 8}));
    CHECK(planrt::version() == VERSION);

    const planrt::DoctorReport report = planrt::doctor({}, small);
    CHECK(report.usable && report.text.find("prob") != std::string::npos);
}

// Handles move, and a context outlives what it was made from.
static void owns() {
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
}

static void throws() {
    planrt::Runtime runtime;
    const planrt::Error no_file = thrown([&] { planrt::Engine::from_file(runtime, "no_such_file.onnx"); });
    CHECK(no_file.code() == planrt::ErrorCode::not_found && std::strstr(no_file.what(), "no_such_file.onnx"));
    CHECK(thrown([&] { planrt::Engine::from_memory(runtime, "x", 1); }).code() == planrt::ErrorCode::invalid_model);

    planrt::Context context(planrt::Engine::from_file(runtime, small));
    CHECK(thrown([&] { context.set_shape("image", {1, 1, 8, 8}); }).code() == planrt::ErrorCode::shape);
    CHECK(thrown([&] { context.shape("mask"); }).code() == planrt::ErrorCode::not_found);
    std::vector<float> short_of_room(7);
    const planrt::Error too_small = thrown([&] {
        context.run({planrt::Tensor::input("image", image, image_shape)},
                    {planrt::Tensor::output("prob", short_of_room)});
    });
    CHECK(too_small.code() == planrt::ErrorCode::buffer_too_small);
    CHECK(short_of_room == std::vector<float>(7));
    run(context);
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
    describes();
    owns();
    binds();
    throws();
    cancels();
}
