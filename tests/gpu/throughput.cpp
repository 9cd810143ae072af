// Many threads that ask for one patch each: a planrt session beside plain TensorRT, on the same plan, in one process.
// Prints patches a second, latencies, and the ratios that issue 4 asks for.
//
// usage: throughput PLAN [SECONDS]       a plan with one input (b,1,...) and one output; seconds of each measurement (0.7)

#include "plain.hpp"

#include <planrt.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

namespace {

using Clock = std::chrono::steady_clock;

double seconds_each = 0.7;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double quantile(std::vector<double>& values, double part) {
    if (values.empty()) return 0;
    const auto place = values.begin() + static_cast<ptrdiff_t>(part * static_cast<double>(values.size() - 1));
    std::nth_element(values.begin(), place, values.end());
    return *place;
}

struct Model {
    std::string path, input, output;
    planrt::Shape item;  // with a batch of 1
    int64_t largest = 1;
    int32_t profiles = 1;
    size_t input_bytes = 0, output_bytes = 0;  // of one item
};

struct Result {
    double rate = 0;           // items a second
    double p50 = 0, p95 = 0;   // microseconds
    double batch = 0;          // items of the mean batch
};

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
    while (since(start) < seconds_each) {
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

// ---- planrt ----

// One thread's request, of one item or more.
struct Caller {
    planrt::Buffer input, output;
    planrt_tensor in{}, out{};

    Caller(const planrt::Runtime& runtime, const Model& model, planrt::MemoryKind kind, int64_t batch = 1)
        : input(runtime, kind, model.input_bytes * batch), output(runtime, kind, model.output_bytes * batch) {
        in.struct_size = out.struct_size = sizeof in;
        in.name = model.input.c_str();
        out.name = model.output.c_str();
        in.data = input.data();
        out.data = output.data();
        in.size = input.size();
        out.size = output.size();
        in.element_type = out.element_type = PLANRT_FLOAT32;
        in.memory_kind = out.memory_kind = static_cast<planrt_memory_kind>(kind);
        resize(model, batch);
    }
    void resize(const Model& model, int64_t batch) {
        in.rank = static_cast<int32_t>(model.item.size());
        std::copy(model.item.begin(), model.item.end(), in.shape);
        in.shape[0] = batch;
    }
    void run(planrt::Session& session) {
        planrt::detail::check(planrt_session_run(session.get(), &in, 1, &out, 1, nullptr));
    }
};

planrt::Session make_session(const planrt::Engine& engine, int32_t contexts, bool batching) {
    planrt::SessionOptions options;
    options.contexts = contexts;
    if (!batching) options.largest_batch = 1;
    return planrt::Session(engine, options);
}

// Lets every context meet every batch size, so that no graph is captured while the time is taken.
void warm(const planrt::Runtime& runtime, const Model& model, planrt::Session& session) {
    std::vector<std::thread> threads;
    for (unsigned seed = 0; seed < 6; ++seed) {
        threads.emplace_back([&, seed] {
            std::mt19937 random(seed);
            Caller caller(runtime, model, planrt::MemoryKind::device, model.largest);
            for (int64_t batch = 1; batch <= model.largest; ++batch) {
                caller.resize(model, batch);
                for (int i = 0; i < 2; ++i) caller.run(session);
            }
            for (const auto start = Clock::now(); since(start) < 0.3;) {
                caller.resize(model, 1 + static_cast<int64_t>(random() % static_cast<unsigned>(model.largest)));
                caller.run(session);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
}

Result concurrent(const planrt::Runtime& runtime, const Model& model, planrt::Session& session, int count,
                  planrt::MemoryKind kind) {
    std::vector<std::unique_ptr<Caller>> callers;
    for (int i = 0; i < count; ++i) callers.push_back(std::make_unique<Caller>(runtime, model, kind));
    std::atomic<int> phase{0};  // warming up, measured, over
    std::vector<std::vector<double>> times(callers.size());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < callers.size(); ++i) {
        times[i].reserve(1 << 16);
        threads.emplace_back([&, i] {
            while (phase != 2) {
                const bool counted = phase == 1;
                const auto before = Clock::now();
                callers[i]->run(session);
                if (counted) times[i].push_back(1e6 * since(before));
            }
        });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const auto counts = [&] {
        const auto statistics = session.statistics();
        uint64_t batches = 0;
        for (const uint64_t count : statistics.batches) batches += count;
        return std::pair(statistics.items, batches);
    };
    const auto before = counts();
    phase = 1;
    const auto start = Clock::now();
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds_each));
    const auto after = counts();
    const double elapsed = since(start);
    phase = 2;
    for (std::thread& thread : threads) thread.join();
    std::vector<double> all;
    for (const auto& some : times) all.insert(all.end(), some.begin(), some.end());
    Result result;
    result.rate = static_cast<double>(after.first - before.first) / elapsed;
    result.batch = static_cast<double>(after.first - before.first) /
                   static_cast<double>(std::max<uint64_t>(1, after.second - before.second));
    result.p50 = quantile(all, 0.5);
    result.p95 = quantile(all, 0.95);
    return result;
}

void print(const char* what, const Result& result) {
    std::printf("  %-52s %9.0f patches/s   p50 %7.0f us   p95 %7.0f us   batch %5.1f\n", what, result.rate, result.p50,
                result.p95, result.batch);
    std::fflush(stdout);
}

void ratio(const char* what, double value, double wanted, bool at_most = false) {
    const bool good = at_most ? value <= wanted : value >= wanted;
    std::printf("%s %-60s %8.3f   (%s %.2f)\n", good ? "GOOD" : "BAD ", what, value, at_most ? "at most" : "at least", wanted);
    std::fflush(stdout);
}

// The same answers in company as alone, from a plain program: the largest difference.
void compare_answers(const planrt::Runtime& runtime, plain::Cuda& cuda, const Model& model, plain::Handle* engine,
                     planrt::Session& session) {
    constexpr int THREADS = 24, ROUNDS = 8;
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
            for (int round = 0; round < ROUNDS; ++round) {
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
                exact.load(), THREADS * ROUNDS, worst);
    ratio("largest difference of an answer in company", worst, 0.05, true);
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 2 && argc != 3) {
        std::fprintf(stderr, "usage: throughput PLAN [SECONDS]\n");
        return 2;
    }
    if (argc == 3) seconds_each = std::atof(argv[2]);
    const auto start = Clock::now();

    plain::Cuda cuda;
    cuda.start();
    plain::TensorRt tensorrt;
    planrt::RuntimeOptions options;
    options.log = [](planrt::LogLevel, const char* message) { std::fprintf(stderr, "planrt: %s\n", message); };
    planrt::Runtime runtime(options);
    planrt::Engine engine = planrt::Engine::from_file(runtime, argv[1]);

    Model model;
    model.path = argv[1];
    const auto tensors = engine.tensors();
    model.input = tensors.at(0).name;
    model.output = tensors.at(1).name;
    const auto profile = engine.profile_shape(0, model.input);
    model.largest = profile.max[0];
    model.profiles = engine.profile_count();
    model.item = profile.opt;
    model.item[0] = 1;
    model.input_bytes = planrt::element_count(model.item) * sizeof(float);
    planrt::Shape output_item;
    {
        planrt::Context context(engine);
        context.set_shape(model.input, model.item);
        model.output_bytes = context.size(model.output);
    }
    std::printf("%s: %zu bytes in, %zu bytes out, batch up to %lld, %d profiles; %u host threads\n", argv[1],
                model.input_bytes, model.output_bytes, static_cast<long long>(model.largest), model.profiles,
                std::thread::hardware_concurrency());

    const plain::Mapped plan(model.path);
    plain::Handle* plain_engine = tensorrt.deserialize(plan.data, plan.size);
    const int32_t parallel = std::min(model.profiles, 4);

    std::printf("\nplain TensorRT\n");
    const Result fixed = plain_static(cuda, model, plain_engine);
    print("largest batch, CUDA graph, device memory", fixed);
    const Result contexts = plain_parallel(cuda, model, plain_engine, parallel, false);
    print("batch 1, a context for each profile up to 4", contexts);
    print("the same with CUDA graphs", plain_parallel(cuda, model, plain_engine, parallel, true));
    const Result pipeline = plain_pipeline(cuda, model, plain_engine);
    print("largest batch, pinned memory, double buffers", pipeline);

    std::printf("\none thread, batch 1, device memory\n");
    double plain_latency = 0, our_latency = 0;
    {
        Plain alone(cuda, model, plain_engine, 0, 1);
        planrt::Session session = make_session(engine, 0, true);
        Caller caller(runtime, model, planrt::MemoryKind::device);
        std::vector<double> plain_times, our_times;
        for (int round = -200; round < 2000 && since(start) < 120; ++round) {
            auto before = Clock::now();
            cuda.launch(alone.graph, alone.stream);
            cuda.synchronize(alone.stream);
            const double plain_time = 1e6 * since(before);
            before = Clock::now();
            caller.run(session);
            const double our_time = 1e6 * since(before);
            if (round < 0) continue;
            plain_times.push_back(plain_time);
            our_times.push_back(our_time);
        }
        plain_latency = quantile(plain_times, 0.5);
        our_latency = quantile(our_times, 0.5);
        std::printf("  plain graph %.1f us, session %.1f us (medians, turn by turn)\n", plain_latency, our_latency);
    }
    ratio("one thread: session's median latency - plain's, us", our_latency - plain_latency, 15, true);

    std::printf("\nplanrt sessions, 32 threads\n");
    std::vector<int32_t> counts = {1};
    if (model.profiles >= 2) counts.push_back(2);
    if (model.profiles >= 4) counts.push_back(4);
    double best = 0;
    for (const int32_t count : counts) {
        planrt::Session session = make_session(engine, count, true);
        warm(runtime, model, session);
        const std::string name = std::to_string(count) + " contexts, ";
        const Result device = concurrent(runtime, model, session, 32, planrt::MemoryKind::device);
        print((name + "device memory").c_str(), device);
        const Result host = concurrent(runtime, model, session, 32, planrt::MemoryKind::host);
        print((name + "ordinary host memory").c_str(), host);
        const Result pinned = concurrent(runtime, model, session, 32, planrt::MemoryKind::pinned);
        print((name + "pinned host memory").c_str(), pinned);
        best = std::max(best, device.rate);
        ratio((name + "device memory / plain largest batch").c_str(), device.rate / fixed.rate, 0.95);
        ratio((name + "device memory / plain parallel contexts").c_str(), device.rate / contexts.rate,
              model.largest >= 16 ? 2.5 : 1.0);
        ratio((name + "ordinary host memory / plain pipeline").c_str(), host.rate / pipeline.rate, 0.9);
        ratio((name + "pinned host memory / plain pipeline").c_str(), pinned.rate / pipeline.rate, 0.9);
        if (count == counts.back()) compare_answers(runtime, cuda, model, plain_engine, session);
    }

    std::printf("\nbatching on and off, device memory, contexts as planrt chooses; off with a context for each profile too\n");
    {
        double worst = 10;
        for (const int concurrency : {1, 2, 4, 8, 16, 32, 64}) {
            if (since(start) > 120) {
                std::printf("  out of time\n");
                break;
            }
            std::vector<Result> results;
            for (const auto& [count, batching] : {std::pair{0, true}, std::pair{0, false}, std::pair{parallel, false}}) {
                planrt::Session session = make_session(engine, count, batching);
                if (batching) warm(runtime, model, session);
                results.push_back(concurrent(runtime, model, session, concurrency, planrt::MemoryKind::device));
            }
            const double off = std::max(results[1].rate, results[2].rate);
            std::printf("  %3d threads: on %7.0f patches/s (p95 %6.0f us, batch %4.1f)   off %7.0f (p95 %6.0f us)   off, %d contexts %7.0f   on/off %.3f\n",
                        concurrency, results[0].rate, results[0].p95, results[0].batch, results[1].rate, results[1].p95,
                        parallel, results[2].rate, results[0].rate / off);
            std::fflush(stdout);
            worst = std::min(worst, results[0].rate / off);
        }
        ratio("batching on / off, the least over all concurrencies", worst, 0.98);
    }
    plain_engine->destroy();
    std::printf("%.0f s\n", since(start));
    return 0;
} catch (const planrt::Error& error) {
    std::fprintf(stderr, "throughput: %s\n%s\n", error.what(), error.detail().c_str());
    return 1;
}
