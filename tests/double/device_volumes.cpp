// Volumes on the sessions' GPU: under every TensorRT of which there is a double, with the kernels that the driver's double runs, held
// against the same volumes put together by the processor, to the bit.

#include "doubles.hpp"

#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

namespace {

int64_t kernels_run() {
    static const auto runs = symbol<int64_t()>("libcuda.so.1", "cudaDoubleKernelRuns");
    return runs();
}

// Gives back the three channels that it takes, as float32 or as float16.
std::string copy(int element_type) {
    const std::string type = std::to_string(element_type);
    return "name copy\nlayers 7\nprofiles 3\nmemory 4096\ninput x " + type +
           " -1,3,4,5,6 1,3,4,5,6 2,3,4,5,6 8,3,4,5,6\noutput y " + type + " -1,3,4,5,6\ncopies\n";
}

// The same of one channel.
const char ONE[] = "layers 7\nprofiles 3\nmemory 4096\ninput x 0 -1,1,4,5,6 1,1,4,5,6 2,1,4,5,6 8,1,4,5,6\noutput y 0 -1,1,4,5,6\ncopies\n";

// For it: a voxel is labelled where it is above a half.
const char NINE[] =
    R"({"planrt_recipe": 1, "tiling": {"patch": [4, 5, 6]}, "decision": {"regions": [{"channel": 0, "label": 9}]}})";

std::string recipe(const std::string& decision, const std::string& more = "", const std::string& tiling = "") {
    return R"({"planrt_recipe": 1, "channels": 3, )" + more + R"("tiling": {"patch": [4, 5, 6])" + tiling +
           R"(}, "decision": {)" + decision + "}}";
}

const char ARGMAX[] = R"("labels": [0, 200, 7])";
const char WIDE[] = R"("labels": [300, 0, 7])";
const char REGIONS[] = R"("activation": "sigmoid", "regions": [{"channel": 0, "label": 1}, {"channel": 2, "label": 3}], "threshold": 0.7)";
const char RESAMPLED[] = R"("transpose": [1, 0, 2], "resampling": {"spacing_mm": [1.5, 1, 1.25], "geometry": "edges", "data": "cubic"}, )";
const char CENTRES[] = R"("orientation": "LPS", "resampling": {"spacing_mm": [3, 0.8, 1.25], "geometry": "centres", "data": "linear"}, )";
const char NORMALIZED[] = R"("crop_to_nonzero": true, "intensities": [{"kind": "ct", "low": -300, "high": 400.5, "mean": 1.5, "deviation": 250},
    {"kind": "z_score", "within": "filled_mask"}, {"kind": "range", "from": [-500, 500], "to": [0, 1], "clip": true}], )";
const char OTHERS[] = R"("orientation": "RAS", "intensities": [{"kind": "zero_to_one"}, {"kind": "z_score", "within": "monai_nonzero"}, {"kind": "rgb"}], )";

struct Result {
    std::vector<uint16_t> wide;
    std::vector<uint8_t> narrow;
    std::vector<float> scores;
    std::array<double, 3> volumes_ml{};
    bool operator==(const Result& other) const {
        return wide == other.wide && narrow == other.narrow && volumes_ml == other.volumes_ml && scores.size() == other.scores.size() &&
               (scores.empty() || std::memcmp(scores.data(), other.scores.data(), scores.size() * 4) == 0);
    }
};

constexpr std::array<int64_t, 3> EXTENTS{11, 9, 17};
constexpr size_t VOXELS = 11 * 9 * 17;

// A scan of three channels with air around.
template <class Element>
std::vector<Element> voxels() {
    std::mt19937 random(7);
    std::vector<Element> all(3 * VOXELS);
    for (size_t i = 0; i < all.size(); ++i) {
        const size_t x = i % 17, y = i / 17 % 9, z = i / (17 * 9) % 11;
        const bool air = z < 2 || y == 0 || x > 14;
        const int value = static_cast<int>(random() % 1000) - (std::numeric_limits<Element>::is_signed ? 500 : 0);
        all[i] = air ? Element(0) : static_cast<Element>(sizeof(Element) == 1 ? value % 100 : value);
    }
    return all;
}

// What becomes of a scan, and whether kernels had a part in it.
Result run(const planrt::Segmenter& segmenter, planrt::Volume volume, bool wide, bool with_scores, bool on_device) {
    volume.channels = 3;
    volume.direction = {0, 1, 0, 1, 0, 0, 0, 0, -1};
    Result result;
    const int64_t before = kernels_run();
    planrt::SegmentationOptions options;
    if (with_scores) {
        result.scores.assign(3 * VOXELS, -1);
        options.scores = planrt::ScoreMap::of(result.scores);
    }
    planrt::Segmentation segmentation = [&] {
        if (wide) {
            result.wide.assign(VOXELS, 0xA5A5);
            return segmenter.submit(volume, planrt::LabelMap::of(result.wide), options);
        }
        result.narrow.assign(VOXELS, 0xA5);
        return segmenter.submit(volume, planrt::LabelMap::of(result.narrow), options);
    }();
    segmentation.wait();
    for (int32_t label = 0; label < 3; ++label)
        result.volumes_ml[static_cast<size_t>(label)] = segmentation.label_volume_ml(std::array<int32_t, 3>{0, 7, 200}[static_cast<size_t>(label)]);
    CHECK((kernels_run() > before) == on_device);
    return result;
}

planrt::Segmenter on_host(const std::vector<const planrt::Engine*>& engines, const std::string& recipe) {
    const Setting fails("CUDA_DOUBLE_FAILS", "cuModuleGetFunction=500");
    return planrt::Segmenter(engines, recipe);
}

template <class Element>
void compare(const planrt::Segmenter& here, const planrt::Segmenter& there, bool wide, bool with_scores) {
    std::vector<Element> scan = voxels<Element>();
    planrt::Volume volume = planrt::Volume::of(scan, EXTENTS, {2, 1.5, 1});
    CHECK(run(here, volume, wide, with_scores, false) == run(there, volume, wide, with_scores, true));
    volume.rescale_slope = 0.5;
    volume.rescale_intercept = -10;
    // The last axis first, backwards.
    volume.strides_bytes = {int64_t(VOXELS * sizeof(Element)), int64_t(9 * 17 * sizeof(Element)), -int64_t(17 * sizeof(Element)),
                            int64_t(sizeof(Element))};
    volume.first_voxel_bytes = 8 * 17 * sizeof(Element);
    CHECK(run(here, volume, wide, with_scores, false) == run(there, volume, wide, with_scores, true));
}

void same_as_on_the_host(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine one = tensorrt.load(runtime, copy(0)), other = tensorrt.load(runtime, copy(0)), half = tensorrt.load(runtime, copy(1));
    const std::string monai = R"(, "window": "monai", "placement": "shifted_back", "overlap": 0.25, "padding": "reflect")";
    const std::string recipes[] = {
        recipe(ARGMAX),
        recipe(ARGMAX, NORMALIZED, R"(, "mirrored": [true, false, true])"),
        recipe(REGIONS, OTHERS, monai),
        recipe(WIDE, RESAMPLED),
        recipe(ARGMAX, CENTRES, R"(, "mirrored": [false, true, false])"),
        recipe(std::string(REGIONS) + R"(, "resample_probabilities": true)", RESAMPLED, monai),
        recipe(std::string(REGIONS) + R"(, "blend_probabilities": true)", CENTRES),
        recipe(std::string(ARGMAX) + R"(, "before_resampling": true, "largest_component": true)", RESAMPLED),
        recipe(std::string(ARGMAX) + R"(, "largest_component": true)", R"("crop_to_nonzero": true, "normalize_after_resampling": true, )"),
    };
    // All of them under one TensorRT: to the others they are tiles like any.
    static const std::string thorough = tensorrt.name();
    for (const std::string& text : recipes) {
        if (tensorrt.name() != thorough && &text != &recipes[1] && &text != &recipes[3]) continue;
        const bool wide = holds(text, "300"), before = holds(text, "before_resampling");
        const bool logits = !before && !holds(text, "blend_probabilities") && !holds(text, "resample_probabilities");
        for (const std::vector<const planrt::Engine*>& engines :
             {std::vector<const planrt::Engine*>{&one}, {&one, &other}, {&half}}) {
            const planrt::Segmenter here = on_host(engines, text), there(engines, text);
            compare<int16_t>(here, there, wide, logits);
            compare<float>(here, there, wide, false);
            if (engines.size() > 1) continue;
            compare<uint8_t>(here, there, true, false);
            compare<int32_t>(here, there, wide, false);
        }
    }
}

// Rows of which four voxels are worked on at once, beside those of which they are not: to the bit the same.
void rows_of_fours(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine =
        tensorrt.load(runtime, "layers 7\nprofiles 3\nmemory 4096\ninput x 0 -1,1,4,5,8 1,1,4,5,8 2,1,4,5,8 8,1,4,5,8\noutput y 0 -1,1,4,5,8\ncopies\n");
    for (const std::string tiling : {R"("placement": "shifted_back", "window": "monai")", R"("overlap": 0.3, "mirrored": [true, true, true])"}) {
        const std::string text = R"({"planrt_recipe": 1, "tiling": {"patch": [4, 5, 8], )" + tiling +
                                 R"(}, "decision": {"regions": [{"channel": 0, "label": 9}], "threshold": 20}})";
        const planrt::Segmenter here = on_host({&engine}, text), there({&engine}, text);
        for (const int64_t width : {5, 8, 22, 24}) {
            const size_t count = static_cast<size_t>(12 * 9 * width);
            std::mt19937 random(7);
            std::vector<int16_t> scan(count);
            for (int16_t& voxel : scan) voxel = static_cast<int16_t>(random() % 1000);
            const planrt::Volume volume = planrt::Volume::of(scan, {12, 9, width}, {1, 1, 1});
            std::vector<uint8_t> labels(count, 0xA5), others(count, 0x5A);
            std::vector<float> logits(count, -1), other_logits(count, -2);
            planrt::SegmentationOptions options;
            options.scores = planrt::ScoreMap::of(logits);
            here.run(volume, planrt::LabelMap::of(labels), options);
            options.scores = planrt::ScoreMap::of(other_logits);
            there.run(volume, planrt::LabelMap::of(others), options);
            CHECK(labels == others && std::memcmp(logits.data(), other_logits.data(), 4 * count) == 0);
            there.run(volume, planrt::LabelMap::of(others));
            CHECK(labels == others);
        }
    }
}

// Tiles of one value are computed once.
void empty_scans(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, ONE);
    planrt::SessionOptions options;
    options.when_full = planrt::WhenFull::block;
    const planrt::Session session({&engine}, options);
    const planrt::Segmenter segmenter(std::vector<const planrt::Session*>{&session}, NINE);
    std::vector<int16_t> scan(40 * 20 * 20, 0);
    std::vector<uint8_t> labels(scan.size(), 0xA5);
    segmenter.run(planrt::Volume::of(scan, {40, 20, 20}, {1, 1, 1}), planrt::LabelMap::of(labels));
    CHECK(std::all_of(labels.begin(), labels.end(), [](uint8_t label) { return label == 0; }));
    CHECK(session.statistics().items == 1);
    // A half of it is empty.
    std::fill(scan.begin() + 20 * 20 * 20, scan.end(), int16_t{1});
    scan.back() = 2;
    segmenter.run(planrt::Volume::of(scan, {40, 20, 20}, {1, 1, 1}), planrt::LabelMap::of(labels));
    const uint64_t items = session.statistics().items;
    CHECK(items > 10 && items < 200);
}

// What is no number is an error that names its tile, and nothing is labelled by it.
void no_numbers(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, ONE);
    const planrt::Segmenter here = on_host({&engine}, NINE), there({&engine}, NINE);
    std::vector<float> scan(12 * 9 * 17, 0.75f);
    scan[7 * 9 * 17 + 3 * 17 + 8] = std::nanf("");
    std::vector<uint8_t> labels(scan.size(), 0xA5), others = labels;
    const planrt::Volume volume = planrt::Volume::of(scan, {12, 9, 17}, {1, 1, 1});
    const planrt::Error wanted = expect(planrt::ErrorCode::invalid_model, "tile ", [&] { here.run(volume, planrt::LabelMap::of(labels)); });
    const planrt::Error found = expect(planrt::ErrorCode::invalid_model, "tile ", [&] { there.run(volume, planrt::LabelMap::of(others)); });
    CHECK(std::string(wanted.what()) == found.what());
    planrt::SegmentationOptions allowed;
    allowed.nan_allowed = true;
    here.run(volume, planrt::LabelMap::of(labels), allowed);
    there.run(volume, planrt::LabelMap::of(others), allowed);
    CHECK(labels == others);
}

// What is kept of each tile is told, too.
void many_tiles(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, ONE);
    planrt::Volume volume;
    volume.extents = {200, 200, 100};
    volume.spacing_mm = {1, 1, 1};
    const auto told = [&](double overlap) {
        planrt::SegmenterOptions options;
        options.overlap = overlap;
        return planrt::Segmenter({&engine}, NINE, options).estimate(volume).device_bytes;
    };
    // Some 220,000 more.
    CHECK(told(0) > 0 && told(0.5) > told(0) + 220000 * 16);
}

// Where the device has no room, or fails, the processor does it, and the log says so.
void short_of_memory(const Double& tensorrt) {
    std::string said;
    planrt::RuntimeOptions options = tensorrt.options();
    options.log = [&](planrt::LogLevel, const char* message) { said += std::string(message) + "\n"; };
    const planrt::Runtime runtime(options);
    const planrt::Engine engine = tensorrt.load(runtime, ONE);
    const planrt::Segmenter segmenter({&engine}, NINE);
    std::vector<int16_t> scan(12 * 9 * 17, 1);
    std::vector<uint8_t> labels(scan.size(), 0xA5);
    const auto runs_there = [&] {
        const int64_t before = kernels_run();
        labels.assign(labels.size(), 0xA5);
        segmenter.run(planrt::Volume::of(scan, {12, 9, 17}, {1, 1, 1}), planrt::LabelMap::of(labels));
        CHECK(std::all_of(labels.begin(), labels.end(), [](uint8_t label) { return label == 9; }));
        return kernels_run() > before;
    };
    CHECK(runs_there() && said.empty());
    const planrt::Volume volume = planrt::Volume::of(scan, {12, 9, 17}, {1, 1, 1});
    planrt::SegmentationOptions budget;
    budget.device_memory_budget_bytes = segmenter.estimate(volume).device_bytes;
    segmenter.run(volume, planrt::LabelMap::of(labels), budget);
    // The least is told to the byte, also where planes of scores are asked for.
    for (const bool has_scores : {false, true}) {
        if (has_scores) budget.score_plane = [](const planrt::ScorePlane&) { return true; };
        budget.device_memory_budget_bytes.reset();
        const planrt::SegmentationMemory told = segmenter.estimate(volume, budget);
        CHECK(told.least_device_bytes > 0 && told.least_device_bytes < told.device_bytes);
        budget.device_memory_budget_bytes = told.least_device_bytes;
        CHECK(segmenter.estimate(volume, budget).device_bytes == told.least_device_bytes);
        CHECK(segmenter.estimate(volume, budget).least_device_bytes == told.least_device_bytes);
        labels.assign(labels.size(), 0xA5);
        const int64_t before = kernels_run();
        segmenter.run(volume, planrt::LabelMap::of(labels), budget);
        CHECK(kernels_run() > before && said.empty());
        CHECK(std::all_of(labels.begin(), labels.end(), [](uint8_t label) { return label == 9; }));
        budget.device_memory_budget_bytes = told.least_device_bytes - 1;
        expect(planrt::ErrorCode::out_of_memory, std::to_string(told.least_device_bytes) + " bytes of device memory at least",
               [&] { segmenter.run(volume, planrt::LabelMap::of(labels), budget); });
        expect(planrt::ErrorCode::out_of_memory, "of device memory at least", [&] { (void)segmenter.estimate(volume, budget); });
    }
    budget.score_plane = nullptr;
    budget.device_memory_budget_bytes = 1;
    expect(planrt::ErrorCode::out_of_memory, "of device memory at least, and the budget is 1",
           [&] { segmenter.run(volume, planrt::LabelMap::of(labels), budget); });
    {
        const Setting memory("CUDA_DOUBLE_MEMORY", "1000000");
        CHECK(!runs_there() && holds(said, "not put together on CUDA device 0: it takes"));
    }
    {
        said.clear();
        const Setting fails("CUDA_DOUBLE_FAILS", "cuMemsetD8Async=1");
        runs_there();
        CHECK(holds(said, "not put together on CUDA device 0"));
    }
    CHECK(runs_there());
}

// Where a device that had room has none any more, the processor does it within the budget, or it fails.
void budget_on_the_host(const Double& tensorrt) {
    // It is large, and the same under each TensorRT.
    static bool is_done = false;
    if (std::exchange(is_done, true)) return;
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, ONE);
    const planrt::Segmenter segmenter({&engine}, NINE);
    const std::vector<int16_t> scan(136 * 136 * 136, 1);
    std::vector<uint8_t> labels(scan.size(), 0xA5);
    const planrt::LabelMap map = planrt::LabelMap::of(labels);
    const planrt::Volume volume = planrt::Volume::of(scan, {136, 136, 136}, {1, 1, 1});
    planrt::SegmentationOptions options;
    options.memory_budget_bytes = segmenter.estimate(volume).least_bytes;
    segmenter.run(volume, map, options);
    size_t on_host = 0;
    {
        const Setting memory("CUDA_DOUBLE_MEMORY", "1000000");
        on_host = segmenter.estimate(volume).least_bytes;
        segmenter.run(volume, map);
    }
    CHECK(on_host > *options.memory_budget_bytes);
    const Setting fails("CUDA_DOUBLE_FAILS", "cuMemAlloc_v2=2");
    expect(planrt::ErrorCode::out_of_memory, "budget", [&] { segmenter.run(volume, map, options); });
    options.memory_budget_bytes = on_host;
    labels.assign(labels.size(), 0xA5);
    segmenter.run(volume, map, options);
    CHECK(std::all_of(labels.begin(), labels.end(), [](uint8_t label) { return label == 9; }));
}

// Volumes, labels and scores in device memory: that of the sessions' device, or an error.
void device_memory(const Double& tensorrt) {
    const Setting two("CUDA_DOUBLE_DEVICES", "2");
    planrt::RuntimeOptions elsewhere = tensorrt.options();
    elsewhere.device = 1;
    const planrt::Runtime runtime(tensorrt.options()), second(elsewhere);
    const planrt::Engine engine = tensorrt.load(runtime, ONE);
    const planrt::Segmenter segmenter({&engine}, NINE);
    std::vector<int16_t> scan(12 * 9 * 17);
    for (size_t i = 0; i < scan.size(); ++i) scan[i] = static_cast<int16_t>(i % 3);
    const planrt::Buffer voxels(runtime, planrt::MemoryKind::device, 2 * scan.size()), labels(runtime, planrt::MemoryKind::device, 2 * scan.size()),
        scores(runtime, planrt::MemoryKind::device, 4 * scan.size()), other(second, planrt::MemoryKind::device, 4 * scan.size());
    std::memcpy(voxels.data(), scan.data(), 2 * scan.size());
    std::memset(labels.data(), 0xA5, 2 * scan.size());
    planrt::Volume volume = planrt::Volume::of(scan, {12, 9, 17}, {1, 1, 1});
    std::vector<uint8_t> on_host(scan.size());
    planrt::LabelMap map = planrt::LabelMap::of(on_host);
    const size_t before = segmenter.estimate(volume).bytes;
    volume.data = voxels.data();
    volume.memory_kind = map.memory_kind = planrt::MemoryKind::device;
    CHECK(segmenter.estimate(volume).bytes == before + 2 * scan.size());
    map.data = labels.data();
    map.size_bytes = 2 * scan.size();
    map.strides_bytes = {2 * 9 * 17, 2 * 17, 2};
    segmenter.run(volume, map);
    for (size_t i = 0; i < scan.size(); ++i) {
        const uint8_t* label = static_cast<const uint8_t*>(labels.data()) + 2 * i;
        CHECK(label[0] == (scan[i] > 0 ? 9 : 0) && label[1] == 0xA5);
    }
    std::vector<float> logits(scan.size());
    planrt::SegmentationOptions options;
    options.scores = planrt::ScoreMap::of(logits);
    options.scores->data = scores.data();
    options.scores->memory_kind = planrt::MemoryKind::device;
    segmenter.run(volume, map, options);
    for (size_t i = 0; i < scan.size(); ++i) CHECK(std::abs(static_cast<const float*>(scores.data())[i] - scan[i]) < 1e-5);

    volume.data = other.data();
    expect(planrt::ErrorCode::invalid_argument, "the volume is on CUDA device 1", [&] { segmenter.run(volume, map); });
    volume.data = scan.data();
    expect(planrt::ErrorCode::invalid_argument, "said to be in device memory", [&] { segmenter.run(volume, map); });
    volume.data = static_cast<const char*>(voxels.data()) + 2;
    expect(planrt::ErrorCode::buffer_too_small, "the volume has", [&] { segmenter.run(volume, map); });
    volume.data = voxels.data();
    map.data = other.data();
    expect(planrt::ErrorCode::invalid_argument, "the label map is on CUDA device 1", [&] { segmenter.run(volume, map); });
    options.scores->data = other.data();
    map.data = labels.data();
    expect(planrt::ErrorCode::invalid_argument, "the score map is on CUDA device 1", [&] { segmenter.run(volume, map, options); });
}

// Several devices: a volume is wholly on the one that has least to run, with the same labels to the bit; where it fails there, on
// another.
void several_devices(const Double& tensorrt) {
    const Setting two("CUDA_DOUBLE_DEVICES", "2");
    const auto kernels_on = symbol<int64_t(int)>("libcuda.so.1", "cudaDoubleVolumeKernels");
    planrt::RuntimeOptions elsewhere = tensorrt.options();
    elsewhere.device = 1;
    const planrt::Runtime runtime(tensorrt.options()), second(elsewhere);
    const planrt::Engine engine = tensorrt.load(runtime, ONE), other = tensorrt.load(second, ONE);
    planrt::SessionOptions waits;
    waits.when_full = planrt::WhenFull::block;
    const planrt::Session session({&engine, &other}, waits);
    const planrt::Segmenter segmenter(std::vector<const planrt::Session*>{&session}, NINE);
    std::vector<int16_t> scan(12 * 9 * 17);
    for (size_t i = 0; i < scan.size(); ++i) scan[i] = static_cast<int16_t>(i % 3);
    const planrt::Volume volume = planrt::Volume::of(scan, {12, 9, 17}, {1, 1, 1});
    // On which of them kernels ran for a volume that is right.
    const auto devices_of = [&] {
        const std::array<int64_t, 2> before{kernels_on(0), kernels_on(1)};
        std::vector<uint8_t> labels(scan.size(), 0xA5);
        segmenter.run(volume, planrt::LabelMap::of(labels));
        for (size_t i = 0; i < scan.size(); ++i) CHECK(labels[i] == (scan[i] > 0 ? 9 : 0));
        return std::array<bool, 2>{kernels_on(0) > before[0], kernels_on(1) > before[1]};
    };
    CHECK((devices_of() == std::array<bool, 2>{true, false}));
    {
        // One that waits for its last tile, when all of its scan has come there.
        std::mutex held;
        std::unique_lock holds_it(held);
        std::atomic<bool> begun{false};
        planrt::SegmentationOptions options;
        options.progress = [&](int64_t done, int64_t count) {
            if (done + 1 < count) return true;
            begun = true;
            const std::lock_guard until_then(held);
            return true;
        };
        std::vector<uint8_t> labels(scan.size(), 0xA5);
        planrt::Segmentation first = segmenter.submit(volume, planrt::LabelMap::of(labels), options);
        while (!begun) std::this_thread::yield();
        CHECK((devices_of() == std::array<bool, 2>{false, true}));
        CHECK((devices_of() == std::array<bool, 2>{false, true}));
        holds_it.unlock();
        first.wait();
        for (size_t i = 0; i < scan.size(); ++i) CHECK(labels[i] == (scan[i] > 0 ? 9 : 0));
    }
    CHECK((devices_of() == std::array<bool, 2>{true, false}));
    {
        const Setting fails("CUDA_DOUBLE_FAILS", "cuMemsetD8Async=1");
        CHECK(devices_of()[1]);
    }
    segmenter.check_company(volume, 4);
}

// A volume ends early, and another one goes on.
void cancelled(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, ONE);
    const planrt::Segmenter segmenter({&engine}, NINE);
    std::vector<int16_t> scan(60 * 20 * 20);
    for (size_t i = 0; i < scan.size(); ++i) scan[i] = static_cast<int16_t>(i % 3);
    std::vector<uint8_t> labels(scan.size(), 0xA5), others = labels;
    const planrt::Volume volume = planrt::Volume::of(scan, {60, 20, 20}, {1, 1, 1});
    planrt::SegmentationOptions options;
    options.progress = [](int64_t done, int64_t) { return done < 30; };
    planrt::Segmentation ended = segmenter.submit(volume, planrt::LabelMap::of(labels), options);
    planrt::Segmentation whole = segmenter.submit(volume, planrt::LabelMap::of(others));
    expect(planrt::ErrorCode::cancelled, "30 of", [&] { ended.wait(); });
    whole.wait();
    for (size_t i = 0; i < scan.size(); ++i) CHECK(others[i] == (scan[i] > 0 ? 9 : 0));
}

}  // namespace

int main(int argc, char** argv) {
    on_each(doubles(argc, argv), {{"same_as_on_the_host", same_as_on_the_host},
                                  {"rows_of_fours", rows_of_fours},
                                  {"empty_scans", empty_scans},
                                  {"no_numbers", no_numbers},
                                  {"many_tiles", many_tiles},
                                  {"short_of_memory", short_of_memory},
                                  {"budget_on_the_host", budget_on_the_host},
                                  {"device_memory", device_memory},
                                  {"several_devices", several_devices},
                                  {"cancelled", cancelled}});
    return 0;
}
