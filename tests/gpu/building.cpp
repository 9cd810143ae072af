// What planrt's builds cost over those of a plain C++ program with the same options, and how fast the plans of both are; how
// much longer loading a model folder takes than loading its plan. With TensorRT 8.5.3, in one process, turn by turn.
//
// usage: building builds MODEL.onnx INPUT SHAPE fp32|fp16 ROUNDS      (SHAPE: 4x1x32x32x32; one input, one output, float32)
//        building folder FOLDER PLAN ROUNDS                           (PLAN: the plan's path in the folder)
//
// A builder is kept all the while. Else each build loads the kernels of all networks anew, which takes some four seconds, now more and now
// less than the model itself takes.

#include "plain.hpp"
#include "timing.hpp"

#include <planrt.hpp>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

namespace {

// What is built, and how.
struct Task {
    std::string model, input;
    plain::Dims shape{};
    bool is_half = false;

    size_t elements() const {
        size_t count = 1;
        for (int i = 0; i < shape.count; ++i) count *= static_cast<size_t>(shape.extents[i]);
        return count;
    }
};

// cuBLAS, cuBLASLt and cuDNN may not be there.
constexpr uint32_t WITHOUT_LIBRARIES = ~7U;

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
}

void write(const std::string& path, const std::string& bytes) {
    std::ofstream file(path, std::ios::binary);
    file << bytes;
    if (!file.flush()) plain::fail("cannot write " + path);
}

plain::Handle* new_builder(plain::Logger& logger) {
    static void* const library = plain::open_library("libnvinfer.so.8");
    const int version = plain::symbol<int()>(library, "getInferLibVersion")();
    auto* builder = plain::symbol<plain::Handle*(void*, int)>(library, "createInferBuilder_INTERNAL")(&logger, version);
    if (builder == nullptr) plain::fail("no builder");
    return builder;
}

// The plan as an application without planrt builds it: NVIDIA's own samples, call by call.
std::string build_plain(const Task& task, plain::Logger& logger, const std::string& cache_path) {
    using plain::Handle;
    static void* const parsers = plain::open_library("libnvonnxparser.so.8");
    static void* const plugins = plain::open_library("libnvinfer_plugin.so.8");
    plain::symbol<bool(void*, const char*)>(plugins, "initLibNvInferPlugins")(&logger, "");
    Handle* builder = new_builder(logger);
    Handle* network = builder->call<Handle*, uint32_t>(11, 1 /* explicit batch */);
    const int parser_version = plain::symbol<int()>(parsers, "getNvOnnxParserVersion")();
    void* parser =
        plain::symbol<void*(void*, void*, int)>(parsers, "createNvOnnxParser_INTERNAL")(network, &logger, parser_version);
    const std::string model = read(task.model);
    // A parser's methods are called on itself.
    if (!plain::call_on<bool, const void*, size_t, const char*>(parser, 0, model.data(), model.size(), task.model.c_str()))
        plain::fail("the model is not parsed");

    Handle* config = builder->call<Handle*>(9);
    config->call<void, int32_t>(14, 7 /* TF32 */);
    if (task.is_half) config->call<void, int32_t>(15, 0 /* FP16 */);
    const uint32_t sources = config->call<uint32_t>(43);
    config->call<bool, uint32_t>(42, sources & WITHOUT_LIBRARIES);
    Handle* profile = builder->call<Handle*>(12);
    for (int32_t bound = 0; bound < 3; ++bound)
        if (!profile->call<bool, const char*, int32_t, plain::Dims>(2, task.input.c_str(), bound, task.shape))
            plain::fail("the profile is refused");
    config->call<int32_t, const void*>(29, profile);
    Handle* cache = nullptr;
    if (!cache_path.empty()) {
        const std::string old = read(cache_path);
        cache = config->call<Handle*, const void*, size_t>(44, old.data(), old.size());
        if (cache == nullptr || !config->call<bool, const void*, bool>(45, cache, false)) plain::fail("the timing cache is not taken");
    }

    Handle* memory = builder->call<Handle*, void*, void*>(17, network, config);
    if (memory == nullptr) plain::fail("the plan is not built");
    const std::string plan(static_cast<const char*>(memory->call<void*>(2)), memory->call<size_t>(3));
    memory->destroy();
    if (cache != nullptr) {
        Handle* times = cache->call<Handle*>(2);
        write(cache_path, std::string(static_cast<const char*>(times->call<void*>(2)), times->call<size_t>(3)));
        times->destroy();
        cache->destroy();
    }
    config->destroy();
    plain::call_on<void>(parser, 10);  // its deleting destructor
    network->destroy();
    builder->destroy();
    return plan;
}

std::string build_ours(const Task& task, const planrt::Runtime& runtime, const std::string& cache_path) {
    planrt::BuildOptions options;
    const planrt::Shape shape(task.shape.extents, task.shape.extents + task.shape.count);
    options.profiles = {{{task.input, {shape, shape, shape}}}};
    if (task.is_half) options.precision = planrt::Precision::float16;
    options.use_tactics_not = planrt::Tactics::cublas | planrt::Tactics::cublas_lt | planrt::Tactics::cudnn;
    if (!cache_path.empty()) options.timing_cache = cache_path;
    const auto plan = planrt::Plan::from_onnx(runtime, task.model, options);
    return std::string(static_cast<const char*>(plan.data()), plan.size_bytes());
}

// A plan that runs as a CUDA graph, by plain TensorRT.
class Runner {
public:
    Runner(plain::Cuda& cuda, plain::TensorRt& tensorrt, const Task& task, const std::string& plan)
        : cuda_(cuda), stream_(cuda.stream()), engine_(tensorrt.deserialize(plan.data(), plan.size())) {
        plain::Handle* context = plain::create_context(engine_);
        plain::set_input_shape(context, task.input.c_str(), task.shape);
        for (int32_t i = 0; i < 2; ++i) {
            const char* name = engine_->call<const char*, int32_t>(NAME_OF_TENSOR, i);
            // An output has at most as many channels as a small network has filters.
            const size_t bytes = task.elements() * sizeof(float) * (task.input == name ? 1 : 64);
            plain::set_tensor_address(context, name, cuda.device_memory(bytes));
        }
        const auto run = [&] {
            if (!plain::enqueue(context, stream_)) plain::fail("a run fails");
        };
        run();
        cuda.synchronize(stream_);
        graph_ = cuda.capture(stream_, run);
    }
    double microseconds(int runs) {
        const auto start = Clock::now();
        for (int i = 0; i < runs; ++i)
            if (cuda_.launch(graph_, stream_) != 0) plain::fail("a graph is not launched");
        cuda_.synchronize(stream_);
        return 1e6 * since(start) / runs;
    }

private:
    static constexpr size_t NAME_OF_TENSOR = 46;
    plain::Cuda& cuda_;
    plain::Stream stream_;
    plain::Handle* engine_;
    plain::Graph graph_ = nullptr;
};

template <class Work>
double seconds(const Work& work) {
    const auto start = Clock::now();
    work();
    return since(start);
}

void say(const char* what, const std::vector<double>& plain, const std::vector<double>& ours, const char* unit) {
    std::vector<double> ratios;
    for (size_t i = 0; i < plain.size(); ++i) ratios.push_back(ours[i] / plain[i]);
    std::printf("%-24s plain %9.3f %s   planrt %9.3f %s   ratio %.4f   (medians of %zu; of each pair's ratio %.4f)  ", what, median(plain), unit,
                median(ours), unit, median(ours) / median(plain), plain.size(), median(ratios));
    for (size_t i = 0; i < plain.size(); ++i) std::printf(" %.3f/%.3f", ours[i], plain[i]);
    std::printf("\n");
    std::fflush(stdout);
}

void compare_builds(const Task& task, int rounds) {
    plain::Cuda cuda;
    cuda.start();
    plain::TensorRt tensorrt;
    const planrt::Runtime runtime;
    std::string plain_plan, our_plan;
    // A build by each: with a timing cache of that content, or with none.
    const auto builds = [&](bool plain_first, const std::string* times, std::vector<double>& plain, std::vector<double>& ours) {
        for (const bool is_plain : {plain_first, !plain_first}) {
            const std::string path = times == nullptr ? "" : is_plain ? "plain.cache" : "ours.cache";
            if (times != nullptr) write(path, *times);
            (is_plain ? plain : ours).push_back(seconds([&] {
                if (is_plain) plain_plan = build_plain(task, tensorrt.logger, path);
                else our_plan = build_ours(task, runtime, path);
            }));
        }
    };
    std::vector<double> plain_first, our_first, plain_kept, our_kept, plain_cold, our_cold, plain_warm, our_warm, plain_runs, our_runs;
    // What the first builds of a process load counts for neither.
    builds(true, nullptr, plain_first, our_first);
    say("the first ones", plain_first, our_first, "s ");
    plain::Handle* kept = new_builder(tensorrt.logger);
    builds(false, nullptr, plain_kept, our_kept);
    say("with a builder kept", plain_kept, our_kept, "s ");
    // No more pairs than fit in half a minute, since a GPU machine may be lent for minutes only.
    const auto begun = Clock::now();
    for (int round = 0; round < rounds && (round < 4 || round % 2 == 1 || since(begun) < 30); ++round)
        builds(round % 2 == 0, nullptr, plain_cold, our_cold);
    say("no timing cache", plain_cold, our_cold, "s ");
    std::filesystem::remove("times.cache");
    build_plain(task, tensorrt.logger, "times.cache");
    const std::string cache = read("times.cache");
    std::printf("the plain builder's timing cache: %zu bytes\n", cache.size());
    for (int round = 0; round < rounds; ++round) {
        builds(round % 2 == 0, &cache, plain_warm, our_warm);
        Runner runners[] = {Runner(cuda, tensorrt, task, plain_plan), Runner(cuda, tensorrt, task, our_plan)};
        std::vector<double> times[2];
        for (int turn = 0; turn < 10; ++turn)
            for (const int i : {turn % 2, 1 - turn % 2}) times[i].push_back(runners[i].microseconds(500));
        plain_runs.push_back(median(times[0]));
        our_runs.push_back(median(times[1]));
    }
    kept->destroy();
    say("with a timing cache", plain_warm, our_warm, "s ");
    say("a run of their plans", plain_runs, our_runs, "us");
}

void compare_folder(const std::string& folder, const std::string& plan, int rounds) {
    const planrt::Runtime runtime;
    runtime.load_tensorrt();
    std::vector<double> plans, folders;
    for (int round = -3; round < rounds; ++round) {
        // Hashes are remembered as long as files are the same ones, so each round has files of its own.
        const std::filesystem::path copy = "folder-" + std::to_string(round + 3);
        std::filesystem::copy(folder, copy, std::filesystem::copy_options::recursive);
        std::optional<planrt::Engine> engine;
        const auto from_plan = [&] { return 1e6 * seconds([&] { engine = planrt::Engine::from_file(runtime, copy / plan); }); };
        const auto from_folder = [&] { return 1e6 * seconds([&] { engine = planrt::Engine::from_folder(runtime, copy); }); };
        const bool plan_first = round % 2 == 0;
        const double one = plan_first ? from_plan() : from_folder();
        engine.reset();
        const double other = plan_first ? from_folder() : from_plan();
        engine.reset();
        std::filesystem::remove_all(copy);
        if (round < 0) continue;
        plans.push_back(plan_first ? one : other);
        folders.push_back(plan_first ? other : one);
    }
    const double plan_time = median(plans), folder_time = median(folders);
    std::printf("load the plan %.1f us   load the folder %.1f us   ratio %.4f   (medians of %d)\n", plan_time, folder_time,
                folder_time / plan_time, rounds);
}

plain::Dims parse(const char* text) {
    plain::Dims shape{};
    while (*text != 0 && shape.count < 8) {
        char* end = nullptr;
        shape.extents[shape.count++] = static_cast<int32_t>(std::strtol(text, &end, 10));
        text = *end == 'x' ? end + 1 : end;
    }
    return shape;
}

}  // namespace

int main(int argc, char** argv) try {
    const std::string what = argc > 1 ? argv[1] : "";
    if (what == "folder" && argc == 5) {
        compare_folder(argv[2], argv[3], std::atoi(argv[4]));
    } else if (what == "builds" && argc == 7) {
        compare_builds({argv[2], argv[3], parse(argv[4]), std::string(argv[5]) == "fp16"}, std::atoi(argv[6]));
    } else {
        std::fprintf(stderr, "usage: see the head of building.cpp\n");
        return 2;
    }
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "building: %s\n", error.what());
    return 1;
}
