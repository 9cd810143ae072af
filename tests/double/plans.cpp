// A plan's way through planrt, under every TensorRT of which there is a double: loaded, described, run, refused, deleted.

#include "doubles.hpp"

#include <cstring>
#include <mutex>
#include <numeric>
#include <thread>

namespace {

// Doubles what it reads: an input and an output of one shape, each element copied.
const char COPY[] =
    "name copy\nlayers 7\nprofiles 3\nmemory 4096\ninput x 0 -1,4 1,4 2,4 8,4\noutput y 0 -1,4\ncopies\n";

std::vector<float> ramp(size_t count) {
    std::vector<float> values(count);
    std::iota(values.begin(), values.end(), -3.0f);
    return values;
}

std::vector<float> run(planrt::Context& context, const std::vector<float>& x) {
    std::vector<float> y(x.size());
    context.run({planrt::Tensor::input("x", x, {static_cast<int64_t>(x.size() / 4), 4})},
                {planrt::Tensor::output("y", y)});
    return y;
}

void describes(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    CHECK(engine.backend() == planrt::Backend::tensorrt);
    CHECK(engine.name() == "copy" && engine.device_name() == "CUDA double 0");
    CHECK(engine.device_memory_size() == 4096);
    CHECK(engine.layers_json() == "{\"Layers\": []}");
    CHECK(engine.profile_count() == 3);
    const planrt::ProfileShape shape = engine.profile_shape(2, "x");
    CHECK((shape.min == planrt::Shape{1, 4} && shape.opt == planrt::Shape{2, 4} && shape.max == planrt::Shape{8, 4}));
    const auto tensors = engine.tensors();
    CHECK(tensors.size() == 2 && tensors[0].name == "x" && tensors[1].name == "y");
    CHECK(tensors[0].role == planrt::TensorRole::input && tensors[1].role == planrt::TensorRole::output);
    CHECK((tensors[1].shape == planrt::Shape{-1, 4}));
    CHECK(tensors[0].memory_kind == planrt::MemoryKind::device);
    CHECK(holds(runtime.describe(), tensorrt.name()) && holds(runtime.describe(), tensorrt.path));

    const auto said = [](planrt_error* error, char*& json) {
        planrt::detail::check(error);
        return planrt::detail::take_text(json);
    };
    char* json = nullptr;
    const std::string metadata = said(planrt_engine_get_metadata_json(engine.get(), &json), json);
    CHECK(holds(metadata, "\"format\":\"plan\"") && holds(metadata, "\"name\":\"copy\""));
    CHECK(holds(metadata, "\"builder\":\"TensorRT"));
    CHECK(planrt_engine_get_dimension_name(engine.get(), 0, 0) == nullptr);
    const std::string devices = said(planrt_describe_devices(&json), json);
    CHECK(holds(devices, "\"available\":true") && holds(devices, "\"name\":\"CUDA double 0\""));
    CHECK(holds(devices, "\"total_memory_bytes\":1073741824") && !holds(devices, "\"free_memory_bytes\":null"));

    const planrt::DoctorReport report = planrt::doctor(tensorrt.options());
    CHECK(report.usable && holds(report.text, tensorrt.name()) && holds(report.text, tensorrt.path));
    CHECK(holds(report.text, "CUDA double 0, compute capability 9.0, 1.0 GiB"));
}

// Layers with their times by TensorRT's profiler, and speed by CUDA's events.
void measured(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    CHECK(!holds(engine.inspect(), "us"));
    const std::string times = engine.inspect({{"x", {3, 4}}}, 2);
    CHECK(holds(times, "layer 6") && holds(times, "1750.0 us") && holds(times, "7000.0 us in all"));
    using planrt::ReportFormat;
    CHECK(holds(engine.inspect({{"x", {3, 4}}}, 2, ReportFormat::json), "\"time_us\":1750.0"));
    // No shape is said: the best of the first profile.
    CHECK(holds(engine.inspect({}, 1, ReportFormat::json), "\"inputs\":{\"x\":[2,4]}"));

    planrt::BenchSettings settings;
    settings.warm_up = settings.duration = {};
    settings.least_runs = 4;
    settings.streams = 2;
    settings.percentiles = {99.9};
    const std::string text = engine.bench({}, settings);
    for (const char* line : {"x:2x4", "2 streams", "Throughput: ", "Latency: min = ", "percentile(99.9%)", "Enqueue Time: ", "H2D Latency: ",
                             "GPU Compute Time: ", "D2H Latency: ", "Total GPU Compute Time: "})
        CHECK(holds(text, line));
    settings.use_cuda_graph = true;
    settings.data_transfers = false;
    const std::string json = engine.bench({{"x", {8, 4}}}, settings, ReportFormat::json);
    CHECK(holds(json, "\"runs\":8") && holds(json, "\"cuda_graph\":true") && holds(json, "\"transfers\":false"));
    CHECK(holds(json, "\"gpu_compute_time\":{"));
    settings.concurrency = 3;
    expect(planrt::ErrorCode::invalid_argument, "a session has them", [&] { (void)engine.bench({}, settings); });
    settings.use_cuda_graph = false;
    for (const bool transfers : {false, true}) {
        settings.data_transfers = transfers;
        const std::string asked = engine.bench({}, settings, ReportFormat::json);
        CHECK(holds(asked, "\"runs\":12") && holds(asked, "\"concurrency\":3") && !holds(asked, "enqueue_time"));
    }
    settings.concurrency = 0;
    settings.streams = 5;
    if (tensorrt.major == 8) expect(planrt::ErrorCode::in_use, "profile", [&] { (void)engine.bench({}, settings); });
    expect(planrt::ErrorCode::shape, "outside every profile", [&] { (void)engine.bench({{"x", {9, 4}}}, settings); });
    expect(planrt::ErrorCode::not_found, "\"z\"", [&] { (void)engine.inspect({{"z", {9, 4}}}, 1); });
}

// Every element type by TensorRT's number, and one that planrt does not hand over.
void element_types(const Double& tensorrt) {
    using Type = planrt::ElementType;
    std::vector<std::pair<int, Type>> types = {
        {0, Type::float32}, {1, Type::float16}, {2, Type::int8}, {3, Type::int32}, {4, Type::boolean}, {5, Type::uint8}};
    if (tensorrt.major != 8) types.insert(types.end(), {{7, Type::bfloat16}, {8, Type::int64}});
    const planrt::Runtime runtime(tensorrt.options());
    for (const auto& [number, type] : types) {
        const auto engine = tensorrt.load(runtime, "input x " + std::to_string(number) + " 4 4 4 4\n");
        CHECK(engine.tensor("x").element_type == type);
    }
    expect(planrt::ErrorCode::unsupported, "\"x\"", [&] { tensorrt.load(runtime, "input x 6 4 4 4 4\n"); });
}

void bound_memory(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::Context context(engine);
    planrt::Stream made(runtime, -1), upload(runtime);
    planrt::Stream wrapped = planrt::Stream::wrap(runtime, made.native());
    planrt::Stream legacy = planrt::Stream::wrap(runtime, nullptr);
    expect(planrt::ErrorCode::shape, "\"x\"", [&] { return context.size("y"); });
    context.set_shape("x", {3, 4});
    CHECK((context.shape("y") == planrt::Shape{3, 4}));
    CHECK(context.size("y") == 48);
    expect(planrt::ErrorCode::invalid_argument, "nothing is bound to \"x\"", [&] { context.enqueue(made); });

    const auto x = ramp(12);
    const planrt::Buffer in(runtime, planrt::MemoryKind::device, 48), out(runtime, planrt::MemoryKind::device, 48);
    const planrt::Buffer pinned(runtime, planrt::MemoryKind::pinned, 48), small(runtime, planrt::MemoryKind::device, 44);
    context.bind("x", in);
    context.bind("y", out);
    for (planrt::Stream* stream : {&made, &wrapped, &legacy}) {
        upload.copy(in.data(), x.data(), 48);
        stream->wait_for(upload);
        const std::string calls = tensorrt.calls([&] { context.enqueue(*stream); });
        char enqueue[64];
        std::snprintf(enqueue, sizeof enqueue, "enqueueV3(0x%zx)", reinterpret_cast<size_t>(stream->native()));
        CHECK(holds(calls, enqueue));
        stream->copy(pinned.data(), out.data(), 48);
        stream->synchronize();
        CHECK(stream->query());
        CHECK(std::memcmp(pinned.data(), x.data(), 48) == 0);
        CHECK(run(context, ramp(20)) == ramp(20));  // what is bound stays bound
        context.set_shape("x", {3, 4});
    }
    // Nothing changes: TensorRT is told nothing but to run.
    context.enqueue(made);
    const std::string calls = tensorrt.calls([&] { context.enqueue(made); });
    CHECK(std::count(calls.begin(), calls.end(), '\n') == 1 && holds(calls, "enqueueV3"));
    expect(planrt::ErrorCode::invalid_argument, "stream is null", [&] { context.enqueue(); });
    context.bind("y", small);
    expect(planrt::ErrorCode::buffer_too_small, "has 44", [&] { context.enqueue(made); });
    expect(planrt::ErrorCode::shape, "nearest is profile 0", [&] { context.set_shape("x", {9, 4}); });
}

// Runs of one context share the memory that it computes in: wherever they are given, one comes after the other.
void order(const Double& tensorrt) {
    const auto overlaps = symbol<int64_t()>("libcuda.so.1", "cudaDoubleOverlaps");
    const int64_t before = overlaps();
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::Context context(engine);
    const planrt::Buffer in(runtime, planrt::MemoryKind::device, 48), out(runtime, planrt::MemoryKind::device, 48);
    context.set_shape("x", {3, 4});
    context.bind("x", in);
    context.bind("y", out);
    planrt::Stream made(runtime), other(runtime);
    // Null and 1 are the legacy default stream, 2 is that of the calling thread.
    std::vector<planrt::Stream> streams;
    for (const uintptr_t handle : {0, 1, 2}) streams.push_back(planrt::Stream::wrap(runtime, reinterpret_cast<void*>(handle)));
    streams.push_back(planrt::Stream::wrap(runtime, made.native()));
    streams.push_back(std::move(other));
    for (planrt::Stream& first : streams) {
        for (planrt::Stream& second : streams) {
            context.enqueue(first);
            context.enqueue(second);
            context.enqueue(second);
        }
        context.enqueue(first);
        CHECK(run(context, ramp(12)) == ramp(12));
    }
    // The default stream of one thread is not that of another.
    for (int i = 0; i < 2; ++i) std::thread([&] { context.enqueue(streams[2]); }).join();
    // A stream at the address of one that is gone is another stream.
    for (int i = 0; i < 64; ++i) {
        planrt::Stream passing(runtime);
        planrt::Stream wrapped = planrt::Stream::wrap(runtime, passing.native());
        context.enqueue(i % 2 == 0 ? passing : wrapped);
    }
    CHECK(overlaps() == before);
}

// Two contexts of two engines, each on a stream of its own: whether their runs could be on the GPU at once.
bool share_the_gpu(const Double& tensorrt, const std::string& plugin, std::string* log) {
    const auto overlaps = symbol<int64_t()>("libcuda.so.1", "cudaDoubleOverlaps");
    const int64_t before = overlaps();
    planrt::RuntimeOptions options = tensorrt.options();
    options.log = [log](planrt::LogLevel, const char* line) { *log += line; };
    const planrt::Runtime runtime(options), other_runtime(tensorrt.options());
    const std::string plan = std::string(COPY) + "plugin " + plugin + "\n";
    const planrt::Runtime* runtimes[] = {&runtime, &other_runtime};
    const planrt::Engine engines[] = {tensorrt.load(runtime, plan), tensorrt.load(other_runtime, plan)};
    const planrt::Buffer in(runtime, planrt::MemoryKind::device, 48), out(runtime, planrt::MemoryKind::device, 48);
    std::vector<planrt::Context> contexts;
    std::vector<planrt::Stream> streams;
    for (size_t i : {0, 1}) {
        contexts.emplace_back(engines[i]);
        streams.emplace_back(*runtimes[i]);
        contexts.back().set_shape("x", {3, 4});
        contexts.back().bind("x", in);
        contexts.back().bind("y", out);
    }
    for (int i = 0; i < 3; ++i)
        for (size_t j : {0, 1, 1, 0}) contexts[j].enqueue(streams[j]);
    std::thread([&] { contexts[1].enqueue(streams[0]); }).join();
    for (planrt::Context& context : contexts) CHECK(run(context, ramp(12)) == ramp(12));
    contexts.clear();
    planrt::BenchSettings settings;
    settings.warm_up = settings.duration = {};
    settings.streams = 3;
    for (const bool as_graphs : {false, true}) {
        settings.use_cuda_graph = as_graphs;
        (void)engines[0].bench({}, settings);
    }
    return overlaps() != before;
}

// Runs with InstanceNormalization as a plugin wait for one another on the GPU, whoever gives them to which stream.
void turns(const Double& tensorrt) {
    std::string log;
    CHECK(share_the_gpu(tensorrt, "Other_TRT", &log));
    CHECK(!holds(log, "plugin"));
    CHECK(!share_the_gpu(tensorrt, "InstanceNormalization_TRT", &log));
    CHECK(holds(log, "InstanceNormalization_TRT") && holds(log, "PLANRT_INSTANCE_NORMALIZATION_DECOMPOSED"));
}

// Host to host: in one piece and in many, converted and not, from page-locked memory and from any.
void host_memory(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    for (const int type : {0, 1}) {
        const std::string number = std::to_string(type);
        const planrt::Engine engine = tensorrt.load(runtime, "input x " + number + " -1,4 1,4 2,4 200000,4\noutput y " +
                                                                 number + " -1,4\noutput z " + number + " -1,4\ncopies\n");
        planrt::Context context(engine);
        for (const int64_t rows : {1, 2, 170000, 3}) {
            std::vector<float> x(rows * 4);
            for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 2049);  // exact as float16
            CHECK(run(context, x) == x);
        }
        // Types of host memory only, which are converted; many, so that they go in pieces.
        const auto converted = [&](auto first, planrt_element_type code) {
            using Element = decltype(first);
            const auto element_type = static_cast<planrt::ElementType>(code);
            std::vector<Element> from(170000 * 4), to(from.size());
            for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<Element>(i % 2049);
            const size_t bytes = from.size() * sizeof(Element);
            context.run({planrt::Tensor::input("x", from.data(), bytes, element_type, {170000, 4})},
                        {planrt::Tensor::output("y", to.data(), bytes, element_type)});
            CHECK(to == from);
        };
        converted(int16_t(), PLANRT_INT16);
        converted(uint16_t(), PLANRT_UINT16);
        converted(double(), PLANRT_FLOAT64);
        const planrt::Buffer in(runtime, planrt::MemoryKind::pinned, 32), out(runtime, planrt::MemoryKind::pinned, 32);
        const auto x = ramp(8);
        std::memcpy(in.data(), x.data(), 32);
        using planrt::Tensor;
        context.run({Tensor::input("x", in.data(), 32, planrt::ElementType::float32, {2, 4})},
                    {Tensor::output("z", out.data(), 32, planrt::ElementType::float32)});
        CHECK(std::memcmp(out.data(), x.data(), 32) == 0);
        expect(planrt::ErrorCode::buffer_too_small, "\"y\"", [&] {
            context.run({Tensor::input("x", x, {2, 4})},
                        {Tensor::output("y", out.data(), 8, planrt::ElementType::float32)});
        });
        context.cancel();
        expect(planrt::ErrorCode::cancelled, "cancelled", [&] { run(context, x); });
        CHECK(run(context, x) == x);
    }
}

// Under TensorRT 8 a profile serves one context, later any number.
void profiles(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::Context context(engine);
    CHECK(context.profile() == 0);
    const std::string calls = tensorrt.calls([&] { context.set_profile(2); });
    CHECK(holds(calls, "setOptimizationProfileAsync(2, "));
    CHECK(context.profile() == 2);
    CHECK(run(context, ramp(8)) == ramp(8));
    expect(planrt::ErrorCode::invalid_argument, "no profile 3", [&] { context.set_profile(3); });
    std::vector<planrt::Context> more;
    for (int i = 0; i < 2; ++i) more.emplace_back(engine);
    if (tensorrt.major == 8) {
        CHECK(more[0].profile() == 0 && more[1].profile() == 1);
        expect(planrt::ErrorCode::in_use, "8.", [&] { planrt::Context fourth(engine); });
        expect(planrt::ErrorCode::in_use, "profile 1", [&] { context.set_profile(1); });
    } else {
        CHECK(more[0].profile() == 0 && more[1].profile() == 0);
        context.set_profile(0);
    }
    for (planrt::Context& one : more) CHECK(run(one, ramp(12)) == ramp(12));
}

// What TensorRT refuses is an error with TensorRT's own words.
void refusals(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const std::string copy = COPY;
    {
        const planrt::Engine engine = tensorrt.load(runtime, copy + "refuses enqueueV3\n");
        planrt::Context context(engine);
        const auto error = expect(planrt::ErrorCode::tensorrt, "to run", [&] { run(context, ramp(8)); });
        CHECK(holds(error.detail(), "enqueueV3 is refused"));
    }
    {
        const planrt::Engine engine = tensorrt.load(runtime, copy + "refuses setInputShape\n");
        planrt::Context context(engine);
        const auto error = expect(planrt::ErrorCode::shape, "(2, 4)", [&] { run(context, ramp(8)); });
        CHECK(holds(error.detail(), "setInputShape is refused"));
    }
    {
        const planrt::Engine engine = tensorrt.load(runtime, copy + "refuses createExecutionContext\n");
        const auto error = expect(planrt::ErrorCode::tensorrt, "4096 bytes", [&] { planrt::Context context(engine); });
        CHECK(holds(error.detail(), "createExecutionContext is refused"));
    }
    const auto load = [&](std::string data) { return planrt::Engine::from_memory(runtime, data.data(), data.size()); };
    const std::string garbage = tensorrt.header() + std::string(4096, '\x7f');
    // TensorRT-RTX says what is wrong with a plan; its double says that of every plan.
    const auto error = tensorrt.is_rtx ? expect(planrt::ErrorCode::incompatible_model, "another version", [&] { load(garbage); })
                                       : expect(planrt::ErrorCode::invalid_model, tensorrt.name(), [&] { load(garbage); });
    CHECK(holds(error.detail(), "this is no plan of the double's"));

    std::string other = garbage;
    other[0] = tensorrt.is_rtx ? 'p' : 'v';
    expect(planrt::ErrorCode::incompatible_model, tensorrt.name(), [&] { load(other); });
}

// TensorRT's lines arrive with their levels; what repeats comes once a second and counted.
void logs(const Double& tensorrt) {
    std::mutex mutex;
    std::vector<std::pair<planrt::LogLevel, std::string>> lines;
    const auto count = [&](planrt::LogLevel level, const std::string& text) {
        const std::lock_guard<std::mutex> lock(mutex);
        return std::count_if(lines.begin(), lines.end(),
                             [&](const auto& line) { return line.first == level && holds(line.second, text); });
    };
    {
        planrt::RuntimeOptions options = tensorrt.options();
        options.log_level = planrt::LogLevel::info;
        options.log = [&](planrt::LogLevel level, const char* line) {
            const std::lock_guard<std::mutex> lock(mutex);
            lines.emplace_back(level, line);
        };
        const planrt::Runtime runtime(options);
        runtime.load_tensorrt();
        CHECK(count(planrt::LogLevel::info, "TensorRT: this is a test double") == 1);
        CHECK(count(planrt::LogLevel::info, tensorrt.name()) == 1);
        const planrt::Engine engine = tensorrt.load(runtime, std::string(COPY) + "refuses enqueueV3\n");
        planrt::Context context(engine);
        for (int i = 0; i < 413; ++i) {
            try {
                run(context, ramp(8));
            } catch (const planrt::Error& error) {
                CHECK(holds(error.detail(), "enqueueV3 is refused"));  // each error has its lines, folded or not
            }
        }
    }
    const auto refused = count(planrt::LogLevel::error, "enqueueV3 is refused");
    CHECK(refused >= 2 && refused < 30);  // a line a second, and a last one with what was held back
    CHECK(count(planrt::LogLevel::error, "more like it)") >= 1);
    CHECK(count(planrt::LogLevel::debug, "") == 0);
}

// Runtime, engine, context, stream and buffer go in every order, and work goes on as long as what it needs is there.
void deletion(const Double& tensorrt) {
    std::vector<int> order = {0, 1, 2, 3, 4};
    do {
        auto runtime = std::make_optional<planrt::Runtime>(tensorrt.options());
        auto engine = std::make_optional(tensorrt.load(*runtime, COPY));
        auto context = std::make_optional<planrt::Context>(*engine);
        auto stream = std::make_optional<planrt::Stream>(*runtime);
        auto buffer = std::make_optional<planrt::Buffer>(*runtime, planrt::MemoryKind::device, 16);
        for (const int one : order) {
            if (one == 0) runtime.reset();
            if (one == 1) engine.reset();
            if (one == 2) context.reset();
            if (one == 3) stream.reset();
            if (one == 4) buffer.reset();
            if (context) CHECK(run(*context, ramp(4)) == ramp(4));
            if (stream && buffer) stream->copy(buffer->data(), ramp(4).data(), 16);
        }
        CHECK(tensorrt.alive() == 0 && cuda_alive() == 0);
    } while (std::next_permutation(order.begin(), order.end()));
}

}  // namespace

int main(int argc, char** argv) {
    on_each(doubles(argc, argv), {
        {"describes", describes},
        {"measured", measured},
        {"element types", element_types},
        {"bound memory", bound_memory},
        {"order", order},
        {"turns", turns},
        {"host memory", host_memory},
        {"profiles", profiles},
        {"refusals", refusals},
        {"logs", logs},
        {"deletion", deletion},
    });
}
