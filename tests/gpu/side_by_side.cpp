// Whether runs of one plan may share the GPU, by plain TensorRT 8.5: each thread has an engine of its own, a context and a stream,
// and gives it run after run, as a CUDA graph or enqueued anew. 8.5's InstanceNormalization plugin calls kernels whose blocks wait for one
// another; where two of them share the GPU, each may hold what the other waits for, for ever.
//
// usage: side_by_side PLAN INPUT SHAPE THREADS enqueue|graph|turns SECONDS      (SHAPE: 1x1x64x64x64; one input, one output, float32)
//        turns: enqueued, but on the GPU each run waits for the last one, whichever stream that is on
// Ends with 3, and stays for PLAIN_HANG_STAYS seconds before, where no thread gets on any more.

#include "plain.hpp"
#include "timing.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

namespace {

constexpr size_t NAME_OF_TENSOR = 46;

plain::Dims parse(const char* text) {
    plain::Dims shape{};
    while (*text != 0 && shape.count < 8) {
        char* end = nullptr;
        shape.extents[shape.count++] = static_cast<int32_t>(std::strtol(text, &end, 10));
        text = *end == 'x' ? end + 1 : end;
    }
    return shape;
}

// On the GPU one run after the other, whichever streams they are on.
class Turns {
public:
    explicit Turns(plain::Cuda& cuda) {
        const auto create = plain::symbol<int(plain::Event*, unsigned)>(cuda.library, "cuEventCreate");
        record_ = plain::symbol<int(plain::Event, plain::Stream)>(cuda.library, "cuEventRecord");
        wait_ = plain::symbol<int(plain::Stream, plain::Event, unsigned)>(cuda.library, "cuStreamWaitEvent");
        if (create(&last_, 2 /* no timing */) != 0) plain::fail("no event");
    }
    template <class Work>
    void run(plain::Stream stream, const Work& work) {
        const std::lock_guard<std::mutex> lock(mutex_);
        wait_(stream, last_, 0);
        work();
        record_(last_, stream);
    }

private:
    std::mutex mutex_;
    plain::Event last_ = nullptr;
    int (*record_)(plain::Event, plain::Stream);
    int (*wait_)(plain::Stream, plain::Event, unsigned);
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 7) {
        std::fprintf(stderr, "usage: see the head of side_by_side.cpp\n");
        return 2;
    }
    const char* const input = argv[2];
    const plain::Dims shape = parse(argv[3]);
    const auto threads = static_cast<size_t>(std::atoi(argv[4]));
    const bool as_graph = std::strcmp(argv[5], "graph") == 0, in_turns = std::strcmp(argv[5], "turns") == 0;
    const double duration = std::atof(argv[6]);
    size_t bytes = sizeof(float);
    for (int i = 0; i < shape.count; ++i) bytes *= static_cast<size_t>(shape.extents[i]);

    plain::Cuda cuda;
    cuda.start();
    plain::TensorRt tensorrt;
    void* const plugins = plain::open_library("libnvinfer_plugin.so.8");
    plain::symbol<bool(void*, const char*)>(plugins, "initLibNvInferPlugins")(&tensorrt.logger, "");
    const plain::Mapped plan(argv[1]);
    Turns turns(cuda);

    struct Lane {
        plain::Stream stream = nullptr;
        plain::Handle* context = nullptr;
        plain::Graph graph = nullptr;
        std::atomic<long> runs{0};
    };
    std::vector<Lane> lanes(threads);
    for (Lane& lane : lanes) {
        plain::Handle* engine = tensorrt.deserialize(plan.data, plan.size);
        lane.stream = cuda.stream();
        lane.context = plain::create_context(engine);
        plain::set_input_shape(lane.context, input, shape);
        for (int32_t i = 0; i < 2; ++i) {
            const char* name = engine->call<const char*, int32_t>(NAME_OF_TENSOR, i);
            // An output has at most as many channels as a small network has filters.
            const size_t size = bytes * (std::strcmp(name, input) == 0 ? 1 : 16);
            plain::set_tensor_address(lane.context, name, cuda.device_memory(size));
        }
        const auto run = [&] {
            if (!plain::enqueue(lane.context, lane.stream)) plain::fail("a run fails");
        };
        run();
        cuda.synchronize(lane.stream);
        if (as_graph) lane.graph = cuda.capture(lane.stream, run);
    }

    std::atomic<bool> over{false};
    const auto work = [&](Lane& lane) {
        cuda.enter();
        const auto run = [&] {
            const bool done = as_graph ? cuda.launch(lane.graph, lane.stream) == 0 : plain::enqueue(lane.context, lane.stream);
            if (!done) plain::fail("a run fails");
        };
        while (!over) {
            if (in_turns) turns.run(lane.stream, run);
            else run();
            cuda.synchronize(lane.stream);
            ++lane.runs;
        }
    };
    const auto begun = Clock::now();
    std::vector<std::thread> workers;
    for (Lane& lane : lanes) workers.emplace_back([&work, &lane] { work(lane); });
    const auto sum = [&] {
        long runs = 0;
        for (const Lane& lane : lanes) runs += lane.runs;
        return runs;
    };
    const auto say = [&](const char* what) {
        std::printf("%zu threads, %s: %s after %.2f s; runs of each:", threads, argv[5], what, since(begun));
        for (const Lane& lane : lanes) std::printf(" %ld", lane.runs.load());
        std::printf("; %.1f runs/s\n", static_cast<double>(sum()) / since(begun));
        std::fflush(stdout);
    };
    long last = -1;
    auto moved = begun;
    while (since(begun) < duration) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        if (const long now = sum(); now != last) {
            last = now;
            moved = Clock::now();
        } else if (since(moved) > 3) {
            say("HANG, none gets on any more");
            const char* stays = std::getenv("PLAIN_HANG_STAYS");
            std::this_thread::sleep_for(std::chrono::seconds(stays == nullptr ? 0 : std::atoi(stays)));
            std::_Exit(3);
        }
    }
    say("all get on");
    over = true;
    for (std::thread& worker : workers) worker.join();
    std::_Exit(0);  // TensorRT's objects are left to the process' end
}
