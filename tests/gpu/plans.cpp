// Plans on a GPU: numbers, profiles, streams, damage. Needs a GPU, TensorRT 8.5 and plans; without them it is skipped.
//
// usage: plans FOLDER [damaged [COUNT] | without-plugins]
// FOLDER holds unet32.onnx, unet32-fp16-4profiles.plan, deepbrain-fp32.plan, unet32in-fp32.plan

#include "../check.h"

#include <planrt.hpp>

#include <atomic>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <random>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

constexpr int SKIPPED = 77;
std::string folder;

std::vector<char> read(const std::string& name) {
    std::ifstream file(folder + "/" + name, std::ios::binary);
    std::vector<char> data((std::istreambuf_iterator<char>(file)), {});
    CHECK(!data.empty());
    return data;
}

void expect(planrt::ErrorCode code, const char* text, const std::function<void()>& call) {
    try {
        call();
    } catch (const planrt::Error& error) {
        std::cout << "  " << static_cast<int>(error.code()) << ": " << error.what() << "\n";
        if (!error.detail().empty()) std::cout << "     (" << error.detail().substr(0, 200) << ")\n";
        CHECK(error.code() == code);
        CHECK(strstr(error.what(), text) != nullptr);
        return;
    }
    CHECK(!"an error was expected");
}

std::vector<float> noise(size_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& value : values) value = normal(generator);
    return values;
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    CHECK(a.size() == b.size());
    float largest = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        CHECK(std::isfinite(a[i]) && std::isfinite(b[i]));
        largest = std::max(largest, std::fabs(a[i] - b[i]));
    }
    return largest;
}

constexpr size_t VOXELS = 32 * 32 * 32;
planrt::Shape shape32(int64_t batch) { return {batch, 1, 32, 32, 32}; }

std::vector<float> run32(planrt::Context& context, const std::vector<float>& input, int64_t batch) {
    std::vector<float> output(batch * 2 * VOXELS);
    context.run({planrt::Tensor::input("INPUT__0", input, shape32(batch))},
                {planrt::Tensor::output("OUTPUT__0", output)});
    return output;
}

// The plan against the model that it was built from, on the CPU.
void numbers(planrt::Runtime& runtime) {
    const planrt::Engine cpu = planrt::Engine::from_file(runtime, folder + "/unet32.onnx");
    const planrt::Engine gpu = planrt::Engine::from_file(runtime, folder + "/unet32-fp16-4profiles.plan");
    planrt::Context cpu_context(cpu), gpu_context(gpu);
    for (const int64_t batch : {1, 3, 16}) {
        const auto input = noise(batch * VOXELS, 7);
        const float difference = largest_difference(run32(cpu_context, input, batch), run32(gpu_context, input, batch));
        std::cout << "  batch " << batch << ": fp16 plan against the CPU, largest difference " << difference << "\n";
        CHECK(difference < 2e-3f);
    }
}

// Bound device memory and a stream give what a run from host to host gives; also on a wrapped stream, behind another.
void device_memory(planrt::Runtime& runtime) {
    const planrt::Engine engine = planrt::Engine::from_file(runtime, folder + "/unet32-fp16-4profiles.plan");
    planrt::Context context(engine);
    const auto input = noise(2 * VOXELS, 3);
    const auto expected = run32(context, input, 2);
    planrt::Stream upload(runtime, -1), made(runtime);
    planrt::Stream compute = planrt::Stream::wrap(runtime, made.native());
    const planrt::Buffer device_input(runtime, planrt::MemoryKind::device, context.size("INPUT__0"));
    const planrt::Buffer device_output(runtime, planrt::MemoryKind::device, context.size("OUTPUT__0"));
    const planrt::Buffer pinned(runtime, planrt::MemoryKind::pinned, device_output.size());
    context.bind("INPUT__0", device_input.data(), device_input.size());
    context.bind("OUTPUT__0", device_output.data(), device_output.size());
    for (int i = 0; i < 3; ++i) {
        upload.copy(device_input.data(), input.data(), device_input.size());
        compute.wait_for(upload);
        context.enqueue(compute);
        compute.copy(pinned.data(), device_output.data(), pinned.size());
        compute.synchronize();
        CHECK(compute.query());
        const float* result = static_cast<const float*>(pinned.data());
        CHECK(std::vector<float>(result, result + expected.size()) == expected);
        // A run from host memory in between must not disturb what is bound.
        CHECK(run32(context, input, 2) == expected);
    }
    const planrt::Buffer small(runtime, planrt::MemoryKind::device, 16);
    context.bind("OUTPUT__0", small.data(), small.size());
    expect(planrt::ErrorCode::buffer_too_small, "OUTPUT__0", [&] { context.enqueue(compute); });
}

// Four profiles serve four threads at once; a fifth context is refused; a free profile is found again.
void profiles(planrt::Runtime& runtime) {
    const planrt::Engine engine = planrt::Engine::from_file(runtime, folder + "/unet32-fp16-4profiles.plan");
    const auto input = noise(VOXELS, 5);
    std::vector<std::vector<float>> outputs(4);
    {
        std::vector<planrt::Context> contexts;
        for (int i = 0; i < 4; ++i) contexts.emplace_back(engine);
        expect(planrt::ErrorCode::in_use, "profiles 0, 1, 2, 3", [&] { planrt::Context fifth(engine); });
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([&, i] {
                for (int round = 0; round < 50; ++round) outputs[i] = run32(contexts[i], input, 1);
            });
        }
        for (std::thread& thread : threads) thread.join();
        for (int i = 0; i < 4; ++i) {
            CHECK(contexts[i].profile() == i);
            CHECK(largest_difference(outputs[i], outputs[0]) < 2e-3f);
        }
        expect(planrt::ErrorCode::in_use, "profile 2", [&] { contexts[0].set_profile(2); });
    }
    planrt::Context again(engine);
    CHECK(again.profile() == 0);
    again.set_profile(3);
    CHECK(again.profile() == 3);
    CHECK(largest_difference(run32(again, input, 1), outputs[0]) < 2e-3f);
    expect(planrt::ErrorCode::shape, "nearest", [&] { run32(again, noise(17 * VOXELS, 1), 17); });
    // Two profiles, both at once, from two threads, on a larger network.
    const planrt::Engine deepbrain = planrt::Engine::from_file(runtime, folder + "/deepbrain-fp32.plan");
    planrt::Context first(deepbrain), second(deepbrain);
    expect(planrt::ErrorCode::in_use, "8.5.3", [&] { planrt::Context third(deepbrain); });
    const std::vector<float> head(128 * 128 * 128, 0.5f);
    std::vector<float> results[2] = {std::vector<float>(head.size()), std::vector<float>(head.size())};
    planrt::Context* both[2] = {&first, &second};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&, i] {
            for (int round = 0; round < 10; ++round) {
                both[i]->run({planrt::Tensor::input("image", head, {1, 1, 128, 128, 128})},
                             {planrt::Tensor::output("prob", results[i])});
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(largest_difference(results[0], results[1]) < 0.05f);  // TF32, and each profile has kernels of its own
}

// One context from two threads at once: one of them is told, and nothing breaks.
void one_context_two_threads(planrt::Runtime& runtime) {
    const planrt::Engine engine = planrt::Engine::from_file(runtime, folder + "/unet32-fp16-4profiles.plan");
    planrt::Context context(engine);
    const auto input = noise(VOXELS, 5);
    const auto expected = run32(context, input, 1);
    std::atomic<int> refused{0}, done{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < 200; ++round) {
                try {
                    CHECK(run32(context, input, 1) == expected);
                    ++done;
                } catch (const planrt::Error& error) {
                    CHECK(error.code() == planrt::ErrorCode::in_use);
                    ++refused;
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    std::cout << "  " << done << " runs, " << refused << " refused\n";
    CHECK(refused > 0 && done > 0 && refused + done == 400);
}

void plugins(planrt::Runtime& runtime) {
    try {
        const planrt::Engine engine = planrt::Engine::from_file(runtime, folder + "/unet32in-fp32.plan");
        planrt::Context context(engine);
        const auto output = run32(context, noise(2 * VOXELS, 5), 2);
        for (const float value : output) CHECK(value >= 0 && value <= 1);
        std::cout << "  runs with its plugin\n";
    } catch (const planrt::Error& error) {
        std::cout << "  " << error.what() << "\n";
        CHECK(error.code() == planrt::ErrorCode::missing_plugin);
        CHECK(strstr(error.what(), "InstanceNormalization_TRT") && strstr(error.what(), "libnvinfer_plugin.so.8"));
    }
}

// Cut short, of another version, for another GPU: known from the header.
void headers(planrt::Runtime& runtime) {
    const auto plan = read("unet32-fp16-4profiles.plan");
    const auto load = [&](const std::vector<char>& data) { return planrt::Engine::from_memory(runtime, data.data(), data.size()); };
    for (int i = 0; i < 20; ++i) {
        const auto cut = std::vector<char>(plan.begin(), plan.begin() + 5 + plan.size() * i / 20);
        try {
            load(cut);
            CHECK(!"cut short");
        } catch (const planrt::Error& error) {
            CHECK(error.code() == planrt::ErrorCode::invalid_model);
        }
    }
    auto other_gpu = plan;
    other_gpu[56] = 8;
    other_gpu[64] = 6;
    expect(planrt::ErrorCode::incompatible_model, "8.6", [&] { load(other_gpu); });
    auto other_version = plan;
    other_version[33] = 4;  // 8.4.3
    expect(planrt::ErrorCode::incompatible_model, "8.4.3", [&] { load(other_version); });
}

// Memory that is not there is an error, and once there is some again everything goes on.
void out_of_memory(planrt::Runtime& runtime) {
    expect(planrt::ErrorCode::out_of_memory, "bytes free", [&] {
        planrt::Buffer(runtime, planrt::MemoryKind::device, size_t{1} << 43);
    });
    const planrt::Engine engine = planrt::Engine::from_file(runtime, folder + "/deepbrain-fp32.plan");
    {
        std::vector<planrt::Buffer> ballast;
        for (size_t size = size_t{1} << 34; size >= size_t{1} << 20;) {
            try {
                ballast.emplace_back(runtime, planrt::MemoryKind::device, size);
            } catch (const planrt::Error&) {
                size /= 2;
            }
        }
        // A stream or the context's memory, whichever is the first that does not fit.
        expect(planrt::ErrorCode::out_of_memory, "", [&] { planrt::Context context(engine); });
    }
    planrt::Context context(engine);
    CHECK(context.profile() == 0);
}

// Asked in a process of its own: this one may fork later, which CUDA does not survive.
bool has_gpu() {
    const pid_t child = fork();
    if (child == 0) {
        try {
            planrt::Runtime().load_tensorrt();
        } catch (const planrt::Error& error) {
            std::cout << "skipped: " << error.what() << std::endl;
            _exit(1);
        }
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// A plan with one byte changed: whatever comes of it, the process lives. Each in a process of its own.
int damaged(int count) {
    const auto plan = read("unet32-fp16-4profiles.plan");
    int refused = 0, ran = 0, died = 0;
    for (int i = 0; i < count; ++i) {
        const size_t place = 24 + (plan.size() - 24) * static_cast<size_t>(i) / count;
        const pid_t child = fork();
        if (child == 0) {
            auto changed = plan;
            changed[place] ^= 0x55;
            try {
                planrt::Runtime runtime;
                const planrt::Engine engine = planrt::Engine::from_memory(runtime, changed.data(), changed.size());
                planrt::Context context(engine);
                run32(context, noise(VOXELS, 5), 1);
            } catch (const planrt::Error& error) {
                std::cout << "  byte " << place << ": " << static_cast<int>(error.code()) << ": " << error.what() << std::endl;
                _exit(1);
            }
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (!WIFEXITED(status)) {
            std::cout << "  byte " << place << ": DIED by signal " << WTERMSIG(status) << "\n";
            ++died;
        } else {
            ++(WEXITSTATUS(status) == 0 ? ran : refused);
        }
    }
    std::cout << count << " changed bytes: " << refused << " refused, " << ran << " ran, " << died << " died\n";
    return died == 0 ? 0 : 1;
}

// Plugins forbidden: the error says so. In a process of its own, since a plugin once registered is there for all.
int without_plugins() {
    planrt::RuntimeOptions options;
    options.standard_plugins = false;
    planrt::Runtime runtime(options);
    expect(planrt::ErrorCode::missing_plugin, "InstanceNormalization_TRT",
           [&] { return planrt::Engine::from_file(runtime, folder + "/unet32in-fp32.plan"); });
    return 0;
}

}  // namespace

// A stream goes on behind a session's request while the device still computes it: what the stream copies then is the answer,
// and the host did not wait.
void stream_order(planrt::Runtime& runtime) {
    const planrt::Engine engine = planrt::Engine::from_file(runtime, folder + "/deepbrain-fp32.plan");
    planrt::Session session(engine);
    constexpr size_t COUNT = 128 * 128 * 128;
    planrt::Stream stream(runtime);
    const planrt::Buffer x(runtime, planrt::MemoryKind::device, COUNT * 4), y(runtime, planrt::MemoryKind::device, COUNT * 4);
    const planrt::Buffer host(runtime, planrt::MemoryKind::pinned, COUNT * 4);
    int unanswered = 0;
    for (int i = 0; i < 40; ++i) {
        const auto image = noise(COUNT, static_cast<unsigned>(i % 3));
        std::vector<float> expected(COUNT);
        session.run({planrt::Tensor::input("image", image, {1, 1, 128, 128, 128})},
                    {planrt::Tensor::output("prob", expected)});
        stream.copy(x.data(), image.data(), COUNT * 4);
        planrt::RequestOptions options;
        options.stream = &stream;
        planrt::Request request =
            session.submit({planrt::Tensor::input("image", x, planrt::ElementType::float32, {1, 1, 128, 128, 128})},
                           {planrt::Tensor::output("prob", y, planrt::ElementType::float32)}, options);
        request.order_stream(stream);
        unanswered += !request.poll();
        stream.copy(host.data(), y.data(), COUNT * 4);
        stream.synchronize();
        CHECK(std::memcmp(host.data(), expected.data(), COUNT * 4) == 0);
        request.wait();
    }
    std::cout << "  " << unanswered << " of 40 requests were not answered when the stream was ordered behind them\n";
    CHECK(unanswered > 0);
}

int main(int argc, char** argv) {
    if (argc < 2 || argc > 4) return 2;
    folder = argv[1];
    std::cout << std::unitbuf;
    const std::string only = argc > 2 ? argv[2] : "";
    if (!has_gpu()) return SKIPPED;
    if (only == "damaged") return damaged(argc > 3 ? std::atoi(argv[3]) : 20);
    if (only == "without-plugins") return without_plugins();
    planrt::RuntimeOptions options;
    options.log_level = planrt::LogLevel::warning;
    options.log = [](planrt::LogLevel level, const char* message) {
        std::cout << "  log " << static_cast<int>(level) << ": " << message << "\n";
    };
    planrt::Runtime runtime(options);
    const std::pair<const char*, void (*)(planrt::Runtime&)> tests[] = {
        {"numbers", numbers},   {"device memory", device_memory}, {"profiles", profiles}, {"stream order", stream_order},
        {"one context, two threads", one_context_two_threads}, {"plugins", plugins}, {"headers", headers},
        {"out of memory", out_of_memory},
    };
    for (const auto& [name, test] : tests) {
        std::cout << name << "\n";
        try {
            test(runtime);
        } catch (const planrt::Error& error) {
            std::cout << "FAILED: " << error.what() << "\n" << error.detail() << "\n";
            return 1;
        }
    }
    std::cout << "all passed\n";
}
