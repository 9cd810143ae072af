// The real TensorRT libraries, all by the same libplanrt and in one process, on a machine without a GPU: each is loaded
// and known for what it is, and says clearly what is missing; a plan is known by its header. With the driver's test double
// they get as far as under a driver that is too old for them. Under a real driver there is nothing here to see (tests/gpu
// has the rest), and the test is skipped.
//
// usage: libraries FOLDER RTX_PLAN       (FOLDER/lean-10.16.1.11/libnvinfer_lean.so.10, …: fetch_tensorrt.py makes it)

#include "../check.h"

#include <planrt.hpp>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

namespace {

constexpr int SKIPPED = 77;

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

template <class Call>
planrt::Error thrown(Call call) {
    try {
        call();
    } catch (const planrt::Error& error) {
        std::cout << "  " << static_cast<int>(error.code()) << ": " << error.what() << "\n     (" << error.detail() << ")\n";
        return error;
    }
    CHECK(!"an error was expected");
    std::abort();
}

struct Library {
    std::filesystem::path file;
    std::string flavor, version;

    // From FOLDER/lean-10.16.1.11/libnvinfer_lean.so.10
    explicit Library(const std::filesystem::path& path) : file(std::filesystem::canonical(path)) {
        const std::string folder = path.parent_path().filename();
        const size_t dash = folder.find('-');
        flavor = folder.substr(0, dash);
        version = folder.substr(dash + 1, folder.rfind('.') - dash - 1);
    }

    // As the doctor writes it: "TensorRT 10.16.1 (lean): /…"
    std::string text() const {
        const bool is_rtx = flavor == "rtx";
        return std::string("TensorRT") + (is_rtx ? "-RTX " : " ") + version + " (" + (is_rtx ? "RTX" : flavor) + "): " +
               file.string();
    }

    planrt::RuntimeOptions options() const {
        planrt::RuntimeOptions options;
        options.tensorrt_path = file;
        return options;
    }
};

void look_at(const Library& library, const std::string& rtx_plan) {
    const planrt::DoctorReport report = planrt::doctor(library.options(), rtx_plan);
    std::cout << report.text;
    CHECK(holds(report.text, library.text() + ", the path given; it is used"));
    CHECK(holds(report.text, "a plan of TensorRT-RTX " + std::string(RTX_VERSION)));
    CHECK(!report.usable && holds(report.text, "does not run here"));

    const planrt::Runtime runtime(library.options());
    const planrt::Error errors[] = {thrown([&] { runtime.load_tensorrt(); }),
                                    thrown([&] { return planrt::Engine::from_file(runtime, rtx_plan); })};
    for (const planrt::Error& error : errors)
        CHECK(error.code() == planrt::ErrorCode::no_cuda && holds(error.what(), "no CUDA driver"));
    CHECK(holds(runtime.describe(), "no CUDA driver"));
}

// The driver's double lacks what TensorRT calls. All of TensorRT's own words come with the errors, from several versions
// that live side by side.
void start_side_by_side(const std::vector<Library>& libraries, const std::string& rtx_plan) {
    std::vector<planrt::Runtime> runtimes;
    for (const Library& library : libraries) {
        const planrt::Runtime& runtime = runtimes.emplace_back(library.options());
        const std::string name = library.text().substr(0, library.text().find(" ("));
        if (library.flavor == "rtx") {
            runtime.load_tensorrt();
            CHECK(holds(runtime.describe(), name));
            const planrt::Error error = thrown([&] { return planrt::Engine::from_file(runtime, rtx_plan); });
            CHECK(error.code() == planrt::ErrorCode::tensorrt && holds(error.what(), "the plan was built by " + name));
            CHECK(holds(error.detail(), "deserializeCudaEngine"));
        } else {
            const planrt::Error error = thrown([&] { runtime.load_tensorrt(); });
            CHECK(error.code() == planrt::ErrorCode::no_tensorrt && holds(error.what(), name + " does not start"));
            CHECK(!error.detail().empty());
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const std::string rtx_plan = argv[2];
    std::vector<Library> libraries;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[1]))
        if (entry.is_regular_file() && !holds(entry.path().filename(), "onnxparser")) libraries.emplace_back(entry.path());
    CHECK(libraries.size() >= 5);
    const std::string here = planrt::doctor().text;
    if (holds(here, "CUDA double 0")) {
        start_side_by_side(libraries, rtx_plan);
        return 0;
    }
    if (!holds(here, "no CUDA driver")) {
        std::cout << "skipped: this machine has a CUDA driver\n";
        return SKIPPED;
    }
    for (const Library& library : libraries) look_at(library, rtx_plan);

    // All of them are in the process by now, and each is found there.
    const planrt::DoctorReport report = planrt::doctor();
    std::cout << report.text;
    for (const Library& library : libraries) CHECK(holds(report.text, library.text() + ", already in the process"));
    const std::string used = "; it is used";
    CHECK(holds(report.text, used) && report.text.find(used) == report.text.rfind(used));
}
