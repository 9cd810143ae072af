// Segmenters on plans, under every TensorRT of which there is a double: tiles of several volumes share batches, two devices share
// the tiles of one, and a device that is lost ends the volumes that were on it.

#include "doubles.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>

namespace {

// Copies its input: a voxel is labelled where it is above a half.
const char COPY[] =
    "name copy\nlayers 7\nprofiles 3\nmemory 4096\n"
    "input x 0 -1,1,4,4,4 1,1,4,4,4 2,1,4,4,4 8,1,4,4,4\noutput y 0 -1,1,4,4,4\ncopies\n";
const char RECIPE[] = R"({"planrt_recipe": 1, "tiling": {"patch": [4, 4, 4], "mirrored": [true, false, true]},
                          "decision": {"regions": [{"channel": 0, "label": 9}]}})";

struct Scan {
    explicit Scan(std::array<int64_t, 3> size, uint32_t seed)
        : extents(size), voxels(static_cast<size_t>(size[0] * size[1] * size[2])), labels(voxels.size(), 0xA5) {
        for (float& voxel : voxels) {
            seed = seed * 1664525 + 1013904223;
            voxel = static_cast<float>(seed >> 8) / (1 << 24);
        }
    }
    planrt::Volume volume() const { return planrt::Volume::of(voxels, extents, {1, 1, 1}); }
    planrt::LabelMap map() { return planrt::LabelMap::of(labels); }
    bool is_right() const {
        for (size_t i = 0; i < voxels.size(); ++i) {
            // The sums of weights round; no voxel is that close.
            if (std::abs(voxels[i] - 0.5f) > 1e-5f && labels[i] != (voxels[i] > 0.5f ? 9 : 0)) return false;
        }
        return true;
    }

    std::array<int64_t, 3> extents;
    std::vector<float> voxels;
    std::vector<uint8_t> labels;
};

std::vector<std::unique_ptr<Scan>> scans() {
    std::vector<std::unique_ptr<Scan>> all;
    for (const std::array<int64_t, 3> extents : {std::array<int64_t, 3>{9, 7, 8}, {3, 4, 5}, {13, 4, 9}})
        all.push_back(std::make_unique<Scan>(extents, static_cast<uint32_t>(all.size())));
    return all;
}

void many_at_once(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine one = tensorrt.load(runtime, COPY), other = tensorrt.load(runtime, COPY);
    const planrt::Segmenter segmenter(std::vector<const planrt::Engine*>{&one, &other}, RECIPE);
    auto all = scans();
    std::vector<planrt::Segmentation> under_way;
    for (int round = 0; round < 3; ++round)
        for (auto& scan : all) under_way.push_back(segmenter.submit(scan->volume(), scan->map()));
    for (const planrt::Segmentation& segmentation : under_way) segmentation.wait();
    for (const auto& scan : all) CHECK(scan->is_right());
}

// One call after another while tiles run: whatever goes first, nothing is left.
void deleted_while_it_runs(const Double& tensorrt) {
    for (int order = 0; order < 3; ++order) {
        Scan scan({60, 8, 8}, 5);
        auto runtime = std::make_unique<planrt::Runtime>(tensorrt.options());
        auto engine = std::make_unique<planrt::Engine>(tensorrt.load(*runtime, COPY));
        auto segmenter = std::make_unique<planrt::Segmenter>(std::vector<const planrt::Engine*>{engine.get()}, RECIPE);
        planrt::Segmentation segmentation = segmenter->submit(scan.volume(), scan.map());
        if (order == 0) segmentation.cancel();
        runtime.reset();
        engine.reset();
        if (order == 1) segmentation = nullptr;
        segmenter.reset();
        if (order == 2) CHECK(segmentation.poll());
    }
}

void two_devices(const Double& tensorrt) {
    const auto lose = symbol<void(int, bool)>("libcuda.so.1", "cudaDoubleLose");
    const Setting two("CUDA_DOUBLE_DEVICES", "2");
    planrt::RuntimeOptions there = tensorrt.options();
    there.device = 1;
    const planrt::Runtime first(tensorrt.options()), second(there);
    const planrt::Engine here = tensorrt.load(first, COPY), elsewhere = tensorrt.load(second, COPY);
    planrt::SessionOptions options;
    options.retry = true;
    options.when_full = planrt::WhenFull::block;
    {
        const planrt::Session session({&here, &elsewhere}, options);
        const planrt::Segmenter segmenter(std::vector<const planrt::Session*>{&session}, RECIPE);
        auto all = scans();
        for (auto& scan : all) {
            segmenter.run(scan->volume(), scan->map());
            CHECK(scan->is_right());
        }
        // The other one goes on alone.
        lose(1, true);
        for (auto& scan : all) {
            scan->labels.assign(scan->labels.size(), 0xA5);
            segmenter.run(scan->volume(), scan->map());
            CHECK(scan->is_right());
        }
        lose(1, false);
    }
    {
        // A volume, and its labels, in the memory of the one that is left; the driver alone knows of it.
        const planrt::Session session({&here, &elsewhere}, options);
        const planrt::Segmenter segmenter(std::vector<const planrt::Session*>{&session}, RECIPE);
        const planrt::Runtime stranger(there);
        Scan scan({9, 7, 8}, 2);
        const size_t bytes = scan.voxels.size() * sizeof scan.voxels[0];
        const planrt::Buffer voxels(stranger, planrt::MemoryKind::device, bytes);
        const planrt::Buffer labels(stranger, planrt::MemoryKind::device, scan.labels.size());
        planrt::Stream stream(stranger);
        stream.copy(voxels.data(), scan.voxels.data(), bytes);
        stream.synchronize();
        planrt::Volume volume = scan.volume();
        volume.data = voxels.data();
        volume.memory_kind = planrt::MemoryKind::device;
        planrt::LabelMap map = scan.map();
        map.data = labels.data();
        map.memory_kind = planrt::MemoryKind::device;
        lose(0, true);
        segmenter.run(volume, map);
        stream.copy(scan.labels.data(), labels.data(), scan.labels.size());
        stream.synchronize();
        CHECK(scan.is_right());
        lose(0, false);
    }
    {
        const planrt::Segmenter segmenter(std::vector<const planrt::Engine*>{&here}, RECIPE);
        Scan scan({9, 7, 8}, 1);
        lose(0, true);
        expect(planrt::ErrorCode::device_lost, "tile 1 of", [&] { segmenter.run(scan.volume(), scan.map()); });
    }
    lose(0, false);
}

// A patch that no profile takes: the nearest is named.
void refuses(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(
        runtime, "profiles 1\nmemory 4096\ninput x 0 -1,1,-1,4,4 1,1,4,4,4 2,1,4,4,4 8,1,6,4,4\noutput y 0 -1,1,-1,4,4\ncopies\n");
    const auto make = [&](const std::string& patch) {
        return planrt::Segmenter(std::vector<const planrt::Engine*>{&engine}, R"({"planrt_recipe": 1, "tiling": {"patch": )" +
                                 patch + R"(}, "decision": {"regions": [{"channel": 0, "label": 1}]}})");
    };
    expect(planrt::ErrorCode::shape, "nearest is profile 0", [&] { make("[7, 4, 4]"); });
    const planrt::Segmenter segmenter = make("[6, 4, 4]");
    Scan scan({7, 7, 8}, 1);
    segmenter.run(scan.volume(), scan.map());
}

// The log ends with the last object that logs there, as segmenters of other segmenters do.
void keep_their_logs(const Double& tensorrt) {
    std::weak_ptr<int> logs[3];
    planrt::Segmenter ensemble, guided;
    {
        std::vector<planrt::Runtime> runtimes;
        std::vector<planrt::Engine> engines;
        std::vector<planrt::Segmenter> segmenters;
        for (std::weak_ptr<int>& log : logs) {
            const auto token = std::make_shared<int>(0);
            log = token;
            planrt::RuntimeOptions options = tensorrt.options();
            options.log = [token](planrt::LogLevel, const char*) {};
            runtimes.emplace_back(options);
            engines.push_back(tensorrt.load(runtimes.back(), COPY));
            segmenters.emplace_back(std::vector<const planrt::Engine*>{&engines.back()}, RECIPE);
        }
        ensemble = planrt::Segmenter::ensemble({&segmenters[0], &segmenters[0]});
        planrt::SegmenterOptions options;
        options.coarse = &segmenters[2];
        const planrt::Segmenter coarse(std::vector<const planrt::Engine*>{&engines[1]}, RECIPE, options);
        options.coarse = &coarse;
        guided = planrt::Segmenter(std::vector<const planrt::Engine*>{&engines[0]}, RECIPE, options);
    }
    CHECK(!logs[0].expired() && !logs[1].expired() && !logs[2].expired());
    guided = planrt::Segmenter();
    CHECK(!logs[0].expired() && logs[1].expired() && logs[2].expired());
    Scan scan({9, 7, 8}, 1);
    ensemble.run(scan.volume(), scan.map());
    CHECK(scan.is_right());
    ensemble = planrt::Segmenter();
    CHECK(logs[0].expired());
}

}  // namespace

int main(int argc, char** argv) {
    on_each(doubles(argc, argv), {{"many_at_once", many_at_once},
                                  {"deleted_while_it_runs", deleted_while_it_runs},
                                  {"two_devices", two_devices},
                                  {"refuses", refuses},
                                  {"keep_their_logs", keep_their_logs}});
    return 0;
}
