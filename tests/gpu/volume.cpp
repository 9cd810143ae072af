// Whole volumes on a GPU: 512x512x300 voxels of int16 in ordinary host memory, labels of uint8 there. Beside it what the network
// takes by itself for as many tiles (plain.hpp), what device memory is taken at most, and how a volume does in company.
//
// usage: gpu_volume PLAN CLASSES [memory|gpus]
// PLAN takes (batch,1,96,96,96) and gives (batch,CLASSES,96,96,96), in float32, of batches up to 4; with `memory` only that is looked at,
// with `gpus` what a second GPU brings to many volumes.

#include "plain.hpp"
#include "timing.hpp"

#include <planrt.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::array<int64_t, 3> EXTENTS{300, 512, 512};
constexpr size_t VOXELS = size_t{300} * 512 * 512;
constexpr int64_t PATCH = 96;
constexpr int32_t BATCH = 4;

std::string recipe(int classes, double overlap) {
    std::string labels;
    for (int label = 0; label < classes; ++label) labels += (label > 0 ? "," : "") + std::to_string(label);
    return R"({"planrt_recipe": 1, "intensities": [{"kind": "ct", "low": -1000, "high": 1000, "mean": 12.5, "deviation": 300}],
               "tiling": {"patch": [96, 96, 96], "placement": "shifted_back", "window": "monai", "overlap": )" +
           std::to_string(overlap) + R"(}, "decision": {"labels": [)" + labels + "]}}";
}

std::vector<int16_t> scan() {
    std::vector<int16_t> voxels(VOXELS);
    uint32_t state = 1;
    for (int16_t& voxel : voxels) {
        state = state * 1664525 + 1013904223;
        voxel = static_cast<int16_t>(static_cast<int>(state >> 21) - 1024);
    }
    return voxels;
}

// The network's own time for so many tiles: batches as a CUDA graph, one after another on one stream, memory on the device.
class Network {
public:
    Network(plain::Cuda& cuda, const std::string& path, int classes) : cuda_(cuda), stream_(cuda.stream()) {
        const plain::Mapped plan(path);
        plain::Handle* engine = tensorrt_.deserialize(plan.data, plan.size);
        plain::Handle* context = plain::create_context(engine);
        const plain::Dims shape{5, {BATCH, 1, PATCH, PATCH, PATCH}};
        const size_t voxels = size_t{PATCH} * PATCH * PATCH;
        if (!plain::set_input_shape(context, "INPUT__0", shape) ||
            !plain::set_tensor_address(context, "INPUT__0", cuda.device_memory(BATCH * voxels * 4)) ||
            !plain::set_tensor_address(context, "OUTPUT__0", cuda.device_memory(BATCH * voxels * 4 * static_cast<size_t>(classes))))
            plain::fail("the plan does not take the shape");
        plain::enqueue(context, stream_);
        cuda.synchronize(stream_);
        graph_ = cuda.capture(stream_, [&] { plain::enqueue(context, stream_); });
    }
    double seconds(int tiles) {
        const auto start = Clock::now();
        for (int done = 0; done < tiles; done += BATCH) cuda_.launch(graph_, stream_);
        cuda_.synchronize(stream_);
        return since(start);
    }

private:
    plain::Cuda& cuda_;
    plain::TensorRt tensorrt_;
    plain::Stream stream_;
    plain::Graph graph_ = nullptr;
};

// The least device memory that is free while something runs.
class Watch {
public:
    explicit Watch(plain::Cuda& cuda) : least_(free(cuda)), first_(least_) {
        thread_ = std::thread([this, &cuda] {
            cuda.enter();
            while (!ends_) {
                const size_t now = free(cuda);
                if (now < least_) least_ = now;
                std::this_thread::sleep_for(std::chrono::microseconds(200));
            }
        });
    }
    size_t taken() {
        ends_ = true;
        thread_.join();
        return first_ - least_;
    }
    static size_t free(plain::Cuda& cuda) {
        static const auto ask = plain::symbol<int(size_t*, size_t*)>(cuda.library, "cuMemGetInfo_v2");
        size_t bytes = 0, total = 0;
        if (ask(&bytes, &total) != 0) plain::fail("no answer about memory");
        return bytes;
    }

private:
    std::atomic<size_t> least_;
    size_t first_;
    std::atomic<bool> ends_{false};
    std::thread thread_;
};

struct Job {
    std::vector<uint8_t> labels = std::vector<uint8_t>(VOXELS, 0xA5);
    planrt::LabelMap map() { return planrt::LabelMap::of(labels); }
};

double run(const planrt::Segmenter& segmenter, const planrt::Volume& volume, Job& job) {
    const auto start = Clock::now();
    segmenter.run(volume, job.map());
    return since(start);
}

// Where the time goes.
void phases(const planrt::Segmenter& segmenter, const planrt::Volume& volume, Job& job) {
    const auto start = Clock::now();
    double first = 0, last = 0;
    planrt::SegmentationOptions options;
    options.progress = [&](int64_t done, int64_t count) {
        if (done == 0) first = since(start);
        if (done == count) last = since(start);
        return true;
    };
    segmenter.run(volume, job.map(), options);
    std::printf("of that %.1f ms before the first tile, %.1f ms for the tiles, %.1f ms after the last\n", first * 1e3, (last - first) * 1e3,
                (since(start) - last) * 1e3);
}

void memory(plain::Cuda& cuda, const planrt::Segmenter& segmenter, const planrt::Volume& volume, int classes) {
    Job job;
    const planrt::SegmentationMemory announced = segmenter.estimate(volume);
    Watch watch(cuda);
    segmenter.run(volume, job.map());
    const double taken = static_cast<double>(watch.taken());
    std::printf("%d classes: %.0f MiB of device memory taken, %.0f announced: %.3f; on the host %.0f MiB announced\n", classes, taken / 1048576,
                static_cast<double>(announced.device_bytes) / 1048576, taken / static_cast<double>(announced.device_bytes),
                static_cast<double>(announced.bytes) / 1048576);
}

// Two volumes from two threads, and what a volume takes to be given up.
void beside(const planrt::Segmenter& segmenter, const planrt::Volume& volume, double alone, const char* whose) {
    Job one, other;
    run(segmenter, volume, one);
    std::vector<double> two;
    for (int round = 0; round < 3; ++round) {
        const auto start = Clock::now();
        std::thread beside([&] { run(segmenter, volume, other); });
        run(segmenter, volume, one);
        beside.join();
        two.push_back(since(start));
    }
    std::printf("%s session: two volumes at once: %.1f ms, %.3f of one; their labels are %s\n", whose, median(two) * 1e3, median(two) / alone,
                one.labels == other.labels ? "the same" : "NOT the same");
    std::vector<double> cancels;
    for (int round = 0; round < 15; ++round) {
        planrt::Segmentation segmentation = segmenter.submit(volume, one.map());
        while (segmentation.progress().done < 60 + 7 * round) std::this_thread::yield();
        const auto start = Clock::now();
        segmentation.cancel();
        try {
            segmentation.wait();
        } catch (const planrt::Error&) {
            cancels.push_back(since(start));
        }
    }
    std::printf("%s session: cancel: answered after %.2f ms, at most %.2f ms\n", whose, median(cancels) * 1e3, quantile(cancels, 1) * 1e3);
    std::fflush(stdout);
}

void company(const planrt::Engine& engine, const planrt::Volume& volume, double alone, double batch) {
    beside(planrt::Segmenter({&engine}, recipe(2, 0.5)), volume, alone, "a segmenter's own");
    planrt::SessionOptions options;
    options.when_full = planrt::WhenFull::block;
    const planrt::Session session({&engine}, options);
    const planrt::Segmenter segmenter(std::vector<const planrt::Session*>{&session}, recipe(2, 0.5));
    beside(segmenter, volume, alone, "an application's");

    // A request of higher priority, from device memory.
    Job other;
    const size_t voxels = size_t{PATCH} * PATCH * PATCH;
    std::vector<float> input(voxels, 0.5f), output(2 * voxels);
    std::atomic<bool> ends{false};
    std::thread beside([&] {
        while (!ends) run(segmenter, volume, other);
    });
    std::vector<double> waits;
    planrt::RequestOptions urgent;
    urgent.priority = 10;
    for (int i = 0; i < 60; ++i) {
        const auto start = Clock::now();
        session.run({planrt::Tensor::input("INPUT__0", input, {1, 1, PATCH, PATCH, PATCH})}, {planrt::Tensor::output("OUTPUT__0", output)}, urgent);
        if (i >= 10) waits.push_back(since(start));
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ends = true;
    beside.join();
    std::printf("a request of higher priority among the tiles, from ordinary memory: median %.2f ms, largest %.2f ms (a batch of 4: %.2f ms)\n",
                median(waits) * 1e3, quantile(waits, 1) * 1e3, batch * 1e3);
}

// Volumes from two threads for each GPU, one after another in each.
double seconds_a_volume(const std::vector<const planrt::Engine*>& engines, const planrt::Volume& volume, double overlap,
                        std::vector<uint8_t>& labels) {
    planrt::SessionOptions options;
    options.when_full = planrt::WhenFull::block;
    const planrt::Session session(engines, options);
    const planrt::Segmenter segmenter(std::vector<const planrt::Session*>{&session}, recipe(2, overlap));
    constexpr int EACH = 3;
    const size_t count = 2 * engines.size();
    std::vector<Job> jobs(count);
    double seconds = 0;
    // The first round is for warming up.
    for (const int volumes : {1, EACH}) {
        std::vector<std::thread> threads;
        const auto start = Clock::now();
        for (Job& job : jobs)
            threads.emplace_back([&] {
                for (int i = 0; i < volumes; ++i) run(segmenter, volume, job);
            });
        for (std::thread& thread : threads) thread.join();
        seconds = since(start) / static_cast<double>(count * static_cast<size_t>(volumes));
    }
    for (const Job& job : jobs)
        if (job.labels != jobs[0].labels) plain::fail("labels depend on what runs beside");
    labels = jobs[0].labels;
    return seconds;
}

void gpus(const std::string& path, const planrt::Volume& volume) {
    planrt::RuntimeOptions elsewhere;
    elsewhere.device = 1;
    const planrt::Runtime here(planrt::RuntimeOptions{}), there(elsewhere);
    const planrt::Engine first = planrt::Engine::from_file(here, path), second = planrt::Engine::from_file(there, path);
    for (const double overlap : {0.25, 0.5}) {
        std::vector<uint8_t> labels, others;
        const double one = seconds_a_volume({&first}, volume, overlap, labels);
        const double both = seconds_a_volume({&first, &second}, volume, overlap, others);
        std::printf("overlap %.2f, two volumes at once for each GPU: %.1f ms a volume on one GPU, %.1f on two: %.3f times; their labels are %s\n",
                    overlap, one * 1e3, both * 1e3, one / both, labels == others ? "the same" : "NOT the same");
        std::fflush(stdout);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    const std::string path = argv[1];
    const int classes = std::atoi(argv[2]);
    plain::Cuda cuda;
    cuda.start();
    try {
        planrt::RuntimeOptions options;
        options.log = [](planrt::LogLevel, const char* message) { std::fprintf(stderr, "planrt: %s\n", message); };
        options.log_level = planrt::LogLevel::warning;
        const planrt::Runtime runtime(options);
        const planrt::Engine engine = planrt::Engine::from_file(runtime, path);
        const std::vector<int16_t> voxels = scan();
        const planrt::Volume volume = planrt::Volume::of(voxels, EXTENTS, {1, 0.8, 0.8});
        if (argc > 3 && std::strcmp(argv[3], "gpus") == 0) {
            gpus(path, volume);
            return 0;
        }
        if (argc > 3) {
            const planrt::Segmenter segmenter({&engine}, recipe(classes, 0.5));
            memory(cuda, segmenter, volume, classes);
            memory(cuda, segmenter, volume, classes);
            return 0;
        }
        Network network(cuda, path, classes);
        double alone = 0, batch = 0;
        for (const auto& [overlap, tiles] : {std::pair<double, int>{0.25, 196}, {0.5, 600}}) {
            const planrt::Segmenter segmenter({&engine}, recipe(classes, overlap));
            Job job;
            std::printf("overlap %.2f, first volume: %.1f ms\n", overlap, run(segmenter, volume, job) * 1e3);
            std::vector<double> own, whole;
            for (int round = 0; round < 5; ++round) {
                own.push_back(network.seconds(tiles));
                whole.push_back(run(segmenter, volume, job));
            }
            alone = median(whole);
            batch = median(own) / tiles * BATCH;
            std::printf("overlap %.2f, %d tiles: %.1f ms; the network by itself %.1f ms; ratio %.3f\n", overlap, tiles, alone * 1e3,
                        median(own) * 1e3, alone / median(own));
            phases(segmenter, volume, job);
            if (overlap == 0.5) {
                const std::vector<int16_t> air(VOXELS, -1000);
                std::vector<double> empty;
                for (int round = 0; round < 3; ++round) empty.push_back(run(segmenter, planrt::Volume::of(air, EXTENTS, {1, 0.8, 0.8}), job));
                std::printf("an empty scan: %.1f ms, %.3f of a full one\n", median(empty) * 1e3, median(empty) / alone);
                memory(cuda, segmenter, volume, classes);
            }
            std::fflush(stdout);
        }
        {
            // As nnU-Net does it: cubic splines to 1.5 mm, and logits linearly back. 200x273x273 voxels there: 4x5x5 tiles.
            const planrt::Segmenter segmenter({&engine}, R"({"planrt_recipe": 1, "intensities": [{"kind": "ct", "low": -1000, "high": 1000,
                "mean": 12.5, "deviation": 300}], "resampling": {"spacing_mm": [1.5, 1.5, 1.5], "geometry": "edges", "data": "cubic"},
                "tiling": {"patch": [96, 96, 96]}, "decision": {"labels": [0, 1]}})");
            Job job;
            run(segmenter, volume, job);
            std::vector<double> whole;
            for (int round = 0; round < 5; ++round) whole.push_back(run(segmenter, volume, job));
            std::printf("resampled to 1.5 mm and back, 100 tiles: %.1f ms; ratio %.3f\n", median(whole) * 1e3, median(whole) / (batch / BATCH * 100));
            phases(segmenter, volume, job);
            memory(cuda, segmenter, volume, classes);
        }
        company(engine, volume, alone, batch);
    } catch (const planrt::Error& error) {
        std::fprintf(stderr, "planrt: %s\n", error.what());
        return 1;
    }
    return 0;
}
