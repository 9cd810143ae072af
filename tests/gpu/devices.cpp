// One session over several GPUs: what the second one brings. And what happens when a device is lost.
//
// usage: devices PLAN

#include "callers.hpp"
#include "plain.hpp"

#include <cstring>
#include <memory>

namespace {

constexpr double SECONDS = 0.5;
constexpr int ROUNDS = 3;

// A kernel that ends in a trap takes the device's context with it, as a broken kernel of the application's would, and more:
// the CUDA runtime's documentation says that the process has to be started anew. So the other devices may be lost, too.
const char TRAP[] = ".version 6.0\n.target sm_50\n.address_size 64\n.visible .entry broken()\n{\n    trap;\n}\n";

void break_device(plain::Cuda& cuda, int device) {
    void *context = nullptr, *module = nullptr, *function = nullptr;
    const auto load = plain::symbol<int(void**, const void*)>(cuda.library, "cuModuleLoadData");
    const auto find = plain::symbol<int(void**, void*, const char*)>(cuda.library, "cuModuleGetFunction");
    const auto launch = plain::symbol<int(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                                          void**, void**)>(cuda.library, "cuLaunchKernel");
    if (cuda.primary(&context, device) != 0 || cuda.set_current(context) != 0) plain::fail("no context");
    if (load(&module, TRAP) != 0 || find(&function, module, "broken") != 0) plain::fail("no kernel");
    if (launch(function, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr) != 0) plain::fail("no launch");
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 2) {
        std::fprintf(stderr, "usage: devices PLAN\n");
        return 2;
    }
    plain::Cuda cuda;
    cuda.start();
    int count = 0;
    plain::symbol<int(int*)>(cuda.library, "cuDeviceGetCount")(&count);
    std::vector<std::unique_ptr<planrt::Runtime>> runtimes;
    std::vector<std::unique_ptr<planrt::Engine>> engines;
    std::vector<const planrt::Engine*> all;
    std::vector<const planrt::Runtime*> devices;
    for (int device = 0; device < std::min(count, 2); ++device) {
        planrt::RuntimeOptions options;
        options.device = device;
        options.log = [](planrt::LogLevel, const char* message) { std::fprintf(stderr, "planrt: %s\n", message); };
        runtimes.push_back(std::make_unique<planrt::Runtime>(options));
        engines.push_back(std::make_unique<planrt::Engine>(planrt::Engine::from_file(*runtimes.back(), argv[1])));
        devices.push_back(runtimes.back().get());
        all.push_back(engines.back().get());
    }
    const Model model(argv[1], *engines[0]);
    std::printf("%s on %zu devices; medians of %d rounds\n", argv[1], devices.size(), ROUNDS);

    if (devices.size() == 2) {
        planrt::Session one(*engines[0]), both(all);
        for (const auto kind : {planrt::MemoryKind::device, planrt::MemoryKind::pinned, planrt::MemoryKind::host}) {
            const char* name = kind == planrt::MemoryKind::device   ? "device memory"
                               : kind == planrt::MemoryKind::pinned ? "pinned host memory"
                                                                    : "ordinary host memory";
            for (const int threads : {32, 64, 128}) {
                std::vector<double> ratios;
                Result first, second;
                for (int round = 0; round < ROUNDS; ++round) {
                    first = concurrent({devices[0]}, model, one, threads / 2, kind, SECONDS);
                    second = concurrent(devices, model, both, threads, kind, SECONDS);
                    ratios.push_back(second.rate / first.rate);
                }
                std::printf("  %s: one GPU, %d threads %7.0f patches/s; two GPUs, %d threads %7.0f (batch %.1f)\n", name,
                            threads / 2, first.rate, threads, second.rate, second.batch);
                ratio((std::string(name) + ", " + std::to_string(threads) + " threads").c_str(), median(ratios), 1.9);
            }
        }
    }

    // Requests go on while a device breaks: each gets the right answer or an error, and nothing hangs.
    {
        planrt::SessionOptions options;
        options.retry = true;
        planrt::Session session(all, options);
        std::atomic<int> good{0}, failed{0}, bad_answers{0};
        std::atomic<bool> over{false};
        std::vector<std::thread> threads;
        std::vector<float> expected(model.output_bytes / sizeof(float));
        {
            Caller caller(*devices[0], model, planrt::MemoryKind::host);
            std::memset(caller.input.data(), 0, model.input_bytes);
            caller.run(session);
            std::memcpy(expected.data(), caller.output.data(), model.output_bytes);
        }
        for (int i = 0; i < 8; ++i) {
            threads.emplace_back([&] {
                // Ordinary memory: page-locked memory belongs to a context, too.
                std::vector<float> in(model.input_bytes / sizeof(float)), out(expected.size());
                while (!over) {
                    try {
                        session.run({planrt::Tensor::input(model.input, in, model.item)},
                                    {planrt::Tensor::output(model.output, out)});
                        ++good;
                        bad_answers += out != expected;
                    } catch (const planrt::Error& error) {
                        if (++failed == 1) std::printf("  %s\n", error.what());
                    }
                }
            });
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        const int before = good;
        break_device(cuda, 0);
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        over = true;
        for (std::thread& thread : threads) thread.join();
        std::printf("  a device is lost: %d answers before, %d while and after it broke, %d requests failed\n", before,
                    good - before, failed.load());
        ratio("wrong answers", bad_answers, 0, true);
        ratio("answers before, and failed requests", std::min(before, failed.load()), 1);
    }
    std::printf("  the session is deleted\n");
    return 0;
} catch (const planrt::Error& error) {
    std::fprintf(stderr, "devices: %s\n%s\n", error.what(), error.detail().c_str());
    return 1;
}
