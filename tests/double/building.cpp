// Plans are built under every TensorRT of which there is a double: what it is told, what comes of it, and what is refused.

#include "doubles.hpp"

#include <array>
#include <fstream>

namespace {

std::string bytes(int field, const std::string& value) {
    std::string message(1, static_cast<char>(field << 3 | 2));
    size_t size = value.size();
    for (; size > 127; size >>= 7) message += static_cast<char>(size | 128);
    return message + static_cast<char>(size) + value;
}

// An ONNX model with a node of each name and operator, whose doc_string tells the parser's double what to do.
std::string onnx(const std::string& lines, const std::vector<std::pair<std::string, std::string>>& nodes = {}) {
    std::string graph;
    for (const auto& [name, op] : nodes) graph += bytes(1, bytes(2, name + "_out") + bytes(3, name) + bytes(4, op));
    return bytes(6, "double-onnx\n" + lines + std::string(1, '\0')) + bytes(7, graph);
}

const std::string COPY = onnx("input x 0 -1,4\nnode conv_1\nnode norm_1\noutput y\n",
                              {{"conv_1", "Conv"}, {"norm_1", "InstanceNormalization"}});

void ok(planrt_error* error) {
    if (error == nullptr) return;
    check_failed(__FILE__, __LINE__, planrt_error_get_message(error), planrt_error_get_detail(error));
}

void refused(planrt_error* error, planrt_error_code code, const std::string& text) {
    CHECK(error != nullptr);
    std::cout << "  " << planrt_error_get_message(error) << "\n";
    CHECK(planrt_error_get_code(error) == code);
    CHECK(holds(planrt_error_get_message(error), text));
    planrt_error_delete(error);
}

struct Heard {
    int calls = 0, last = 1000;
    std::string phases;

    static bool hear(void* self, const char* phase, const char* parent, int32_t done, int32_t steps) {
        auto& heard = *static_cast<Heard*>(self);
        CHECK(done >= 0 && done <= steps && (parent == nullptr || *parent));
        heard.phases += std::string(phase) + "\n";
        return ++heard.calls < heard.last;
    }
};

struct Options {
    planrt_build_options* raw = nullptr;
    Options() { ok(planrt_build_options_new(&raw)); }
    ~Options() { planrt_build_options_delete(raw); }
    Options(const Options&) = delete;
    Options& operator=(const Options&) = delete;

    planrt_error* shape(const char* input, int64_t min, int64_t opt, int64_t max) {
        planrt_profile_shape shape{};
        shape.struct_size = sizeof shape, shape.rank = 2;
        shape.min[0] = min, shape.opt[0] = opt, shape.max[0] = max;
        shape.min[1] = shape.opt[1] = shape.max[1] = 4;
        return planrt_build_options_set_profile_shape(raw, 0, input, &shape);
    }
};

// A plan's bytes, or null and the error.
std::string built(const Double& tensorrt, const std::string& model, const Options& options, planrt_error** error = nullptr) {
    const planrt::Runtime runtime(tensorrt.options());
    planrt_plan* plan = nullptr;
    planrt_error* failed = planrt_build_memory(runtime.get(), model.data(), model.size(), options.raw, &plan);
    if (error == nullptr) ok(failed);
    else *error = failed;
    if (failed != nullptr) return {};
    const std::string data(static_cast<const char*>(planrt_plan_get_data(plan)), planrt_plan_get_size(plan));
    planrt_plan_delete(plan);
    return data;
}

void refuses(const Double& tensorrt, const std::string& model, const Options& options, planrt_error_code code,
             const std::string& text) {
    planrt_error* error = nullptr;
    built(tensorrt, model, options, &error);
    refused(error, code, text);
}

bool has_flags(const Double& tensorrt) { return !tensorrt.is_rtx && tensorrt.major < 11; }

void builds_what_runs(const Double& tensorrt) {
    Options options;
    ok(options.shape("x", 1, 2, 8));
    ok(planrt_build_options_set_workspace_limit(options.raw, 4096));
    const std::string plan = built(tensorrt, COPY, options);
    CHECK(holds(plan, "workspace=4096") && holds(plan, "flags=\n")); // TF32 only where it is asked for

    const planrt::Runtime runtime(tensorrt.options());
    const auto engine = planrt::Engine::from_memory(runtime, plan.data(), plan.size());
    const planrt::ProfileShape shape = engine.profile_shape(0, "x");
    CHECK((shape.min == planrt::Shape{1, 4} && shape.opt == planrt::Shape{2, 4} && shape.max == planrt::Shape{8, 4}));
    CHECK(engine.tensor("y").name == "y");
}

// The same in C++.
void wrapped(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    planrt::BuildOptions options;
    options.profiles = {{{"x", {{1, 4}, {2, 4}, {8, 4}}}}};
    options.precision = planrt::Precision::tf32;
    int calls = 0;
    options.progress = [&](const std::string& phase, const std::string&, int32_t, int32_t) { return ++calls && !phase.empty(); };
    const auto plan = planrt::Plan::from_onnx_memory(runtime, COPY.data(), COPY.size(), options);
    const std::string data(static_cast<const char*>(plan.data()), plan.size_bytes());
    CHECK(calls >= 4 && holds(data, "flags=kTF32,\n") && holds(data, "1,4 2,4 8,4"));
    std::ofstream("model.onnx") << COPY;
    planrt::Plan::from_onnx(runtime, "model.onnx", options).save("model.plan");
    CHECK(planrt::Engine::from_file(runtime, "model.plan").profile_count() == 1);
    options.progress = [](const std::string&, const std::string&, int32_t, int32_t) -> bool { throw 7; };
    expect(planrt::ErrorCode::cancelled, "cancelled", [&] { (void)planrt::Plan::from_onnx(runtime, "model.onnx", options); });
}

// A GPU that is not there is not done without, where it is asked for.
void devices(const Double& tensorrt) {
    planrt::RuntimeOptions options = tensorrt.options();
    options.device = 3;
    const planrt::Runtime runtime(options);
    expect(planrt::ErrorCode::no_cuda, "no CUDA device 3", [&] { (void)planrt::Plan::from_onnx_memory(runtime, COPY.data(), COPY.size()); });
}

void precisions(const Double& tensorrt) {
    Options options;
    ok(planrt_build_options_set_precision(options.raw, PLANRT_PRECISION_FLOAT16 | PLANRT_PRECISION_TF32));
    if (!has_flags(tensorrt)) {
        refuses(tensorrt, COPY, options, PLANRT_ERROR_UNSUPPORTED, "convert the ONNX model");
        ok(planrt_build_options_set_precision(options.raw, PLANRT_PRECISION_BEST));
        CHECK(holds(built(tensorrt, COPY, options), "flags=kTF32,\n"));
        return;
    }
    CHECK(holds(built(tensorrt, COPY, options), "flags=kFP16,kTF32,\n"));
    ok(planrt_build_options_keep_float32_operator(options.raw, "InstanceNormalization"));
    const std::string kept = built(tensorrt, COPY, options);
    CHECK(holds(kept, "kOBEY_PRECISION_CONSTRAINTS") && holds(kept, "built layer=norm_1 precision=0 output=0"));
    CHECK(!holds(kept, "layer=conv_1"));
    ok(planrt_build_options_keep_float32_node(options.raw, "conv_9"));
    refuses(tensorrt, COPY, options, PLANRT_ERROR_NOT_FOUND, "conv_9");

    Options other;
    ok(planrt_build_options_set_precision(other.raw, PLANRT_PRECISION_INT8));
    refuses(tensorrt, COPY, other, PLANRT_ERROR_UNSUPPORTED, "QuantizeLinear");
    ok(planrt_build_options_set_precision(other.raw, PLANRT_PRECISION_BEST));
    const bool is_10 = tensorrt.major == 10;
    CHECK(holds(built(tensorrt, COPY, other), is_10 ? "flags=kFP16,kTF32,kBF16,\n" : "flags=kFP16,kTF32,\n"));
    ok(planrt_build_options_set_precision(other.raw, PLANRT_PRECISION_TYPED));
    if (is_10) CHECK(holds(built(tensorrt, COPY, other), "network=2"));
    else refuses(tensorrt, COPY, other, PLANRT_ERROR_UNSUPPORTED, "typed networks");
}

void features(const Double& tensorrt) {
    Options options;
    ok(planrt_build_options_set_features(options.raw, PLANRT_BUILD_REFITTABLE | PLANRT_BUILD_STRIP_WEIGHTS));
    if (tensorrt.major == 8) refuses(tensorrt, COPY, options, PLANRT_ERROR_UNSUPPORTED, "kSTRIP_PLAN");
    else CHECK(holds(built(tensorrt, COPY, options), "flags=kREFIT,kSTRIP_PLAN,\n"));
    Options other;
    ok(planrt_build_options_set_features(other.raw, PLANRT_BUILD_VERSION_COMPATIBLE));
    ok(planrt_build_options_set_optimization_level(other.raw, 4));
    ok(planrt_build_options_set_hardware_compatibility(other.raw, PLANRT_HARDWARE_AMPERE_PLUS));
    if (tensorrt.version.rfind("8.5", 0) == 0) refuses(tensorrt, COPY, other, PLANRT_ERROR_UNSUPPORTED, "8.6");
    else CHECK(holds(built(tensorrt, COPY, other), "level=4 hardware=1 flags=kVERSION_COMPATIBLE,\n"));
}

void hardware(const Double& tensorrt) {
    Options options;
    ok(planrt_build_options_set_hardware_compatibility(options.raw, PLANRT_HARDWARE_SAME_COMPUTE_CAPABILITY));
    const bool is_early = tensorrt.major == 8 || tensorrt.version.rfind("10.0.", 0) == 0;
    if (is_early) refuses(tensorrt, COPY, options, PLANRT_ERROR_UNSUPPORTED, "10.9");
    else CHECK(holds(built(tensorrt, COPY, options), "hardware=2"));
}

void tactics(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    planrt::BuildOptions options;
    const auto built = [&] {
        const auto plan = planrt::Plan::from_onnx_memory(runtime, COPY.data(), COPY.size(), options);
        return std::string(static_cast<const char*>(plan.data()), plan.size_bytes());
    };
    const std::string all = has_flags(tensorrt) ? "sources=kCUBLAS,kCUBLAS_LT,kCUDNN,kEDGE_MASK_CONVOLUTIONS,kJIT_CONVOLUTIONS,\n"
                                                : "sources=kEDGE_MASK_CONVOLUTIONS,kJIT_CONVOLUTIONS,\n";
    CHECK(holds(built(), all));
    using planrt::Tactics;
    options.use_tactics_not = Tactics::cublas | Tactics::cublas_lt | Tactics::cudnn | Tactics::edge_mask_convolutions;
    CHECK(holds(built(), has_flags(tensorrt) ? "sources=,,,,kJIT_CONVOLUTIONS,\n" : "sources=,kJIT_CONVOLUTIONS,\n"));
    options = {};
    options.use_tactics_too = Tactics::cudnn;
    if (has_flags(tensorrt)) CHECK(holds(built(), all));
    else expect(planrt::ErrorCode::unsupported, "kCUDNN", [&] { built(); });
    options.use_tactics_not = Tactics::cudnn;
    expect(planrt::ErrorCode::invalid_argument, "both", [&] { built(); });
}

// What the parser says that it lacks is taken apart; what it has is not.
void lacking(const Double& tensorrt) {
    const auto model = [](const std::string& op) {
        const std::string opset = bytes(8, std::string("\x10\x12"));
        return onnx("input x 0 -1,4\nnode conv_1\noutput y\n", {{"conv_1", "Conv"}, {"node_1", op}}) + opset;
    };
    Options options;
    ok(options.shape("x", 1, 2, 8));
    refuses(tensorrt, model("Mish"), options, PLANRT_ERROR_UNSUPPORTED, "node 1 \"node_1\" (Mish) is not taken apart");
    built(tensorrt, model("Gelu"), options);
}

void decomposed(const Double& tensorrt) {
    Options options;
    ok(planrt_build_options_set_instance_normalization(options.raw, PLANRT_INSTANCE_NORMALIZATION_DECOMPOSED));
    refuses(tensorrt, COPY, options, PLANRT_ERROR_UNSUPPORTED, "opset 0");
    const std::string opset = bytes(8, std::string("\x10\x11"));
    refuses(tensorrt, COPY + opset, options, PLANRT_ERROR_UNSUPPORTED, "node 1 \"norm_1\" (InstanceNormalization)");
    const std::string other = onnx("input x 0 1,4\nnode conv_1\noutput y\n", {{"conv_1", "Conv"}});
    CHECK(holds(built(tensorrt, other, options), "output y"));  // there is nothing to take apart
    refused(planrt_build_options_set_instance_normalization(options.raw, 4), PLANRT_ERROR_INVALID_ARGUMENT, "4 is no");
}

std::string conv(const std::string& name, const std::string& weights) {
    return onnx("input x 0 -1,4\nconv " + name + " " + weights + "\noutput y\n", {{name, "Conv"}});
}

planrt_error* refit(const Double& tensorrt, const std::string& plan, const std::string& model, const Options& options,
                    std::string* out) {
    const planrt::Runtime runtime(tensorrt.options());
    planrt_plan* refitted = nullptr;
    planrt_error* error =
        planrt_refit_memory(runtime.get(), plan.data(), plan.size(), model.data(), model.size(), options.raw, &refitted);
    CHECK((error == nullptr) == (refitted != nullptr));
    if (refitted == nullptr) return error;
    *out = std::string(static_cast<const char*>(planrt_plan_get_data(refitted)), planrt_plan_get_size(refitted));
    planrt_plan_delete(refitted);
    return error;
}

void refits(const Double& tensorrt) {
    Options options;
    ok(planrt_build_options_set_features(options.raw, PLANRT_BUILD_REFITTABLE));
    const std::string plan = built(tensorrt, conv("conv_1", "1.5,3"), options);
    CHECK(holds(plan, "weights conv_1 2 1.5,3\n"));
    std::string refitted;
    ok(refit(tensorrt, plan, conv("conv_1", "7,0.25"), options, &refitted));
    CHECK(holds(refitted, "weights conv_1 2 7,0.25\n") && refitted.size() == plan.size() + 1 && holds(plan, "1.5,3"));

    // Another graph: a layer of another name, one of another size, one more, none.
    const auto refuses_graph = [&](const std::string& model, const std::string& text) {
        refused(refit(tensorrt, plan, model, options, &refitted), PLANRT_ERROR_INCOMPATIBLE_MODEL, text);
    };
    refuses_graph(conv("conv_2", "7,0.25"), "conv_2");
    refuses_graph(conv("conv_1", "7,0.25,1"), "conv_1");
    if (tensorrt.major == 8) refuses_graph(onnx("input x 0 -1,4\nconv conv_1 1,2\nconv conv_2 1,2\noutput y\n"), "conv_2");
    if (tensorrt.major == 8) refuses_graph(onnx("input x 0 -1,4\nnode conv_1\noutput y\n"), "conv_1");

    const std::string rigid = built(tensorrt, conv("conv_1", "1.5,3"), Options());
    refused(refit(tensorrt, rigid, conv("conv_1", "1,2"), options, &refitted), PLANRT_ERROR_UNSUPPORTED, "PLANRT_BUILD_REFITTABLE");
    refused(refit(tensorrt, plan, plan, options, &refitted), PLANRT_ERROR_INVALID_MODEL, "not from a plan");
    refused(refit(tensorrt, COPY, COPY, options, &refitted), PLANRT_ERROR_INVALID_MODEL, "an ONNX model");
    ok(planrt_build_options_set_instance_normalization(options.raw, PLANRT_INSTANCE_NORMALIZATION_PLUGIN));
    refused(refit(tensorrt, plan, COPY, options, &refitted), PLANRT_ERROR_UNSUPPORTED, "cannot be replaced");

    // Wherever it is ended, nothing comes of it.
    Heard all;
    Options heard;
    ok(planrt_build_options_set_progress(heard.raw, Heard::hear, &all));
    ok(refit(tensorrt, plan, conv("conv_1", "7,0.25"), heard, &refitted));
    CHECK(all.calls >= 6 && holds(all.phases, "refitting the plan"));
    for (int last = 1; last <= all.calls; last++) {
        Heard some;
        some.last = last;
        Options ended;
        ok(planrt_build_options_set_progress(ended.raw, Heard::hear, &some));
        refused(refit(tensorrt, plan, conv("conv_1", "7,0.25"), ended, &refitted), PLANRT_ERROR_CANCELLED, "cancelled");
    }

    // The same with files, in C++.
    const planrt::Runtime runtime(tensorrt.options());
    std::ofstream("old.plan") << plan;
    std::ofstream("new.onnx") << conv("conv_1", "2,4");
    planrt::Plan::refitted(runtime, "old.plan", "new.onnx").save("old.plan");
    std::ifstream file("old.plan");
    CHECK(holds(std::string(std::istreambuf_iterator<char>(file), {}), "weights conv_1 2 2,4\n"));
}

void stripped_plans_are_made_whole(const Double& tensorrt) {
    if (tensorrt.major == 8) return;  // features() sees it refused
    Options options;
    ok(planrt_build_options_set_features(options.raw, PLANRT_BUILD_STRIP_WEIGHTS));
    const std::string plan = built(tensorrt, conv("conv_1", "1.5,3"), options);
    CHECK(holds(plan, "weights conv_1 2 -\n"));
    std::string refitted;
    refused(refit(tensorrt, plan, onnx("input x 0 -1,4\nnode conv_1\noutput y\n"), options, &refitted),
            PLANRT_ERROR_INCOMPATIBLE_MODEL, "no weights \"conv_1\"");
    ok(refit(tensorrt, plan, conv("conv_1", "1.5,3"), options, &refitted));
    CHECK(holds(refitted, "weights conv_1 2 1.5,3\n"));
}

void shapes_are_checked(const Double& tensorrt) {
    Options none;
    CHECK(holds(built(tensorrt, COPY, none), "input x 0 -1,4 1,4 1,4 1,4")); // only the batch is open
    refuses(tensorrt, onnx("input x 0 -1,-1\nnode n\noutput y\n"), none, PLANRT_ERROR_SHAPE, "\"x\"");
    for (const auto& [min, opt, max] : {std::array<int64_t, 3>{3, 2, 8}, {1, 9, 8}, {0, 1, 1}}) {
        Options options;
        ok(options.shape("x", min, opt, max));
        refuses(tensorrt, COPY, options, PLANRT_ERROR_SHAPE, "dimension 0");
    }
    Options unknown;
    ok(unknown.shape("z", 1, 2, 8));
    refuses(tensorrt, COPY, unknown, PLANRT_ERROR_NOT_FOUND, "no input \"z\"; it has \"x\"");
    Options rigid;
    ok(rigid.shape("x", 1, 2, 8));
    refuses(tensorrt, onnx("input x 0 2,4\nnode n\noutput y\n"), rigid, PLANRT_ERROR_SHAPE, "the profile says");
}

void failures_are_named(const Double& tensorrt) {
    Options options;
    refuses(tensorrt, onnx("fails 1 bad_1 Bad\n", {{"conv_1", "Conv"}, {"bad_1", "Bad"}}), options, PLANRT_ERROR_UNSUPPORTED,
            "node 1 \"bad_1\" (Bad)");
    refuses(tensorrt, onnx("input x 0 1,4\nnode unbuildable\noutput y\n"), options, PLANRT_ERROR_TENSORRT, "cannot build");
    refuses(tensorrt, tensorrt.plan(""), options, PLANRT_ERROR_INVALID_MODEL, "a plan already");
    refuses(tensorrt, COPY.substr(0, COPY.size() - 3), options, PLANRT_ERROR_INVALID_MODEL, "cut short");
}

void timing_caches_are_kept(const Double& tensorrt) {
    const std::string file = "times.cache";
    std::filesystem::remove(file);
    const auto cache = [&] {
        std::ifstream in(file);
        return std::string(std::istreambuf_iterator<char>(in), {});
    };
    Options options;
    ok(planrt_build_options_set_timing_cache(options.raw, file.c_str()));
    built(tensorrt, COPY, options);
    const std::string first = cache();
    CHECK(holds(first, "double-cache") && first.substr(first.size() - 6) == "\nbuild");
    built(tensorrt, COPY, options);
    CHECK(cache() == first + "\nbuild");
    std::ofstream(file) << "of another TensorRT";
    built(tensorrt, COPY, options);
    CHECK(cache() == first);
    // A model or a plan is not written over.
    std::ofstream(file, std::ios::binary) << COPY;
    refuses(tensorrt, COPY, options, PLANRT_ERROR_INVALID_ARGUMENT, "is an ONNX model and no timing cache");
    CHECK(cache() == COPY);
}

void progress_is_heard_and_ends_it(const Double& tensorrt) {
    Heard all;
    Options options;
    ok(planrt_build_options_set_progress(options.raw, Heard::hear, &all));
    built(tensorrt, COPY, options);
    CHECK(all.calls >= 4 && holds(all.phases, "parsing the model"));
    CHECK(holds(all.phases, tensorrt.major == 8 ? "building the plan" : "Tactics"));
    // Wherever it is ended, nothing comes of it.
    for (int last = 1; last <= all.calls; last++) {
        Heard some;
        some.last = last;
        Options ended;
        ok(planrt_build_options_set_progress(ended.raw, Heard::hear, &some));
        refuses(tensorrt, COPY, ended, PLANRT_ERROR_CANCELLED, "cancelled");
        CHECK(some.calls == last);
    }
}

}  // namespace

int main(int argc, char** argv) {
    on_each(doubles(argc, argv), {{"builds what runs", builds_what_runs},
                                  {"wrapped", wrapped},
                                  {"devices", devices},
                                  {"precisions", precisions},
                                  {"features", features},
                                  {"hardware", hardware},
                                  {"tactics", tactics},
                                  {"decomposed", decomposed},
                                  {"lacking", lacking},
                                  {"refits", refits},
                                  {"stripped plans are made whole", stripped_plans_are_made_whole},
                                  {"shapes are checked", shapes_are_checked},
                                  {"failures are named", failures_are_named},
                                  {"timing caches are kept", timing_caches_are_kept},
                                  {"progress is heard, and ends it", progress_is_heard_and_ends_it}});
    return 0;
}
