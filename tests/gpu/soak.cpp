// As many requests as the time allows, of random sizes, memory, priorities and deadlines, some cancelled: each is answered
// once, right if it succeeded, and memory stays flat. On whatever runs the model; meant for a plan on a GPU.
//
// usage: soak MODEL [SECONDS [THREADS]]       a model with one input (b,...) and one output; 20 and 24

#include "timing.hpp"

#include <planrt.hpp>

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace {

constexpr int64_t LARGEST = 4;
constexpr double TOLERANCE = 1e-6;  // a plan's answers in company are those that it gives alone

struct Network {
    std::string input, output;
    planrt::Shape item;
    size_t in = 0, out = 0;  // elements of an item
    std::vector<float> x, expected;  // of LARGEST items
};

struct Counts {
    std::atomic<long> asked{0}, good{0}, wrong{0}, cancelled{0}, late{0}, failed{0}, called{0}, with_callback{0};
    std::mutex lock;
    std::string first_failure;
};

long resident_kilobytes() {
    long pages = 0, resident = 0;
    if (FILE* file = std::fopen("/proc/self/statm", "r")) {
        if (std::fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
        std::fclose(file);
    }
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

// Bytes free on the device, 0 where there is none.
size_t free_device_memory() {
    void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    if (driver == nullptr) return 0;
    const auto retain = reinterpret_cast<int (*)(void**, int)>(dlsym(driver, "cuDevicePrimaryCtxRetain"));
    const auto set = reinterpret_cast<int (*)(void*)>(dlsym(driver, "cuCtxSetCurrent"));
    const auto info = reinterpret_cast<int (*)(size_t*, size_t*)>(dlsym(driver, "cuMemGetInfo_v2"));
    void* context = nullptr;
    size_t free = 0, total = 0;
    if (retain(&context, 0) == 0 && set(context) == 0) info(&free, &total);
    return free;
}

bool is_right(const Network& network, const float* y, int64_t items) {
    for (size_t i = 0; i < network.out * static_cast<size_t>(items); ++i)
        if (!(std::fabs(y[i] - network.expected[i]) <= TOLERANCE)) return false;
    return true;
}

void ask(const planrt::Runtime& runtime, const Network& network, planrt::Session& session, Counts& counts, bool on_gpu,
         unsigned seed, const std::atomic<bool>& over) {
    std::mt19937 random(seed);
    const auto dice = [&](unsigned sides) { return random() % sides; };
    const auto kind = static_cast<planrt::MemoryKind>(on_gpu ? 1 + seed % 3 : PLANRT_MEMORY_HOST);
    const size_t in_bytes = network.x.size() * sizeof(float), out_bytes = network.expected.size() * sizeof(float);
    const planrt::Buffer x(runtime, kind, in_bytes), y(runtime, kind, out_bytes);
    std::optional<planrt::Stream> stream;
    if (on_gpu) stream.emplace(runtime);
    const auto copy = [&](void* to, const void* from, size_t bytes) {
        if (!stream) return static_cast<void>(std::memcpy(to, from, bytes));
        stream->copy(to, from, bytes);
        stream->synchronize();
    };
    copy(x.data(), network.x.data(), in_bytes);
    std::vector<float> blank(network.expected.size(), -9.0f), got(network.expected.size());
    while (!over) {
        const int64_t items = 1 + static_cast<int64_t>(dice(static_cast<unsigned>(LARGEST)));
        planrt::Shape shape = network.item;
        shape[0] = items;
        planrt::RequestOptions options;
        options.priority = static_cast<int32_t>(dice(3));
        if (dice(8) == 0) options.timeout = std::chrono::microseconds(1 + dice(2000));
        std::atomic<int> calls{0};
        const bool calls_back = dice(3) == 0;
        if (calls_back) {
            ++counts.with_callback;
            options.callback = [&](const planrt::Error*) { ++calls; };
        }
        copy(y.data(), blank.data(), out_bytes);
        ++counts.asked;
        try {
            auto request = session.submit({planrt::Tensor::input(network.input, x, planrt::ElementType::float32, shape)},
                                          {planrt::Tensor::output(network.output, y, planrt::ElementType::float32)}, options);
            if (dice(5) == 0) {
                if (dice(2) == 0) std::this_thread::sleep_for(std::chrono::microseconds(dice(500)));
                request.cancel();
            }
            try {
                request.wait();
                copy(got.data(), y.data(), out_bytes);
                is_right(network, got.data(), items) ? ++counts.good : ++counts.wrong;
            } catch (const planrt::Error& error) {
                if (error.code() == planrt::ErrorCode::cancelled) ++counts.cancelled;
                else if (error.code() == planrt::ErrorCode::deadline) ++counts.late;
                else throw;
            }
            // Its callback comes once, soon.
            while (calls_back && calls == 0) std::this_thread::yield();
            counts.called += calls;
        } catch (const planrt::Error& error) {
            ++counts.failed;
            const std::lock_guard<std::mutex> guard(counts.lock);
            if (counts.first_failure.empty()) counts.first_failure = error.what();
        }
    }
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 2 || argc > 4) {
        std::fprintf(stderr, "usage: soak MODEL [SECONDS [THREADS]]\n");
        return 2;
    }
    const double seconds = argc > 2 ? std::atof(argv[2]) : 20;
    const unsigned threads = argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 24;
    const planrt::Runtime runtime;
    const auto engine = planrt::Engine::from_file(runtime, argv[1]);
    const bool on_gpu = engine.backend() == planrt::Backend::tensorrt;
    const auto tensors = engine.tensors();
    Network network{tensors.at(0).name, tensors.at(1).name, tensors.at(0).shape, 0, 0, {}, {}};
    network.item[0] = 1;
    network.in = planrt::element_count(network.item);
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < network.in * LARGEST; ++i) network.x.push_back(normal(random));
    {
        planrt::Context context(engine);
        context.set_shape(network.input, network.item);
        network.out = context.size(network.output) / sizeof(float);
        network.expected.resize(network.out * LARGEST);
        for (size_t i = 0; i < LARGEST; ++i) {
            const std::vector<float> x(network.x.begin() + static_cast<ptrdiff_t>(i * network.in),
                                       network.x.begin() + static_cast<ptrdiff_t>((i + 1) * network.in));
            std::vector<float> y(network.out);
            context.run({planrt::Tensor::input(network.input, x, network.item)},
                        {planrt::Tensor::output(network.output, y)});
            std::copy(y.begin(), y.end(), network.expected.begin() + static_cast<ptrdiff_t>(i * network.out));
        }
    }
    planrt::Session session(engine);
    Counts counts;
    std::atomic<bool> over{false};
    std::vector<std::thread> all;
    for (unsigned i = 0; i < threads; ++i)
        all.emplace_back([&, i] { ask(runtime, network, session, counts, on_gpu, i, over); });
    const auto start = Clock::now();
    const auto sleep_until = [&](double part) {
        std::this_thread::sleep_until(start + std::chrono::duration_cast<Clock::duration>(
                                                  std::chrono::duration<double>(part * seconds)));
    };
    sleep_until(0.2);
    const long memory = resident_kilobytes();
    const size_t device = free_device_memory();
    sleep_until(1);
    over = true;
    for (std::thread& thread : all) thread.join();
    const long asked = counts.asked, answered = counts.good + counts.wrong + counts.cancelled + counts.late + counts.failed;
    std::printf("%ld requests: %ld right, %ld wrong, %ld cancelled, %ld late, %ld failed; %ld of %ld callbacks\n", asked,
                counts.good.load(), counts.wrong.load(), counts.cancelled.load(), counts.late.load(), counts.failed.load(),
                counts.called.load(), counts.with_callback.load());
    std::printf("resident %ld kB, then %ld; device memory free %zu kB, then %zu\n", memory, resident_kilobytes(),
                device / 1024, free_device_memory() / 1024);
    if (!counts.first_failure.empty()) std::printf("first failure: %s\n", counts.first_failure.c_str());
    const bool flat = resident_kilobytes() < memory + 20000 && free_device_memory() + (64u << 20) > device;
    const bool good = asked == answered && counts.wrong == 0 && counts.failed == 0 && flat &&
                      counts.called == counts.with_callback && counts.good > 0;
    std::printf("%s\n", good ? "GOOD" : "BAD");
    return good ? 0 : 1;
} catch (const planrt::Error& error) {
    std::fprintf(stderr, "soak: %s\n%s\n", error.what(), error.detail().c_str());
    return 1;
}
