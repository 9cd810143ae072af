// Many threads that ask for one patch each: a planrt session beside plain TensorRT, on the same plan, in one process.
// Prints patches a second, latencies, and the ratios of the two.
//
// usage: throughput PLAN       a plan with one input (b,1,...) and one output

#include "callers.hpp"
#include "plain.hpp"

#include <cmath>
#include <cstring>
#include <random>

namespace {

constexpr double SECONDS = 0.2;  // of each measurement
constexpr int ROUNDS = 5;

// ---- Plain TensorRT ----

// One context with memory of its own, for a fixed batch, as a CUDA graph.
struct Plain {
    plain::Cuda& cuda;
    const Model& model;
    plain::Stream stream;
    plain::Handle* context;
    plain::DeviceAddress input, output;
    void *pinned_input = nullptr, *pinned_output = nullptr;
    plain::Graph graph = nullptr;
    int64_t batch;

    Plain(plain::Cuda& cuda, const Model& model, plain::Handle* engine, int32_t profile, int64_t batch)
        : cuda(cuda),
          model(model),
          stream(cuda.stream()),
          context(plain::create_context(engine)),
          input(cuda.device_memory(model.input_bytes * batch)),
          output(cuda.device_memory(model.output_bytes * batch)),
          batch(batch) {
        if (context == nullptr || !plain::set_profile(context, profile, stream)) plain::fail("no context");
        cuda.synchronize(stream);
        plain::Dims dims{static_cast<int32_t>(model.item.size()), {}};
        std::copy(model.item.begin(), model.item.end(), dims.extents);
        dims.extents[0] = static_cast<int32_t>(batch);
        plain::set_input_shape(context, model.input.c_str(), dims);
        plain::set_tensor_address(context, model.input.c_str(), input);
        plain::set_tensor_address(context, model.output.c_str(), output);
        if (!plain::enqueue(context, stream)) plain::fail("no run");
        cuda.synchronize(stream);
        graph = cuda.capture(stream, [&] { plain::enqueue(context, stream); });
    }
    ~Plain() { context->destroy(); }
    Plain(const Plain&) = delete;
    Plain& operator=(const Plain&) = delete;

    void upload() { cuda.copy(input, reinterpret_cast<plain::DeviceAddress>(pinned_input), model.input_bytes * batch, stream); }
    void download() {
        cuda.copy(reinterpret_cast<plain::DeviceAddress>(pinned_output), output, model.output_bytes * batch, stream);
    }
};

Result repeat(const std::function<void()>& step, double items) {
    for (const auto start = Clock::now(); since(start) < 0.15;) step();
    std::vector<double> times;
    const auto start = Clock::now();
    while (since(start) < SECONDS) {
        const auto before = Clock::now();
        step();
        times.push_back(1e6 * since(before));
    }
    Result result;
    result.rate = items * static_cast<double>(times.size()) / since(start);
    result.p50 = quantile(times, 0.5);
    result.p95 = quantile(times, 0.95);
    return result;
}

// The largest batch again and again, always one more in the stream than is waited for.
Result plain_static(plain::Cuda& cuda, const Model& model, plain::Handle* engine) {
    Plain run(cuda, model, engine, 0, model.largest);
    return repeat(
        [&] {
            for (int i = 0; i < 4; ++i) cuda.launch(run.graph, run.stream);
            cuda.synchronize(run.stream);
        },
        4.0 * static_cast<double>(model.largest));
}

// A thread for each context, batch 1.
Result plain_parallel(plain::Cuda& cuda, const Model& model, plain::Handle* engine, int32_t contexts, bool graphs) {
    std::vector<std::unique_ptr<Plain>> runs;
    for (int32_t i = 0; i < contexts; ++i) runs.push_back(std::make_unique<Plain>(cuda, model, engine, i, 1));
    std::vector<std::thread> threads;
    std::vector<Result> results(runs.size());
    for (size_t i = 0; i < runs.size(); ++i) {
        threads.emplace_back([&, i] {
            cuda.enter();
            results[i] = repeat(
                [&] {
                    if (graphs) cuda.launch(runs[i]->graph, runs[i]->stream);
                    else plain::enqueue(runs[i]->context, runs[i]->stream);
                    cuda.synchronize(runs[i]->stream);
                },
                1);
        });
    }
    Result sum = {};
    for (size_t i = 0; i < runs.size(); ++i) {
        threads[i].join();
        sum.rate += results[i].rate;
        sum.p50 = results[i].p50;
    }
    return sum;
}

// The largest batch from page-locked memory to page-locked memory, two buffers taking turns.
Result plain_pipeline(plain::Cuda& cuda, const Model& model, plain::Handle* engine) {
    const int32_t count = std::min(model.profiles, 2);
    std::vector<std::unique_ptr<Plain>> runs;
    for (int32_t i = 0; i < count; ++i) {
        runs.push_back(std::make_unique<Plain>(cuda, model, engine, i, model.largest));
        runs[i]->pinned_input = cuda.pinned_memory(model.input_bytes * model.largest);
        runs[i]->pinned_output = cuda.pinned_memory(model.output_bytes * model.largest);
    }
    size_t turn = 0;
    return repeat(
        [&] {
            Plain& run = *runs[turn++ % runs.size()];
            cuda.synchronize(run.stream);
            run.upload();
            cuda.launch(run.graph, run.stream);
            run.download();
        },
        static_cast<double>(model.largest));
}

// The same answers in company as alone, from a plain program: the largest difference.
void compare_answers(const planrt::Runtime& runtime, plain::Cuda& cuda, const Model& model, plain::Handle* engine,
                     planrt::Session& session) {
    constexpr int THREADS = 24, TURNS = 8;
    Plain alone(cuda, model, engine, 0, 1);
    const size_t in = model.input_bytes / sizeof(float), out = model.output_bytes / sizeof(float);
    std::vector<std::vector<float>> inputs(THREADS, std::vector<float>(in)), expected(THREADS, std::vector<float>(out));
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (int i = 0; i < THREADS; ++i) {
        for (float& value : inputs[i]) value = normal(random);
        cuda.copy(alone.input, reinterpret_cast<plain::DeviceAddress>(inputs[i].data()), model.input_bytes, alone.stream);
        cuda.launch(alone.graph, alone.stream);
        cuda.copy(reinterpret_cast<plain::DeviceAddress>(expected[i].data()), alone.output, model.output_bytes, alone.stream);
        cuda.synchronize(alone.stream);
    }
    std::atomic<int> exact{0};
    std::vector<double> largest(THREADS);
    std::vector<std::thread> threads;
    for (int i = 0; i < THREADS; ++i) {
        threads.emplace_back([&, i] {
            Caller caller(runtime, model, planrt::MemoryKind::host);
            std::memcpy(caller.input.data(), inputs[i].data(), model.input_bytes);
            const float* got = static_cast<const float*>(caller.output.data());
            for (int round = 0; round < TURNS; ++round) {
                std::memset(caller.output.data(), 0xff, model.output_bytes);
                caller.run(session);
                exact += std::memcmp(got, expected[i].data(), model.output_bytes) == 0;
                for (size_t j = 0; j < out; ++j) {
                    const double difference = std::fabs(static_cast<double>(got[j]) - static_cast<double>(expected[i][j]));
                    largest[i] = difference <= largest[i] ? largest[i] : difference;  // NaN is kept
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    double worst = 0;
    for (const double value : largest) worst = value <= worst ? worst : value;
    std::printf("  %d of %d answers in company are those of a plain run alone to the bit; largest difference %.2g\n",
                exact.load(), THREADS * TURNS, worst);
    ratio("largest difference of an answer in company", worst, 0.05, true);
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 2) {
        std::fprintf(stderr, "usage: throughput PLAN\n");
        return 2;
    }
    const auto start = Clock::now();
    plain::Cuda cuda;
    cuda.start();
    plain::TensorRt tensorrt;
    planrt::RuntimeOptions options;
    options.log = [](planrt::LogLevel, const char* message) { std::fprintf(stderr, "planrt: %s\n", message); };
    planrt::Runtime runtime(options);
    planrt::Engine engine = planrt::Engine::from_file(runtime, argv[1]);
    const Model model(argv[1], engine);
    std::printf("%s: %zu bytes in, %zu bytes out, batch up to %lld, %d profiles; %u host threads; medians of %d rounds\n",
                argv[1], model.input_bytes, model.output_bytes, static_cast<long long>(model.largest), model.profiles,
                std::thread::hardware_concurrency(), ROUNDS);
    const plain::Mapped plan(model.path);
    plain::Handle* plain_engine = tensorrt.deserialize(plan.data, plan.size);
    const int32_t parallel = std::min(model.profiles, 4);

    const auto before = Clock::now();
    planrt::Session session(engine);
    std::printf("the session is made in %.0f ms\n", 1e3 * since(before));
    planrt::SessionOptions alone_options;
    alone_options.largest_batch = 1;
    planrt::Session without_batches(engine, alone_options);
    const auto measure = [&](planrt::Session& some, int threads, planrt::MemoryKind kind) {
        return concurrent({&runtime}, model, some, threads, kind, SECONDS);
    };

    std::printf("\none thread, batch 1, device memory\n");
    double plain_latency = 0, our_latency = 0;
    {
        Plain alone(cuda, model, plain_engine, 0, 1);
        Caller caller(runtime, model, planrt::MemoryKind::device);
        std::vector<double> plain_times, our_times;
        for (int round = -100; round < 1000; ++round) {
            auto time = Clock::now();
            cuda.launch(alone.graph, alone.stream);
            cuda.synchronize(alone.stream);
            const double plain_time = 1e6 * since(time);
            time = Clock::now();
            caller.run(session);
            const double our_time = 1e6 * since(time);
            if (round < 0) continue;
            plain_times.push_back(plain_time);
            our_times.push_back(our_time);
        }
        plain_latency = median(plain_times);
        our_latency = median(our_times);
        std::printf("  plain graph %.1f us, session %.1f us (medians, turn by turn)\n", plain_latency, our_latency);
    }
    ratio("one thread: session's median latency - plain's, us", our_latency - plain_latency, 15, true);

    std::printf("\n32 threads\n");
    std::vector<double> fixed, contexts, device, ordinary, pinned;
    for (int round = 0; round < ROUNDS; ++round) {
        const Result largest = plain_static(cuda, model, plain_engine);
        const Result alone = plain_parallel(cuda, model, plain_engine, parallel, false);
        const Result graphs = plain_parallel(cuda, model, plain_engine, parallel, true);
        const Result pipeline = plain_pipeline(cuda, model, plain_engine);
        const Result on_device = measure(session, 32, planrt::MemoryKind::device);
        const Result from_host = measure(session, 32, planrt::MemoryKind::host);
        const Result from_pinned = measure(session, 32, planrt::MemoryKind::pinned);
        print("plain: largest batch, CUDA graph, device memory", largest);
        print("plain: batch 1, a context for each profile up to 4", alone);
        print("plain: the same with CUDA graphs", graphs);
        print("plain: largest batch, pinned memory, double buffers", pipeline);
        print("session: device memory", on_device);
        print("session: ordinary host memory", from_host);
        print("session: pinned host memory", from_pinned);
        fixed.push_back(on_device.rate / largest.rate);
        contexts.push_back(on_device.rate / alone.rate);
        ordinary.push_back(from_host.rate / pipeline.rate);
        pinned.push_back(from_pinned.rate / pipeline.rate);
    }
    ratio("device memory / plain largest batch", median(fixed), 0.95);
    ratio("device memory / plain parallel contexts", median(contexts), model.largest >= 16 ? 2.5 : 1.0);
    ratio("ordinary host memory / plain pipeline from pinned memory", median(ordinary), 0.9);
    ratio("pinned host memory / plain pipeline", median(pinned), 0.9);
    compare_answers(runtime, cuda, model, plain_engine, session);

    std::printf("\nbatching on and off, device memory, turn by turn\n");
    double worst = 10;
    for (const int threads : {1, 2, 4, 8, 16, 32, 64}) {
        std::vector<double> on, off, ratios;
        for (int round = 0; round < ROUNDS; ++round) {
            for (const bool batches : {round % 2 == 0, round % 2 != 0}) {
                const double rate = measure(batches ? session : without_batches, threads, planrt::MemoryKind::device).rate;
                (batches ? on : off).push_back(rate);
            }
            ratios.push_back(on.back() / off.back());
        }
        std::printf("  %3d threads: on %7.0f patches/s   off %7.0f   on/off %.3f (%.3f to %.3f)\n", threads, median(on),
                    median(off), median(ratios), quantile(ratios, 0), quantile(ratios, 1));
        std::fflush(stdout);
        worst = std::min(worst, median(ratios));
    }
    ratio("batching on / off, the least over all concurrencies", worst, 0.98);
    plain_engine->destroy();
    std::printf("%.0f s\n", since(start));
    return 0;
} catch (const planrt::Error& error) {
    std::fprintf(stderr, "throughput: %s\n%s\n", error.what(), error.detail().c_str());
    return 1;
}
