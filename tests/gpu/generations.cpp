// The newer TensorRTs on a GPU: the lean runtimes of 10.16 and 11.4, which run what their own version built and nothing
// else, and TensorRT-RTX, which leaves some GPUs out. All in one process, side by side. Each starts, says clearly why it
// does not take a plan, and goes away again. Needs a GPU; without one it is skipped.
//
// usage: generations PLAN_OF_8_5 PLAN_OF_RTX FOLDER...
// Each FOLDER holds one TensorRT (tests/real/fetch_tensorrt.py makes them); tests/real builds a plan of RTX.

#include "../check.h"

#include <planrt.hpp>

#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

namespace {

constexpr int SKIPPED = 77;

std::string read(const char* path) {
    std::ifstream file(path, std::ios::binary);
    std::string data((std::istreambuf_iterator<char>(file)), {});
    CHECK(data.size() > 100);
    return data;
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A value of the runtime's description: "TensorRT 10.16.1" for "version".
std::string described(const planrt::Runtime& runtime, const std::string& key) {
    const std::string json = runtime.describe(), before = "\"" + key + "\":\"";
    const size_t start = json.find(before);
    if (start == std::string::npos) return "";
    return json.substr(start + before.size(), json.find('"', start + before.size()) - start - before.size());
}

planrt::Error refused(const planrt::Runtime& runtime, const char* what, const std::string& plan) {
    try {
        planrt::Context context(planrt::Engine::from_memory(runtime, plan.data(), plan.size()));
    } catch (const planrt::Error& error) {
        std::cout << "  " << what << ": " << static_cast<int>(error.code()) << ": " << error.what() << "\n     ("
                  << error.detail() << ")\n";
        return error;
    }
    check_failed(__FILE__, __LINE__, what, "was taken");
    std::abort();
}

void try_plans(const planrt::Runtime& runtime, const std::string& plan, const std::string& rtx_plan) {
    const std::string version = described(runtime, "version"), capability = described(runtime, "compute_capability");
    const bool is_rtx = holds(version, "RTX");
    std::cout << version << " (" << described(runtime, "flavor") << ") on compute capability " << capability << "\n";

    // Known from the plan's header: both sides are named.
    const planrt::Error other = refused(runtime, "a plan of 8.5.3", plan);
    CHECK(other.code() == planrt::ErrorCode::incompatible_model);
    CHECK(holds(other.what(), "TensorRT 8.5.3 for compute capability") && holds(other.what(), version));
    CHECK(holds(other.what(), "compute capability " + capability));

    // Where the header says nothing TensorRT is asked, and its words come along.
    std::string unreadable = plan;
    unreadable[24] = 0;
    std::string garbage = std::string(is_rtx ? "vtrt" : "ftrt") + std::string(20, '\0') + std::string(4096, '\x07');
    if (is_rtx) unreadable = garbage;
    for (const std::string& data : {unreadable, garbage}) {
        const planrt::Error error = refused(runtime, "garbage", data);
        CHECK(error.code() == planrt::ErrorCode::invalid_model || error.code() == planrt::ErrorCode::incompatible_model);
        CHECK(holds(error.what(), version) && !error.detail().empty());
    }

    if (!is_rtx) {
        CHECK(holds(refused(runtime, "a plan of RTX", rtx_plan).what(), "TensorRT-RTX"));
    } else if (capability == "9.0") {
        const planrt::Error error = refused(runtime, "a plan of RTX", rtx_plan);
        CHECK(holds(error.what(), "compute capability 9.0"));
        CHECK(error.code() == planrt::ErrorCode::incompatible_model || error.code() == planrt::ErrorCode::unsupported);
    } else {
        planrt::Context context(planrt::Engine::from_memory(runtime, rtx_plan.data(), rtx_plan.size()));
        std::cout << "  the plan of RTX loads\n";
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) return 2;
    if (holds(planrt::Runtime().describe(), "no CUDA driver")) {
        std::cout << "skipped: there is no CUDA driver\n";
        return SKIPPED;
    }
    const std::string plan = read(argv[1]), rtx_plan = read(argv[2]);
    std::vector<planrt::Runtime> runtimes;
    for (int i = 3; i < argc; ++i) {
        planrt::RuntimeOptions options;
        options.tensorrt_path = argv[i];
        options.log_level = planrt::LogLevel::info;
        options.log = [](planrt::LogLevel level, const char* line) {
            std::cout << "    log " << static_cast<int>(level) << ": " << line << "\n";
        };
        const planrt::Runtime& runtime = runtimes.emplace_back(options);
        try {
            runtime.load_tensorrt();
        } catch (const planrt::Error& error) {
            // RTX may say so when it starts.
            std::cout << argv[i] << ": " << error.what() << "\n     (" << error.detail() << ")\n";
            CHECK(holds(error.what(), "TensorRT-RTX") && error.code() == planrt::ErrorCode::no_tensorrt);
            continue;
        }
        try_plans(runtime, plan, rtx_plan);
    }
    while (!runtimes.empty()) runtimes.erase(runtimes.begin());
    std::cout << "all passed\n";
}
