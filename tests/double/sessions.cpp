// Sessions on plans, under every TensorRT of which there is a double: batches gathered and scattered in device, pinned and
// ordinary memory, contexts as the profiles and the memory allow, and what is refused.

#include "doubles.hpp"

#include <atomic>
#include <memory>
#include <numeric>
#include <thread>

namespace {

const char COPY[] =
    "name copy\nlayers 7\nprofiles 3\nmemory 4096\ninput x 0 -1,4 1,4 2,4 8,4\noutput y 0 -1,4\ncopies\n";
const char ONE_PROFILE[] =
    "name copy\nlayers 7\nprofiles 1\nmemory 4096\ninput x 0 -1,4 1,4 2,4 8,4\noutput y 0 -1,4\ncopies\n";

std::vector<float> ramp(size_t count, float first) {
    std::vector<float> values(count);
    std::iota(values.begin(), values.end(), first);
    return values;
}

// Many threads, requests of one to three items; each gets its own back.
void hammer(const planrt::Runtime& runtime, planrt::Session& session) {
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int thread = 0; thread < 6; ++thread) {
        threads.emplace_back([&, thread] {
            const size_t count = 4 * (1 + thread % 3);
            const planrt::Shape shape = {static_cast<int64_t>(count / 4), 4};
            const auto kind = static_cast<planrt::MemoryKind>(1 + thread % 3);
            const planrt::Buffer x(runtime, kind, count * 4), y(runtime, kind, count * 4);
            planrt::Stream stream(runtime);
            planrt::RequestOptions options;
            options.stream = &stream;
            std::vector<float> back(count);
            for (int i = 0; i < 50; ++i) {
                const auto values = ramp(count, static_cast<float>(100 * thread + i));
                stream.copy(x.data(), values.data(), count * 4);
                session.run({planrt::Tensor::input("x", x, planrt::ElementType::float32, shape)},
                            {planrt::Tensor::output("y", y, planrt::ElementType::float32)}, options);
                stream.copy(back.data(), y.data(), count * 4);
                stream.synchronize();
                wrong += back != values;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(session.statistics().succeeded == 300 && session.statistics().failed == 0);
}

void batches(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    for (const char* plan : {COPY, ONE_PROFILE}) {
        const planrt::Engine engine = tensorrt.load(runtime, plan);
        for (const int32_t contexts : {0, 1}) {
            planrt::SessionOptions options;
            options.contexts = contexts;
            planrt::Session session(engine, options);
            hammer(runtime, session);
        }
    }
}

void together(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::SessionOptions options;
    options.preferred_batches = {8};  // whatever batches are measured to cost
    options.max_delay = std::chrono::seconds(5);
    planrt::Session session(engine, options);
    std::vector<std::vector<float>> x, y(4, std::vector<float>(8));
    std::vector<planrt::Request> requests;
    for (int i = 0; i < 4; ++i) x.push_back(ramp(8, 10.0f * static_cast<float>(i)));
    for (int i = 0; i < 4; ++i)
        requests.push_back(session.submit({planrt::Tensor::input("x", x[i], {2, 4})}, {planrt::Tensor::output("y", y[i])}));
    for (planrt::Request& request : requests) request.wait();
    CHECK(x == y);
    CHECK(session.statistics().batches[8] == 1);
}

void contexts(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::SessionOptions options;
    options.contexts = 4;
    const int64_t before = tensorrt.alive();
    {
        // TensorRT 8 gives a profile to one context only: the session loads copies of the engine then.
        planrt::Session session(engine, options);
        hammer(runtime, session);
    }
    CHECK(tensorrt.alive() == before);
    // And where others have taken all profiles of the engine.
    std::vector<planrt::Context> taken;
    for (int i = 0; i < 3; ++i) taken.emplace_back(engine);
    {
        planrt::Session session(engine);
        hammer(runtime, session);
    }
    options.memory_budget_bytes = 10000;
    expect(planrt::ErrorCode::out_of_memory, "memory budget", [&] { planrt::Session session(engine, options); });
    options.contexts = 0;
    planrt::Session session(engine, options);
    hammer(runtime, session);
}

// Plans with InstanceNormalization as a plugin: batches of all instances, of two sessions and in CUDA graphs or not, take turns.
void turns(const Double& tensorrt) {
    const auto overlaps = symbol<int64_t()>("libcuda.so.1", "cudaDoubleOverlaps");
    const int64_t before = overlaps();
    const planrt::Runtime runtime(tensorrt.options());
    for (const char* plan : {COPY, ONE_PROFILE}) {
        const planrt::Engine engine = tensorrt.load(runtime, std::string(plan) + "plugin InstanceNormalization_TRT\n");
        planrt::SessionOptions options;
        options.contexts = 4;
        planrt::Session one(engine, options), other(engine);
        CHECK(overlaps() == before);
        std::thread beside([&] { hammer(runtime, other); });
        hammer(runtime, one);
        beside.join();
        CHECK(overlaps() == before);
    }
}

void refuses(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::Session session(engine);
    std::vector<float> x(40), y(40);
    const auto run = [&](planrt::Tensor in, planrt::Tensor out) { session.run({in}, {out}); };
    const auto out = planrt::Tensor::output("y", y);
    expect(planrt::ErrorCode::shape, "profile", [&] { run(planrt::Tensor::input("x", x, {9, 4}), out); });
    expect(planrt::ErrorCode::shape, "takes 4", [&] { run(planrt::Tensor::input("x", x, {2, 5}), out); });
    std::optional<planrt::Buffer> freed(std::in_place, runtime, planrt::MemoryKind::device, 16);
    const auto dangling = planrt::Tensor::input("x", *freed, planrt::ElementType::float32, {1, 4});
    freed.reset();
    expect(planrt::ErrorCode::invalid_argument, "device memory", [&] { run(dangling, out); });
    const planrt::Buffer half(runtime, planrt::MemoryKind::device, 16);
    expect(planrt::ErrorCode::invalid_argument, "has to be float32",
           [&] { run(planrt::Tensor::input("x", half, planrt::ElementType::float16, {1, 4}), out); });
    run(planrt::Tensor::input("x", x, {8, 4}), out);
}

// What is enqueued is refused: a session says so when it is made, since it runs every batch size once.
void fails(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine =
        tensorrt.load(runtime, "profiles 2\nmemory 4096\ninput x 0 -1,4 1,4 2,4 8,4\noutput y 0 -1,4\nrefuses enqueueV3\n");
    expect(planrt::ErrorCode::tensorrt, "refuses", [&] { planrt::Session session(engine); });
}

// Requests where an extent beside the batch is open, too: nothing can be made ready beforehand.
void open_shapes(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(
        runtime, "name copy\nprofiles 2\nmemory 4096\ninput x 0 -1,-1 1,2 2,4 8,16\noutput y 0 -1,-1\ncopies\n");
    planrt::Session session(engine);
    for (int i = 0; i < 60; ++i) {
        const int64_t batch = 1 + i % 8, width = 2 + i % 5;
        const auto x = ramp(static_cast<size_t>(batch * width), static_cast<float>(i));
        std::vector<float> y(x.size());
        session.run({planrt::Tensor::input("x", x, {batch, width})}, {planrt::Tensor::output("y", y)});
        CHECK(x == y);
    }
}

// What a plan of the double's gives for some rows: the input's elements, row by row where there are as many, over and over.
std::vector<float> answer(const std::vector<float>& x, int64_t rows, int64_t out_rows, size_t count) {
    const size_t parts = rows == out_rows ? static_cast<size_t>(rows) : 1, own = count / parts, theirs = x.size() / parts;
    std::vector<float> y(count);
    for (size_t i = 0; i < count; ++i) y[i] = x[i / own * theirs + i % own % theirs];
    return y;
}

// Plans whose outputs are no batches of items, or grow and shrink as they like: each request has its own answer, and TensorRT's
// double sees to it that all memory holds what is written there. Many threads, so that what could share a batch would.
void unruly(const Double& tensorrt) {
    struct Case {
        const char* plan;
        int64_t most;                                   // rows of a request
        std::function<int64_t(int64_t)> rows, columns;  // of its output
        bool batched;
    };
    const auto same = [](int64_t n) { return n; };
    const auto four = [](int64_t) -> int64_t { return 4; };
    const Case cases[] = {
        {"input x 0 -1,4 1,4 2,4 16,4\noutput y 0 -1,4\n", 16, same, four, true},
        {"input x 0 -1,4 1,4 2,4 16,4\noutput y 0 /2,4\n", 16, [](int64_t n) { return (n + 1) / 2; }, four, false},
        {"input x 0 -1,4 1,4 2,4 16,4\noutput y 0 17-,4\n", 16, [](int64_t n) { return 17 - n; }, four, false},
        {"input x 0 -1,4 1,4 2,4 16,4\noutput y 0 -1,@0\n", 16, same, same, false},
        {"input x 0 -1,4 4,4 4,4 16,4\noutput y 0 /2,4\n", 16, [](int64_t n) { return (n + 1) / 2; }, four, false},
        {"input x 0 -1,4 1,4 2,4 300,4\noutput y 0 3!,4\n", 6, [](int64_t n) { return n == 3 ? 30 : n; }, four, false},
    };
    const planrt::Runtime runtime(tensorrt.options());
    for (const Case& one : cases) {
        const planrt::Engine engine = tensorrt.load(runtime, std::string("profiles 4\nmemory 4096\n") + one.plan + "copies\n");
        const int64_t least = engine.profile_shape(0, "x").min[0];
        planrt::Session session(engine);
        std::vector<std::thread> threads;
        std::atomic<int> wrong{0};
        for (int64_t thread = 0; thread < 6; ++thread) {
            threads.emplace_back([&, thread] {
                for (int64_t i = 0; i < 40; ++i) {
                    const int64_t rows = least + (thread + i) % (one.most - least + 1);
                    const auto x = ramp(static_cast<size_t>(4 * rows), static_cast<float>(100 * thread + i));
                    std::vector<float> y(static_cast<size_t>(one.rows(rows) * one.columns(rows)));
                    const auto expected = answer(x, rows, one.rows(rows), y.size());
                    if (i % 2 == 0) {
                        session.run({planrt::Tensor::input("x", x, {rows, 4})}, {planrt::Tensor::output("y", y)});
                    } else {
                        const planrt::Buffer in(runtime, planrt::MemoryKind::device, x.size() * 4);
                        const planrt::Buffer out(runtime, planrt::MemoryKind::device, y.size() * 4);
                        planrt::Stream stream(runtime);
                        planrt::RequestOptions options;
                        options.stream = &stream;
                        stream.copy(in.data(), x.data(), x.size() * 4);
                        session.run({planrt::Tensor::input("x", in, planrt::ElementType::float32, {rows, 4})},
                                    {planrt::Tensor::output("y", out, planrt::ElementType::float32)}, options);
                        stream.copy(y.data(), out.data(), y.size() * 4);
                        stream.synchronize();
                    }
                    wrong += y != expected;
                }
            });
        }
        for (std::thread& thread : threads) thread.join();
        CHECK(wrong == 0 && session.statistics().failed == 0);
        if (!one.batched) {
            const auto statistics = session.statistics();
            for (size_t size = 2; size < std::size(statistics.batches); ++size) CHECK(statistics.batches[size] == 0);
        }
        // A buffer for fewer rows than the output has is refused, and nothing is written.
        const int64_t rows = std::max<int64_t>(least, 2);
        std::vector<float> x(static_cast<size_t>(4 * rows)), y(static_cast<size_t>(one.rows(rows) * one.columns(rows)) - 1);
        expect(planrt::ErrorCode::buffer_too_small, "\"y\"", [&] {
            session.run({planrt::Tensor::input("x", x, {rows, 4})}, {planrt::Tensor::output("y", y)});
        });
    }
}

// Inputs that have batches of different sizes are no batch: requests run whole.
void different_batches(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime,
        "profiles 4\nmemory 4096\ninput x 0 -1,4 1,4 2,4 4,4\ninput z 0 -1,4 6,4 8,4 16,4\noutput y 0 -1,4\ncopies\n");
    planrt::Session session(engine);
    for (int64_t rows = 1; rows <= 4; ++rows) {
        const auto x = ramp(static_cast<size_t>(4 * rows), 5), z = ramp(static_cast<size_t>(4 * (4 * rows + (rows == 1 ? 2 : 0))), 6);
        std::vector<float> y(x.size());
        session.run({planrt::Tensor::input("x", x, {rows, 4}),
                     planrt::Tensor::input("z", z, {static_cast<int64_t>(z.size() / 4), 4})},
                    {planrt::Tensor::output("y", y)});
        CHECK(x == y);
    }
}

// Where other extents are open, too, an output may be largest at the smallest input, or somewhere between: its memory grows.
void outputs_between(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    for (const std::string rule : {"-1", "1001-", "333!"}) {
        const planrt::Engine engine = tensorrt.load(runtime,
            "profiles 2\nmemory 4096\ninput x 0 -1,-1 1,1 2,500 4,1000\noutput y 0 -1," + rule + "\ncopies\n");
        planrt::Session session(engine);
        for (const int64_t width : {1, 1000, 333, 2, 333, 500, 999, 1}) {
            for (const int64_t rows : {1, 4, 3}) {
                const auto x = ramp(static_cast<size_t>(rows * width), static_cast<float>(width));
                const int64_t out = rule == "-1" ? width : rule == "1001-" ? 1001 - width : width == 333 ? 3330 : width;
                std::vector<float> y(static_cast<size_t>(rows * out));
                session.run({planrt::Tensor::input("x", x, {rows, width})}, {planrt::Tensor::output("y", y)});
                CHECK(y == answer(x, rows, rows, y.size()));
            }
        }
        // With a budget that has no room for more, it is an error and nothing else.
        if (rule != "333!") continue;
        planrt::SessionOptions options;
        options.contexts = 1;
        options.memory_budget_bytes = 4096 + 4 * (4 * 1000 + 4 * 1000) + 1024;
        planrt::Session small(engine, options);
        std::vector<float> x(4 * 333), y(4 * 3330);
        const auto run = [&](int64_t width) {
            small.run({planrt::Tensor::input("x", x, {4, width})}, {planrt::Tensor::output("y", y)});
        };
        run(332);
        expect(planrt::ErrorCode::out_of_memory, "memory budget", [&] { run(333); });
        run(332);
    }
}

// A context's own memory is held against the shapes, whichever way these came about.
void bound_memory(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine =
        tensorrt.load(runtime, "profiles 2\nmemory 4096\ninput x 0 -1,4 1,4 2,4 16,4\noutput y 0 17-,4\ncopies\n");
    planrt::Context context(engine);
    planrt::Stream stream(runtime);
    const planrt::Buffer in(runtime, planrt::MemoryKind::device, 256), out(runtime, planrt::MemoryKind::device, 32);
    context.bind("x", in);
    context.bind("y", out);
    for (const int64_t rows : {16, 15, 14, 15, 1, 16}) {
        context.set_shape("x", {rows, 4});
        const auto run = [&] { context.enqueue(stream); };
        if (rows >= 15) run();
        else expect(planrt::ErrorCode::buffer_too_small, "\"y\"", run);
    }
    const planrt::Buffer smaller(runtime, planrt::MemoryKind::device, 15);
    context.bind("y", smaller);
    expect(planrt::ErrorCode::buffer_too_small, "\"y\"", [&] { context.enqueue(stream); });
    // A run from host memory in between has other memory and other shapes.
    const auto x = ramp(4, 1);
    std::vector<float> y(64);
    context.bind("y", out);
    context.run({planrt::Tensor::input("x", x, {1, 4})}, {planrt::Tensor::output("y", y)});
    CHECK(y == answer(x, 1, 16, 64));
    expect(planrt::ErrorCode::buffer_too_small, "\"y\"", [&] { context.enqueue(stream); });
    stream.synchronize();
}

// From ordinary memory: what 40 requests need at once, at most two blocks each, stays page-locked for the next 40. The driver
// is not asked about memory that planrt allocated, and once about a caller's.
void page_locked_blocks(const Double& tensorrt) {
    static const auto locks = symbol<int64_t()>("libcuda.so.1", "cudaDoublePageLocks");
    static const auto queries = symbol<int64_t()>("libcuda.so.1", "cudaDoubleQueries");
    constexpr int REQUESTS = 40;
    constexpr int64_t COLUMNS = 1 << 20;
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(
        runtime, "profiles 2\nmemory 4096\ninput x 0 -1,1048576 1,1048576 1,1048576 1,1048576\noutput y 0 -1,1048576\ncopies\n");
    planrt::Session session(engine);
    std::vector<float> x(COLUMNS, 1.5f);
    std::vector<std::vector<float>> y(REQUESTS, std::vector<float>(COLUMNS));
    const auto round = [&] {
        std::vector<planrt::Request> requests;
        for (auto& one : y)
            requests.push_back(session.submit({planrt::Tensor::input("x", x, {1, COLUMNS})}, {planrt::Tensor::output("y", one)}));
        for (planrt::Request& request : requests) request.wait();
    };
    const int64_t before = locks();
    round();
    CHECK(y.front() == x && y.back() == x);
    const int64_t asked = queries();
    for (int i = 0; i < 4; ++i) round();
    CHECK(locks() - before <= 2 * REQUESTS && queries() == asked);
    const planrt::Buffer in(runtime, planrt::MemoryKind::device, 4 * COLUMNS), out(runtime, planrt::MemoryKind::pinned, 4 * COLUMNS);
    session.run({planrt::Tensor::input("x", in, planrt::ElementType::float32, {1, COLUMNS})},
                {planrt::Tensor::output("y", out, planrt::ElementType::float32)});
    CHECK(queries() == asked);
    // Another runtime's memory is a stranger's to this one.
    const planrt::Runtime other(tensorrt.options());
    const planrt::Buffer foreign(other, planrt::MemoryKind::device, 4 * COLUMNS);
    session.run({planrt::Tensor::input("x", foreign, planrt::ElementType::float32, {1, COLUMNS})},
                {planrt::Tensor::output("y", out, planrt::ElementType::float32)});
    CHECK(queries() == asked + 1);
    // Where nothing can be page-locked, ordinary memory does.
    const Setting fails("CUDA_DOUBLE_FAILS", "cuMemHostAlloc=2");
    planrt::Session without(engine);
    std::fill(y[0].begin(), y[0].end(), 0.0f);
    without.run({planrt::Tensor::input("x", x, {1, COLUMNS})}, {planrt::Tensor::output("y", y[0])});
    CHECK(y[0] == x);
}

// Numbers beyond reason are refused, or are as much as there is.
void beyond_reason(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::SessionOptions options;
    options.contexts = INT32_MAX;
    expect(planrt::ErrorCode::invalid_argument, "2147483647", [&] { planrt::Session session(engine, options); });
    options.contexts = 1;
    options.memory_budget_bytes = SIZE_MAX;
    planrt::Session session(engine, options);
    hammer(runtime, session);
}

// A batch is one CUDA graph, copies and all; where the driver makes none everything goes on without.
void graphs(const Double& tensorrt) {
    const auto launches = symbol<int64_t()>("libcuda.so.1", "cudaDoubleLaunches");
    std::string log;
    planrt::RuntimeOptions runtime_options = tensorrt.options();
    runtime_options.log = [&](planrt::LogLevel, const char* message) { log += std::string(message) + "\n"; };
    const planrt::Runtime runtime(runtime_options);
    const planrt::Engine engine = tensorrt.load(
        runtime, "name copy\nprofiles 2\nmemory 4096\ninput x 0 -1,4 1,4 2,4 64,4\noutput y 0 -1,4\ncopies\n");
    planrt::SessionOptions options;
    options.contexts = 1;
    options.largest_batch = 64;
    options.max_delay = std::chrono::milliseconds(20);
    planrt::Stream stream(runtime);
    // So many requests in one batch, the device's memory and the host's in turn.
    const auto run = [&](planrt::Session& session, size_t count) {
        std::vector<planrt::Buffer> x, y;
        std::vector<planrt::Request> requests;
        const auto kind = [](size_t i) { return i % 8 == 7 ? planrt::MemoryKind::pinned : planrt::MemoryKind::device; };
        const auto number = [](size_t i) { return ramp(4, static_cast<float>(10 * i)); };
        for (size_t i = 0; i < count; ++i) {
            x.emplace_back(runtime, kind(i), 16);
            y.emplace_back(runtime, kind(i), 16);
            stream.copy(x[i].data(), number(i).data(), 16);
        }
        stream.synchronize();
        for (size_t i = 0; i < count; ++i)
            requests.push_back(session.submit({planrt::Tensor::input("x", x[i], planrt::ElementType::float32, {1, 4})},
                                              {planrt::Tensor::output("y", y[i], planrt::ElementType::float32)}));
        for (planrt::Request& request : requests) request.wait();
        for (size_t i = 0; i < count; ++i) {
            std::vector<float> back(4);
            stream.copy(back.data(), y[i].data(), 16);
            stream.synchronize();
            CHECK(back == number(i));
        }
    };
    const auto batches = [](const planrt::Session& session) {
        int64_t sum = 0;
        for (const uint64_t some : session.statistics().batches) sum += static_cast<int64_t>(some);
        return sum;
    };
    {
        planrt::Session session(engine, options);
        const int64_t before = launches();
        for (const size_t count : {1, 7, 64, 3, 40, 1, 50}) run(session, count);
        CHECK(launches() - before == batches(session));
        // What a failed batch leaves is not launched again: three batches run as they are, the fourth as a graph.
        const Setting fails("CUDA_DOUBLE_FAILS", "cuGraphLaunch=719");
        expect(planrt::ErrorCode::device_lost, "launching a CUDA graph", [&] { run(session, 1); });
        const int64_t failed = launches();
        for (int i = 0; i < 3; ++i) run(session, 1);
        CHECK(launches() == failed);
        expect(planrt::ErrorCode::device_lost, "launching a CUDA graph", [&] { run(session, 1); });
    }
    CHECK(log.find("cannot be captured") == std::string::npos);
    // Copies that a graph cannot hold are launched by themselves.
    for (const char* call :
         {"cuGraphNodeSetEnabled=801", "cuGraphExecKernelNodeSetParams=801", "cuStreamGetCaptureInfo_v2=1"}) {
        const Setting fails("CUDA_DOUBLE_FAILS", call);
        planrt::Session session(engine, options);
        const int64_t before = launches();
        for (const size_t count : {1, 7, 64}) run(session, count);
        CHECK(launches() - before == batches(session));
    }
    CHECK(log.find("cannot be captured") == std::string::npos);
    {
        const Setting fails("CUDA_DOUBLE_FAILS", "cuStreamBeginCapture_v2=801");
        const int64_t before = launches();
        planrt::Session session(engine, options);
        for (const size_t count : {1, 7, 64}) run(session, count);
        CHECK(launches() == before);
        const size_t said = log.find("cannot be captured");
        CHECK(said != std::string::npos && log.find("cannot be captured", said + 1) == std::string::npos);
    }
}

// One of two devices is lost while requests run: with retry they are answered on the other one. Without another, by an error.
void lost(const Double& tensorrt) {
    const auto lose = symbol<void(int, bool)>("libcuda.so.1", "cudaDoubleLose");
    const Setting two("CUDA_DOUBLE_DEVICES", "2");
    planrt::RuntimeOptions there = tensorrt.options();
    there.device = 1;
    const planrt::Runtime first(tensorrt.options()), second(there);
    const planrt::Engine here = tensorrt.load(first, COPY), elsewhere = tensorrt.load(second, COPY);
    for (const int victim : {0, 1}) {
        planrt::SessionOptions options;
        options.retry = true;
        planrt::Session session({&here, &elsewhere}, options);
        std::atomic<int> failed{0}, wrong{0}, after{0};
        std::atomic<bool> is_lost{false};
        std::vector<std::thread> threads;
        for (int thread = 0; thread < 6; ++thread) {
            threads.emplace_back([&, thread] {
                const auto x = ramp(4, static_cast<float>(thread));
                for (int i = 0; after < 200 && i < 100000; ++i) {
                    std::vector<float> y(4);
                    try {
                        session.run({planrt::Tensor::input("x", x, {1, 4})}, {planrt::Tensor::output("y", y)});
                        wrong += x != y;
                        after += is_lost;
                    } catch (const planrt::Error& error) {
                        if (++failed == 1) std::cerr << error.what() << "\n";
                    }
                }
            });
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        lose(victim, true);
        is_lost = true;
        for (std::thread& thread : threads) thread.join();
        CHECK(failed == 0 && wrong == 0 && after >= 200);
        lose(victim, false);
    }
    // What is in the other one's memory runs there: memory that the session's runtime has allocated, and that only the driver knows.
    const planrt::Runtime stranger(there);
    for (const planrt::Runtime* owner : {&second, &stranger}) {
        const planrt::Session session({&here, &elsewhere});
        const planrt::Buffer x(*owner, planrt::MemoryKind::device, 16), y(*owner, planrt::MemoryKind::device, 16);
        planrt::Stream stream(*owner);
        const auto values = ramp(4, 7);
        stream.copy(x.data(), values.data(), 16);
        stream.synchronize();
        const auto run = [&] {
            session.run({planrt::Tensor::input("x", x, planrt::ElementType::float32, {1, 4})},
                        {planrt::Tensor::output("y", y, planrt::ElementType::float32)});
        };
        lose(0, true);
        run();
        std::vector<float> back(4);
        stream.copy(back.data(), y.data(), 16);
        stream.synchronize();
        CHECK(back == values);
        // Where none answers any more, that is what is said.
        lose(1, true);
        expect(planrt::ErrorCode::device_lost, "CUDA_ERROR_LAUNCH_FAILED", run);
        lose(0, false);
        lose(1, false);
    }
    {
        planrt::Session session(here);
        const std::vector<float> x(4);
        std::vector<float> y(4);
        const auto run = [&] { session.run({planrt::Tensor::input("x", x, {1, 4})}, {planrt::Tensor::output("y", y)}); };
        run();
        lose(0, true);
        expect(planrt::ErrorCode::device_lost, "CUDA_ERROR_LAUNCH_FAILED", run);
        expect(planrt::ErrorCode::device_lost, "CUDA_ERROR_LAUNCH_FAILED", run);
    }
    lose(0, false);
}

planrt_tensor c_tensor(const char* name, const float* in, float* out, size_t items, planrt_memory_kind kind) {
    planrt_tensor tensor{};
    tensor.struct_size = sizeof tensor;
    tensor.name = name;
    tensor.input_data = in;
    tensor.output_data = out;
    tensor.size_bytes = items * 16;
    tensor.element_type = PLANRT_FLOAT32;
    tensor.memory_kind = kind;
    if (in != nullptr) {
        tensor.rank = 2;
        tensor.shape[0] = static_cast<int64_t>(items);
        tensor.shape[1] = 4;
    }
    return tensor;
}

// A stream goes on behind a request's outputs while the device is busy with them: nobody waits on the host.
void stream_order(const Double& tensorrt) {
    const auto hold = symbol<void(bool)>("libcuda.so.1", "cudaDoubleHold");
    const auto waits = symbol<int64_t(void*)>("libcuda.so.1", "cudaDoubleWaits");
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::Session session(engine);
    planrt::Stream stream(runtime);
    const planrt::Buffer x(runtime, planrt::MemoryKind::device, 16), y(runtime, planrt::MemoryKind::device, 16);
    const auto values = ramp(4, 3);
    std::vector<float> host(4), back(4);
    stream.copy(x.data(), values.data(), 16);
    stream.synchronize();
    planrt_tensor in = c_tensor("x", static_cast<const float*>(x.data()), nullptr, 1, PLANRT_MEMORY_DEVICE);
    planrt_tensor out = c_tensor("y", nullptr, static_cast<float*>(y.data()), 1, PLANRT_MEMORY_DEVICE);
    for (int i = 0; i < 8; ++i) {
        planrt_request* request = nullptr;
        const int64_t before = waits(stream.native());
        hold(true);
        OK(planrt_session_submit(session.get(), &in, 1, &out, 1, nullptr, &request));
        OK(planrt_request_order_stream(request, stream.get()));
        CHECK(!planrt_request_poll(request) && waits(stream.native()) == before + 1);
        stream.copy(back.data(), y.data(), 16);
        hold(false);
        OK(planrt_request_wait(request, -1, nullptr));
        stream.synchronize();
        CHECK(back == values);
        // What is answered is there: nothing is left to wait for.
        OK(planrt_request_order_stream(request, stream.get()));
        CHECK(waits(stream.native()) == before + 1);
        planrt_request_delete(request);
    }
    // What the host copies follows no stream; nor does a request that is refused.
    planrt_tensor to_host = c_tensor("y", nullptr, host.data(), 1, PLANRT_MEMORY_HOST);
    planrt_request* request = nullptr;
    OK(planrt_session_submit(session.get(), &in, 1, &to_host, 1, nullptr, &request));
    FAILS(PLANRT_ERROR_UNSUPPORTED, "written by the host", planrt_request_order_stream(request, stream.get()));
    OK(planrt_request_wait(request, -1, nullptr));
    planrt_request_delete(request);
    hold(true);
    std::vector<planrt_request*> busy(8);
    for (planrt_request*& some : busy) OK(planrt_session_submit(session.get(), &in, 1, &out, 1, nullptr, &some));
    planrt_request_options options{};
    options.struct_size = sizeof options;
    options.timeout_us = 1000;
    OK(planrt_session_submit(session.get(), &in, 1, &out, 1, &options, &request));
    planrt_request_cancel(request);
    planrt_error* const error = planrt_request_order_stream(request, stream.get());
    CHECK(error == nullptr || planrt_error_get_code(error) == PLANRT_ERROR_CANCELLED ||
          planrt_error_get_code(error) == PLANRT_ERROR_DEADLINE);
    planrt_error_delete(error);
    hold(false);
    for (planrt_request* const some : busy) {
        OK(planrt_request_wait(some, -1, nullptr));
        planrt_request_delete(some);
    }
    planrt_request_delete(request);
}

// Who copies what goes to ordinary memory: the thread that looks, or the session before anybody can.
void copies(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    const auto x = ramp(4, 5);
    for (const int32_t in_background : {0, 1}) {
        std::optional<planrt::Session> session(std::in_place, engine);
        std::vector<float> y(4, -7.0f);
        const planrt_tensor in = c_tensor("x", x.data(), nullptr, 1, PLANRT_MEMORY_HOST);
        const planrt_tensor out = c_tensor("y", nullptr, y.data(), 1, PLANRT_MEMORY_HOST);
        planrt_request_options options{};
        options.struct_size = sizeof options;
        options.copy_in_background = in_background;
        planrt_request* request = nullptr;
        OK(planrt_session_submit(session->get(), &in, 1, &out, 1, &options, &request));
        while (session->statistics().succeeded == 0) std::this_thread::yield();
        session.reset();
        CHECK((y == x) == (in_background == 1));
        CHECK(planrt_request_poll(request));
        CHECK(y == x);
        planrt_request_delete(request);
    }
}

// Engines of one session: one plan on devices of one kind. And what was chosen for each.
void one_plan(const Double& tensorrt) {
    const Setting two("CUDA_DOUBLE_DEVICES", "2");
    planrt::RuntimeOptions there = tensorrt.options();
    there.device = 1;
    const planrt::Runtime first(tensorrt.options()), second(there);
    const planrt::Engine here = tensorrt.load(first, COPY), same = tensorrt.load(second, COPY);
    // The double's devices are of two kinds: a plan for the other one has other bytes anyway, and may be of the same network.
    const planrt::Engine other = tensorrt.load(first, std::string(COPY) + "\n");
    expect(planrt::ErrorCode::invalid_argument, "bytes", [&] { planrt::Session session({&here, &other}); });
    { const planrt::Session session({&other, &same}); }
    const planrt::Engine stranger = tensorrt.load(second, std::string(COPY).replace(0, 9, "name sum"));
    expect(planrt::ErrorCode::invalid_argument, "name", [&] { planrt::Session session({&here, &stranger}); });
    const planrt::Session session({&here, &same});
    const std::string json = session.describe();
    std::cout << "  " << json << "\n";
    CHECK(holds(json, "\"ordinal\":0") && holds(json, "\"ordinal\":1") && holds(json, "\"backend\":\"tensorrt\""));
    CHECK(holds(json, "\"items\":1") && !holds(json, "\"contexts\":[]") && !holds(json, "\"device_memory_bytes\":0"));
}

// Each batch is a range for NVIDIA's tools, where they are loaded.
void ranges(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    void* const tools = dlopen("libnvToolsExt.so.1", RTLD_NOW | RTLD_LOCAL);
    CHECK(tools != nullptr);
    const auto count = [&](const char* name) { return reinterpret_cast<int (*)()>(dlsym(tools, name))(); };
    const int before = count("nvtxDoubleBegun");
    {
        planrt::Session session(engine);
        hammer(runtime, session);
        uint64_t batches = 0;
        for (const uint64_t some : session.statistics().batches) batches += some;
        CHECK(static_cast<uint64_t>(count("nvtxDoubleBegun") - before) == batches);
    }
    CHECK(count("nvtxDoubleBegun") == count("nvtxDoubleEnded") && count("nvtxDoubleOthers") == 0);
    dlclose(tools);
}

// A session over engines of two runtimes may have something to tell each: both logs stay until it is gone, whoever holds its
// handle.
void two_logs(const Double& tensorrt) {
    std::weak_ptr<std::string> logs[2];
    planrt_session* handle = nullptr;
    {
        planrt::Engine engines[2];
        for (size_t i = 0; i < 2; ++i) {
            auto lines = std::make_shared<std::string>();
            logs[i] = lines;
            planrt::RuntimeOptions options = tensorrt.options();
            options.log = [lines](planrt::LogLevel, const char* line) { lines->append(line); };
            engines[i] = tensorrt.load(planrt::Runtime(options), COPY);
        }
        handle = planrt::Session({&engines[0], &engines[1]}).release();
    }
    CHECK(!logs[0].expired() && !logs[1].expired());
    {
        const planrt::Session session = planrt::Session::adopt(handle);
        const std::vector<float> x = ramp(4, 1);
        std::vector<float> y(x.size());
        session.run({planrt::Tensor::input("x", x, {1, 4})}, {planrt::Tensor::output("y", y)});
        CHECK(y == x && !logs[0].expired() && !logs[1].expired());
    }
    CHECK(logs[0].expired() && logs[1].expired());
}

}  // namespace

int main(int argc, char** argv) {
    on_each(doubles(argc, argv), {{"batches", batches},
                                  {"together", together},
                                  {"contexts", contexts},
                                  {"turns", turns},
                                  {"refuses", refuses},
                                  {"fails", fails},
                                  {"open_shapes", open_shapes},
                                  {"unruly", unruly},
                                  {"different_batches", different_batches},
                                  {"outputs_between", outputs_between},
                                  {"bound_memory", bound_memory},
                                  {"page_locked_blocks", page_locked_blocks},
                                  {"beyond_reason", beyond_reason},
                                  {"graphs", graphs},
                                  {"lost", lost},
                                  {"stream_order", stream_order},
                                  {"copies", copies},
                                  {"one_plan", one_plan},
                                  {"ranges", ranges},
                                  {"two_logs", two_logs}});
    return 0;
}
