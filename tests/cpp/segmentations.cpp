// Segmentations in C++: a folder becomes labels in ten lines; whose the memory is, and what is called, however one ends; and no
// mask depends on what else runs.

#include "cpp_tests.hpp"

#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>

using namespace std::chrono_literals;

static planrt::Engine load(const std::string& name) {
    planrt::EngineOptions options;
    options.cpu_threads = 1;
    return planrt::Engine::from_file(planrt::Runtime(), MODELS "/" + name + ".onnx", options);
}

template <class Condition>
static void until(Condition condition) {
    while (!condition()) std::this_thread::sleep_for(1ms);
}

static planrt::Segmenter segmenter(const std::string& model, const std::string& recipe,
                                   const planrt::SegmenterOptions& options = {}) {
    const planrt::Engine engine = load(model);
    return planrt::Segmenter(std::vector<const planrt::Engine*>{&engine}, recipe, options);
}

static const std::string small_recipe = R"({"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}})";

// Tiles of `slow` take long enough for something to be done meanwhile: three of them.
static planrt::Segmenter slow() {
    return segmenter("slow", R"({"planrt_recipe": 1, "tiling": {"patch": [64, 64, 64], "overlap": 0},
                                 "decision": {"regions": [{"channel": 0, "label": 1}]}})");
}

struct Scan {
    explicit Scan(std::array<int64_t, 3> size, unsigned seed = 1, size_t channels = 1)
        : extents(size), voxels(channels * count()), labels(count(), 0xA5) {
        for (float& voxel : voxels) {
            seed = seed * 1664525 + 1013904223;
            voxel = static_cast<float>(seed >> 8) / (1 << 23) - 1;
        }
    }
    size_t count() const { return static_cast<size_t>(extents[0] * extents[1] * extents[2]); }
    planrt::Volume volume() const {
        planrt::Volume volume = planrt::Volume::of(voxels, extents, {1, 1, 1});
        volume.channels = static_cast<int32_t>(voxels.size() / count());
        return volume;
    }
    planrt::LabelMap map() { return planrt::LabelMap::of(labels); }

    std::array<int64_t, 3> extents;
    std::vector<float> voxels;
    std::vector<uint8_t> labels;
};

struct SlowScan : Scan {
    SlowScan() : Scan({192, 64, 64}) {}
};

// What an application writes.
static void ten_lines() {
    const std::filesystem::path folder = "model folder";
    std::filesystem::create_directories(folder);
    std::filesystem::copy_file(small, folder / "model.onnx", std::filesystem::copy_options::overwrite_existing);
    std::ofstream(folder / "recipe.json") << small_recipe;
    const std::vector<int16_t> voxels(20 * 16 * 12, 7);

    const planrt::Runtime runtime;
    const planrt::Segmenter segmenter(runtime, folder);
    const planrt::Volume volume = planrt::Volume::of(voxels, {20, 16, 12}, {1.5, 0.8, 0.8});
    const std::vector<uint8_t> labels = segmenter.labels(volume);

    CHECK(labels.size() == voxels.size());
    const planrt::SegmenterInfo info = segmenter.info();
    CHECK(info.channels == 1 && info.score_channels == 2 && info.largest_label == 1);
    CHECK((info.patch == std::array<int64_t, 3>{8, 8, 8}));
    CHECK(segmenter.labels<uint16_t>(volume) == std::vector<uint16_t>(labels.begin(), labels.end()));
    std::filesystem::remove(folder / "recipe.json");
    CHECK(fails(planrt::ErrorCode::invalid_model, [&] { return planrt::Segmenter(runtime, folder); }));
    CHECK(fails(planrt::ErrorCode::not_found, [&] { return planrt::Segmenter(runtime, folder / "none"); }));
    std::filesystem::remove_all(folder);
    const planrt::Segmenter empty;
    CHECK(!empty && fails(planrt::ErrorCode::invalid_argument, [&] { return empty.labels(volume); }));
    CHECK(fails(planrt::ErrorCode::invalid_argument, [] { return planrt::Segmenter(std::vector<const planrt::Engine*>(), small_recipe); }));
}

static std::filesystem::path model_folder(const std::filesystem::path& folder, const std::string& recipe) {
    std::filesystem::create_directories(folder);
    std::filesystem::copy_file(small, folder / "model.onnx", std::filesystem::copy_options::overwrite_existing);
    std::ofstream(folder / "recipe.json") << recipe;
    return folder;
}

// Models that are averaged, and one that says where to look, as a folder describes them: the same as put together call by call.
static void folders_in_a_folder() {
    const std::filesystem::path top = "folders";
    std::filesystem::remove_all(top);
    const auto recipe = [](const std::string& more) {
        return R"({"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8])" + more + "}, \"decision\": {\"labels\": [0, 1]}}";
    };
    const planrt::Runtime runtime;
    const auto a = model_folder(top / "a", recipe("")), b = model_folder(top / "b", recipe(R"(, "overlap": 0.25)"));
    const auto coarse = model_folder(top / "coarse", recipe(R"(, "overlap": 0, "mirrored": [true, false, false])"));
    const Scan scan({20, 16, 12});
    const auto describe = [&](const std::string& description) { std::ofstream(top / "recipe.json") << description; };
    const auto labels = [&](const planrt::SegmenterOptions& options = {}) {
        return planrt::Segmenter(runtime, top, options).labels(scan.volume());
    };
    const planrt::Segmenter first(runtime, a), second(runtime, b), small_one(runtime, coarse);

    describe(R"({"planrt_recipe": 1, "ensemble": ["a", "b"]})");
    CHECK(labels() == planrt::Segmenter::ensemble({&first, &second}).labels(scan.volume()));
    planrt::SegmenterOptions options;
    options.overlap = 0.5;
    const planrt::Segmenter other(runtime, b, options);
    CHECK(labels(options) == planrt::Segmenter::ensemble({&first, &other}).labels(scan.volume()));
    options.coarse = &small_one;
    options.coarse_margin_mm = 1;
    const auto within = planrt::Segmenter::ensemble({&first, &other}, options).labels(scan.volume());
    CHECK(labels(options) == within);
    const std::string named = R"("coarse": {"folder": "coarse", "margin_mm": 1})";
    describe(R"({"planrt_recipe": 1, "ensemble": ["a", "b"], )" + named + "}");
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { return labels(options); }));  // and not another one
    options.coarse = nullptr;
    CHECK(labels(options) == within);
    // Of one alone: then what labels are decided by need not be probabilities.
    describe(R"({"planrt_recipe": 1, "ensemble": ["a"]})");
    CHECK(labels() == first.labels(scan.volume()));
    // Around the folder's own model.
    model_folder(top, "{" + named + "," + recipe("").substr(1));
    options = {};
    options.coarse = &small_one;
    options.coarse_margin_mm = 1;
    CHECK(labels() == planrt::Segmenter(runtime, a, options).labels(scan.volume()));

    const auto says = [&](planrt::ErrorCode code, const std::string& text) {
        const planrt::Error error = thrown([&] { return labels(); });
        CHECK(error.code() == code && std::string(error.what()).find(text) != std::string::npos);
    };
    describe(R"({"planrt_recipe": 1, "ensemble": ["a", "none"]})");
    says(planrt::ErrorCode::not_found, "none");
    describe(R"({"planrt_recipe": 1, "ensemble": ["a", "b"]})");
    model_folder(b, R"({"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 2]}})");
    says(planrt::ErrorCode::invalid_argument, "decides its labels in another way");
    model_folder(b, "{" + named + "," + recipe("").substr(1));
    says(planrt::ErrorCode::not_found, "coarse");
    model_folder(b, R"({"planrt_recipe": 1, "ensemble": ["c"]})");
    model_folder(b / "c", recipe(""));
    says(planrt::ErrorCode::unsupported, "an ensemble within one");
    model_folder(b, recipe(R"(, "colour": 1)"));
    says(planrt::ErrorCode::invalid_model, "colour");
    CHECK(fails(planrt::ErrorCode::invalid_model, [&] { return segmenter("small", R"({"planrt_recipe": 1, "ensemble": ["a"]})"); }));
    std::filesystem::remove_all(top);
}

// What was called for a segmentation.
struct Calls {
    std::atomic<int64_t> told{0};
    std::atomic<int> answered{0};
    std::atomic<int> released{0};
    std::atomic<int> code{0};

    planrt::SegmentationOptions options() {
        planrt::SegmentationOptions options;
        options.progress = [this](int64_t done, int64_t count) {
            CHECK(done == told && done <= count && answered == 0);
            ++told;
            return true;
        };
        options.callback = [this](const planrt::Error* error) {
            CHECK(released == 0);
            code = error != nullptr ? static_cast<int>(error->code()) : 0;
            ++answered;
        };
        options.release = [this] { ++released; };
        return options;
    }
    bool saw(planrt::ErrorCode expected) const { return code == static_cast<int>(expected); }
};

static void answers() {
    const planrt::Segmenter segmenter = ::segmenter("small", small_recipe);
    Calls calls;
    Scan scan({20, 9, 8});
    const planrt::Segmentation segmentation = segmenter.submit(scan.volume(), scan.map(), calls.options());
    segmentation.wait();
    CHECK(segmentation.poll() && !segmentation.error() && segmentation.wait(0s));
    const auto [done, count] = segmentation.progress();
    CHECK(done == 8 && count == 8 && calls.told == 9);
    until([&] { return calls.released == 1; });
    CHECK(calls.answered == 1 && calls.code == 0);
    CHECK(segmenter.labels(scan.volume()) == scan.labels);
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { segmenter.run(scan.volume(), scan.map(), Calls().options()); }));

    // What is refused was never the segmenter's.
    Calls refused;
    scan.extents[0] += 1;
    CHECK(fails(planrt::ErrorCode::buffer_too_small, [&] { return segmenter.submit(scan.volume(), scan.map(), refused.options()); }));
    CHECK(refused.released == 1 && refused.answered == 0);
    planrt::SegmentationOptions late;
    late.timeout = 0us;
    scan.extents[0] -= 1;
    CHECK(fails(planrt::ErrorCode::deadline, [&] { segmenter.run(scan.volume(), scan.map(), late); }));
}

static void until_running(const planrt::Segmentation& segmentation) {
    until([&] { return segmentation.progress().count > 0; });
}

// A tile that waits for room in a session's queue, behind a batch that runs for long: its volume ends by itself nevertheless.
static void ends_in_a_full_queue() {
    const planrt::Engine engine = load("slow");
    planrt::SessionOptions options;
    options.contexts = 1;
    options.queue_capacity = 1;
    options.when_full = planrt::WhenFull::block;
    const planrt::Session session(engine, options);
    Work large({16, 1, 64, 64, 64});
    SlowWork next;
    const planrt::Request running = session.submit(large.inputs(), large.outputs());
    until([&] { return session.statistics().running_items > 0; });
    const planrt::Request waiting = session.submit(next.inputs(), next.outputs());
    const std::string recipe = R"({"planrt_recipe": 1, "tiling": {"patch": [64, 64, 64], "overlap": 0},
                                   "decision": {"regions": [{"channel": 0, "label": 1}]}})";
    for (const auto code : {planrt::ErrorCode::cancelled, planrt::ErrorCode::deadline, planrt::ErrorCode::shut_down}) {
        std::optional<planrt::Segmenter> segmenter(std::in_place, std::vector<const planrt::Session*>{&session}, recipe);
        SlowScan scan;
        planrt::SegmentationOptions treated;
        if (code == planrt::ErrorCode::deadline) treated.timeout = 200ms;
        const planrt::Segmentation segmentation = segmenter->submit(scan.volume(), scan.map(), treated);
        until([&] { return segmentation.poll() || segmentation.progress().count > 0; });
        std::this_thread::sleep_for(20ms);  // it waits now, or will see why it ends before it does
        if (code == planrt::ErrorCode::cancelled) segmentation.cancel();
        if (code == planrt::ErrorCode::shut_down) segmenter.reset();
        const planrt::Error error = thrown([&] { segmentation.wait(); });
        CHECK(error.code() == code && std::string(error.what()).find("segment") != std::string::npos);
        CHECK(!running.poll() && !waiting.poll());
    }
    running.cancel();
    waiting.cancel();
}

static void is_cancelled() {
    const planrt::Segmenter segmenter = slow();
    Calls calls;
    SlowScan scan;
    const planrt::Segmentation segmentation = segmenter.submit(scan.volume(), scan.map(), calls.options());
    until_running(segmentation);
    CHECK(!segmentation.poll() && !segmentation.wait(0s));
    segmentation.cancel();
    const planrt::Error error = thrown([&] { segmentation.wait(); return 0; });
    CHECK(error.code() == planrt::ErrorCode::cancelled && segmentation.progress().done < 3);
    CHECK(segmentation.error()->code() == planrt::ErrorCode::cancelled);
    until([&] { return calls.released == 1; });
    CHECK(calls.answered == 1 && calls.saw(planrt::ErrorCode::cancelled));

    // By its progress, which may throw too.
    planrt::SegmentationOptions options;
    options.progress = [](int64_t, int64_t) { return false; };
    CHECK(fails(planrt::ErrorCode::cancelled, [&] { segmenter.run(scan.volume(), scan.map(), options); }));
    options.progress = [](int64_t, int64_t) -> bool { throw std::runtime_error("as the test asked"); };
    CHECK(fails(planrt::ErrorCode::cancelled, [&] { segmenter.run(scan.volume(), scan.map(), options); }));
}

static void runs_out_of_time() {
    const planrt::Segmenter segmenter = slow();
    SlowScan scan;
    planrt::SegmentationOptions options;
    options.timeout = 20ms;
    CHECK(fails(planrt::ErrorCode::deadline, [&] { segmenter.run(scan.volume(), scan.map(), options); }));
    const std::string message = thrown([&] { segmenter.run(scan.volume(), scan.map(), options); return 0; }).what();
    CHECK(message.find("time-out passed") != std::string::npos);
}

// The memory goes right after the segmentation: a sanitizer sees who still uses it.
static void leaves_scope_while_it_runs() {
    const planrt::Segmenter segmenter = slow();
    Calls calls;
    {
        SlowScan scan;
        const planrt::Segmentation segmentation = segmenter.submit(scan.volume(), scan.map(), calls.options());
        until_running(segmentation);
    }
    CHECK(calls.released == 1);
    const int answered = calls.answered;  // before it was destroyed, or not at all
    CHECK(answered == 0 || calls.saw(planrt::ErrorCode::cancelled));

    // Nobody holds it: its release owns the memory.
    auto scan = std::make_shared<Scan>(std::array<int64_t, 3>{20, 9, 8});
    const planrt::Segmenter quick = ::segmenter("small", small_recipe);
    std::atomic<int> released{0};
    planrt::SegmentationOptions options;
    options.release = [scan, &released] { ++released; };
    planrt::Segmentation detached = quick.submit(scan->volume(), scan->map(), options);
    detached.detach();
    CHECK(!detached);
    until([&] { return released == 1; });
    CHECK(quick.labels(scan->volume()) == scan->labels);
}

static void is_assigned_to() {
    const planrt::Segmenter segmenter = slow();
    const planrt::Segmenter quick = ::segmenter("small", small_recipe);
    Calls first_calls;
    auto first = std::make_unique<SlowScan>();
    Scan scan({8, 8, 8});
    planrt::Segmentation segmentation = segmenter.submit(first->volume(), first->map(), first_calls.options());
    until_running(segmentation);
    segmentation = quick.submit(scan.volume(), scan.map());
    first.reset();
    CHECK(first_calls.released == 1);
    const planrt::Segmentation moved(std::move(segmentation));
    CHECK(moved && fails(planrt::ErrorCode::invalid_argument, [&] { segmentation.wait(); }));
    moved.wait();
}

// Segmenter and engine go first, from outside and from inside a callback.
static void segmenter_goes_first() {
    SlowScan scan;
    Calls calls;
    planrt::Segmentation segmentation;
    {
        const planrt::Segmenter segmenter = slow();
        segmentation = segmenter.submit(scan.volume(), scan.map(), calls.options());
    }
    CHECK(calls.released == 1 && calls.saw(planrt::ErrorCode::shut_down));
    CHECK(fails(planrt::ErrorCode::shut_down, [&] { segmentation.wait(); }));

    auto segmenter = std::make_unique<planrt::Segmenter>(slow());
    std::atomic<bool> gone{false};
    planrt::SegmentationOptions options;
    options.progress = [&](int64_t, int64_t) {
        segmenter.reset();
        gone = true;
        return true;
    };
    segmentation = segmenter->submit(scan.volume(), scan.map(), options);
    until([&] { return gone.load(); });
    CHECK(fails(planrt::ErrorCode::shut_down, [&] { segmentation.wait(); }));

    segmenter = std::make_unique<planrt::Segmenter>(::segmenter("small", small_recipe));
    Scan quick({8, 8, 8});
    gone = false;
    options = {};
    options.callback = [&](const planrt::Error* error) {
        CHECK(error == nullptr);
        segmenter.reset();
        gone = true;
    };
    segmentation = segmenter->submit(quick.volume(), quick.map(), options);
    until([&] { return gone.load(); });
    segmentation.wait();
}

// Two segmenters whose callbacks delete each other's.
static void each_others_segmenters() {
    std::array<std::unique_ptr<planrt::Segmenter>, 2> segmenters;
    for (auto& one : segmenters) one = std::make_unique<planrt::Segmenter>(segmenter("small", small_recipe));
    std::array<Scan, 2> scans{Scan({8, 8, 8}), Scan({8, 8, 8})};
    std::array<planrt::Segmentation, 2> under_way;
    std::atomic<int> called{0}, gone{0};
    for (size_t i = 0; i < 2; ++i) {
        planrt::SegmentationOptions options;
        options.callback = [&, i](const planrt::Error*) {
            ++called;
            until([&] { return called == 2; });
            segmenters[1 - i].reset();
            ++gone;
        };
        under_way[i] = segmenters[i]->submit(scans[i].volume(), scans[i].map(), options);
    }
    until([&] { return gone == 2; });
    for (const planrt::Segmentation& one : under_way) one.wait();
}

// What is written shares no memory with what is read, or is written beside it.
static void memory_of_its_own() {
    const planrt::Segmenter segmenter = ::segmenter("small", small_recipe);
    Scan scan({8, 8, 8});
    planrt::LabelMap map = scan.map();
    map.data = scan.voxels.data();
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { segmenter.run(scan.volume(), map); }));
    map.data = reinterpret_cast<uint8_t*>(scan.voxels.data() + scan.voxels.size()) - 1;
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { segmenter.run(scan.volume(), map); }));
    std::vector<float> scores(static_cast<size_t>(segmenter.info().score_channels) * scan.voxels.size());
    planrt::SegmentationOptions options;
    options.scores = planrt::ScoreMap::of(scores);
    segmenter.run(scan.volume(), scan.map(), options);
    map.data = scores.data();
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { segmenter.run(scan.volume(), map, options); }));
    // One after the other in one piece of memory, and then one voxel of both in one place.
    std::vector<float> all(3 * scan.count());
    planrt::Volume volume = scan.volume();
    volume.data = all.data();
    options.scores->data = all.data() + scan.count();
    segmenter.run(volume, scan.map(), options);
    options.scores->data = all.data() + scan.count() - 1;
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { segmenter.run(volume, scan.map(), options); }));
}

// Volumes side by side, one of which fails: the others' masks are those that they have alone, to the bit.
static void company() {
    planrt::SegmenterOptions options;
    options.mirrored = {true, false, true};
    const planrt::Segmenter segmenter = ::segmenter(
        "unet_instance", R"({"planrt_recipe": 1, "channels": 2, "tiling": {"patch": [16, 16, 16]},
                             "decision": {"labels": [0, 1, 2], "activation": "softmax", "blend_probabilities": true}})", options);
    std::vector<std::unique_ptr<Scan>> scans;
    std::vector<std::vector<uint8_t>> alone;
    for (unsigned i = 0; i < 5; ++i) {
        scans.push_back(std::make_unique<Scan>(std::array<int64_t, 3>{24, 17 + i, 16}, 100 + i, 2));
        if (i == 3) scans.back()->voxels[5] = std::numeric_limits<float>::quiet_NaN();
        alone.push_back(i == 3 ? std::vector<uint8_t>() : segmenter.labels(scans.back()->volume()));
    }
    for (int round = 0; round < 3; ++round) {
        std::vector<planrt::Segmentation> under_way;
        for (size_t i = 0; i < scans.size(); ++i) {
            scans[i]->labels.assign(scans[i]->count(), 0xA5);
            planrt::SegmentationOptions treated;
            treated.priority = static_cast<int32_t>(i % 2);
            under_way.push_back(segmenter.submit(scans[i]->volume(), scans[i]->map(), treated));
        }
        for (size_t i = 0; i < scans.size(); ++i) {
            if (i == 3) {
                const planrt::Error error = thrown([&] { under_way[i].wait(); return 0; });
                CHECK(error.code() == planrt::ErrorCode::invalid_model);
                CHECK(std::string(error.what()).find("tile 1 of") != std::string::npos);
                continue;
            }
            under_way[i].wait();
            CHECK(scans[i]->labels == alone[i]);
        }
    }
    CHECK(std::count(alone[0].begin(), alone[0].end(), alone[0][0]) < static_cast<std::ptrdiff_t>(alone[0].size()));
}

static void memory_is_told() {
    const planrt::Segmenter segmenter = ::segmenter("small", small_recipe);
    planrt::Volume volume;
    volume.extents = {300, 20, 20};
    volume.spacing_mm = {1, 1, 1};
    const auto [bytes, least_bytes, device_bytes, least_device_bytes] = segmenter.estimate(volume);
    CHECK(device_bytes == 0 && least_device_bytes == 0);
    CHECK(least_bytes <= bytes && bytes > size_t{4} * 300 * 20 * 20);
    volume.extents[0] = 600;  // the ring does not grow with the volume, only the scan itself does
    CHECK(segmenter.estimate(volume).bytes - bytes < size_t{4} * 300 * 20 * 20 + 1024);
    planrt::SegmentationOptions options;
    options.memory_budget_bytes = 1000;
    CHECK(fails(planrt::ErrorCode::out_of_memory, [&] { return segmenter.estimate(volume, options); }));
    // With what labels are decided by, as a map and plane by plane: what is announced is enough, and a byte less is not.
    std::vector<int16_t> scan(size_t{40} * 24 * 20, 1);
    std::vector<uint8_t> labels(scan.size());
    std::vector<float> scores(2 * scan.size());
    volume = planrt::Volume::of(scan, {40, 24, 20}, {1, 1, 1});
    for (const bool is_map : {true, false}) {
        planrt::SegmentationOptions asked;
        if (is_map) {
            asked.scores = planrt::ScoreMap::of(scores);
        } else {
            asked.score_plane = [](const planrt::ScorePlane&) { return true; };
        }
        const size_t least = segmenter.estimate(volume, asked).least_bytes;
        CHECK(is_map || segmenter.estimate(volume, asked).bytes > segmenter.estimate(volume).bytes);
        asked.memory_budget_bytes = least;
        CHECK(segmenter.estimate(volume, asked).bytes <= least);
        segmenter.run(volume, planrt::LabelMap::of(labels), asked);
        asked.memory_budget_bytes = least - 1;
        CHECK(fails(planrt::ErrorCode::out_of_memory, [&] { return segmenter.estimate(volume, asked); }));
        CHECK(fails(planrt::ErrorCode::out_of_memory, [&] { return segmenter.submit(volume, planrt::LabelMap::of(labels), asked); }));
    }
    volume.extents = {int64_t{1} << 31, int64_t{1} << 31, 1};
    CHECK(fails(planrt::ErrorCode::shape, [&] { return segmenter.estimate(volume); }));
}

// What labels are decided by, and how much of the scan has which; the largest part alone where the recipe says so.
static void scores_and_volumes() {
    const planrt::Segmenter segmenter = ::segmenter("small", small_recipe);
    Scan scan({12, 9, 8});
    std::vector<float> probabilities(2 * scan.count(), -1.0f), logits(2 * scan.count(), -1.0f);
    planrt::SegmentationOptions options;
    options.scores = planrt::ScoreMap::of(logits);
    planrt::Segmentation segmentation = segmenter.submit(scan.volume(), scan.map(), options);
    segmentation.wait();
    std::array<double, 2> voxels{};
    for (size_t i = 0; i < scan.count(); ++i) {
        voxels[scan.labels[i]] += 1;
        CHECK(scan.labels[i] == (logits[scan.count() + i] > logits[i] ? 1 : 0));
    }
    for (int32_t label = 0; label < 2; ++label)
        CHECK(std::abs(segmentation.label_volume_ml(label) - voxels[static_cast<size_t>(label)] / 1000) < 1e-9);
    CHECK(segmentation.label_volume_ml(7) == 0);
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { return segmentation.label_volume_ml(-1); }));
    options.scores = planrt::ScoreMap::of(probabilities, true);
    segmenter.run(scan.volume(), scan.map(), options);
    for (size_t i = 0; i < scan.count(); ++i) {
        const float background = std::exp(logits[i]), foreground = std::exp(logits[scan.count() + i]);
        CHECK(std::abs(probabilities[scan.count() + i] - foreground / (background + foreground)) < 1e-6f);
    }
    probabilities.pop_back();
    options.scores = planrt::ScoreMap::of(probabilities, true);
    CHECK(fails(planrt::ErrorCode::buffer_too_small, [&] { segmenter.run(scan.volume(), scan.map(), options); }));

    // Two blocks of the same label: the smaller one goes.
    const planrt::Segmenter largest = ::segmenter("logarithm", R"({"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]},
        "decision": {"labels": [2, 0], "largest_component": true}})");
    Scan blocks({8, 8, 8});
    for (size_t i = 0; i < blocks.count(); ++i) blocks.voxels[i] = i < 64 || i >= 512 - 128 ? 2.0f : 0.5f;
    segmentation = largest.submit(blocks.volume(), blocks.map());
    segmentation.wait();
    for (size_t i = 0; i < blocks.count(); ++i) CHECK(blocks.labels[i] == (i >= 512 - 128 ? 2 : 0));
    CHECK(std::abs(segmentation.label_volume_ml(2) - 0.128) < 1e-9);
}

// A region is all that there is; planes come instead of a map of scores.
static void regions_and_planes() {
    const planrt::Segmenter segmenter = ::segmenter("small", small_recipe);
    Scan scan({12, 9, 8});
    std::vector<float> logits(2 * scan.count()), planes(2 * scan.count());
    planrt::SegmentationOptions options;
    options.scores = planrt::ScoreMap::of(logits);
    segmenter.run(scan.volume(), scan.map(), options);
    const std::vector<uint8_t> whole = scan.labels;
    int count = 0;
    const auto take = [&](const planrt::ScorePlane& plane) {
        CHECK((plane.channels == 2 && plane.extents == std::array<int64_t, 3>{1, 9, 8}));
        CHECK((plane.start == std::array<int64_t, 3>{count, 0, 0}));
        for (int32_t channel = 0; channel < 2; ++channel)
            for (int64_t y = 0; y < 9; ++y)
                for (int64_t x = 0; x < 8; ++x)
                    planes[static_cast<size_t>(((channel * 12 + plane.start[0]) * 9 + y) * 8 + x)] = plane.at(channel, 0, y, x);
        return ++count > 0;
    };
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] {
        planrt::SegmentationOptions both = options;
        both.score_plane = take;
        segmenter.run(scan.volume(), scan.map(), both);
    }));
    options = {};
    options.score_plane = take;
    segmenter.run(scan.volume(), scan.map(), options);
    CHECK(count == 12 && planes == logits && scan.labels == whole);
    options.score_plane = [](const planrt::ScorePlane&) { return false; };
    CHECK(fails(planrt::ErrorCode::cancelled, [&] { segmenter.run(scan.volume(), scan.map(), options); }));
    options.score_plane = [](const planrt::ScorePlane&) -> bool { throw std::runtime_error("as the test asked"); };
    CHECK(fails(planrt::ErrorCode::cancelled, [&] { segmenter.run(scan.volume(), scan.map(), options); }));

    options = {};
    options.region = planrt::Region{{2, 1, 0}, {8, 8, 8}};
    const std::vector<uint8_t> labels = segmenter.labels(scan.volume(), options);
    Scan part({8, 8, 8});
    for (size_t i = 0; i < part.count(); ++i) part.voxels[i] = scan.voxels[((i / 64 + 2) * 9 + i / 8 % 8 + 1) * 8 + i % 8];
    segmenter.run(part.volume(), part.map());
    for (size_t i = 0; i < scan.count(); ++i) {
        const size_t z = i / 72, y = i / 8 % 9;
        const bool is_inside = z >= 2 && z < 10 && y >= 1;
        CHECK(labels[i] == (is_inside ? part.labels[((z - 2) * 8 + y - 1) * 8 + i % 8] : 0));
    }
    for (const planrt::Region& wrong : {planrt::Region{{2, 1, 0}, {11, 8, 8}}, planrt::Region{{-1, 0, 0}, {1, 1, 1}},
                                        planrt::Region{{0, 0, 0}, {1, 0, 1}}}) {
        options.region = wrong;
        CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { segmenter.run(scan.volume(), scan.map(), options); }));
        CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { return segmenter.estimate(scan.volume(), options); }));
    }
}

// A small model finds where to look, several are averaged; the one that they are made of may go before.
static void chains() {
    planrt::SegmenterOptions options;
    Scan scan({12, 9, 8});
    const std::vector<uint8_t> labels = ::segmenter("small", small_recipe).labels(scan.volume());
    {
        const planrt::Segmenter coarse = ::segmenter("small", small_recipe);
        options.coarse = &coarse;
        options.coarse_margin_mm = 100;
        const planrt::Segmenter fine = ::segmenter("small", small_recipe, options);
        CHECK(fine.labels(scan.volume()) == labels);
        options.coarse_margin_mm = -1;
        CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { return ::segmenter("small", small_recipe, options); }));
    }
    planrt::Segmenter ensemble;
    {
        const planrt::Segmenter one = ::segmenter("small", small_recipe), other = ::segmenter("small", small_recipe);
        ensemble = planrt::Segmenter::ensemble({&one, &other});
        const planrt::Segmenter alien = slow();
        CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { return planrt::Segmenter::ensemble({&one, &alien}); }));
        CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { return planrt::Segmenter::ensemble({&one, nullptr}); }));
        CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { return planrt::Segmenter::ensemble({}); }));
    }
    Calls calls;
    planrt::SegmentationOptions treated = calls.options();
    treated.progress = nullptr;
    const planrt::Segmentation segmentation = ensemble.submit(scan.volume(), scan.map(), treated);
    segmentation.wait();
    CHECK(scan.labels == labels && segmentation.progress().done == segmentation.progress().count);
    ensemble.check_company(scan.volume(), 2);
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { ensemble.check_company(scan.volume(), 0); }));

    options = {};
    options.window = std::vector<float>(512, 0.5f);
    options.output = "prob";
    CHECK(::segmenter("small", small_recipe, options).labels(scan.volume()).size() == labels.size());
    options.largest_component = true;
    CHECK(::segmenter("small", small_recipe, options).labels(scan.volume()).size() == labels.size());
    options.output = "none";
    CHECK(fails(planrt::ErrorCode::not_found, [&] { return ::segmenter("small", small_recipe, options); }));
    options.output.reset();
    options.window->pop_back();
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { return ::segmenter("small", small_recipe, options); }));

    // One of several that fails ends the others, and says why.
    const planrt::Segmenter one = ::segmenter("small", small_recipe), other = ::segmenter("small", small_recipe);
    const planrt::Segmenter broken = planrt::Segmenter::ensemble({&one, &other});
    Scan large({40, 24, 24});
    large.voxels[20000] = std::numeric_limits<float>::quiet_NaN();
    const planrt::Error error = thrown([&] { broken.run(large.volume(), large.map()); return 0; });
    CHECK(error.code() == planrt::ErrorCode::invalid_model && std::string(error.what()).find("tile") != std::string::npos);
    treated = {};
    treated.progress = [](int64_t done, int64_t) { return done < 3; };
    CHECK(fails(planrt::ErrorCode::cancelled, [&] { broken.run(scan.volume(), scan.map(), treated); }));
}

// Tiles and the application's own requests, in one session.
static void beside_requests() {
    const planrt::Engine engine = load("small");
    planrt::SessionOptions options;
    options.when_full = planrt::WhenFull::block;
    auto session = std::make_unique<planrt::Session>(engine, options);
    const planrt::Segmenter segmenter(std::vector<const planrt::Session*>{session.get()}, small_recipe);
    Scan scan({20, 9, 8});
    const planrt::Segmentation segmentation = segmenter.submit(scan.volume(), scan.map());
    SmallWork work;
    session->run(work.inputs(), work.outputs());
    segmentation.wait();
    CHECK(work.is_written() && session->statistics().succeeded == 9);
    CHECK(::segmenter("small", small_recipe).labels(scan.volume()) == scan.labels);
    session.reset();
    CHECK(fails(planrt::ErrorCode::shut_down, [&] { segmenter.run(scan.volume(), scan.map()); }));
}

int main() {
    ten_lines();
    folders_in_a_folder();
    answers();
    is_cancelled();
    ends_in_a_full_queue();
    runs_out_of_time();
    leaves_scope_while_it_runs();
    is_assigned_to();
    segmenter_goes_first();
    each_others_segmenters();
    memory_of_its_own();
    company();
    memory_is_told();
    scores_and_volumes();
    regions_and_planes();
    chains();
    beside_requests();
    return 0;
}
