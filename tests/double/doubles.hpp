// The test doubles of TensorRT and of the CUDA driver, as the programs of this folder use them: several versions of
// TensorRT in one process, one after another and side by side, and a driver without a GPU.
#ifndef DOUBLES_HPP
#define DOUBLES_HPP

#include "../check.h"

#include <planrt.hpp>

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

template <class Function>
Function* symbol(const char* library, const char* name) {
    void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    void* address = handle != nullptr ? dlsym(handle, name) : nullptr;
    if (address == nullptr) check_failed(__FILE__, __LINE__, library, dlerror());
    return reinterpret_cast<Function*>(address);
}

// A double of one TensorRT (tensorrt-sys/tests/double/double.cpp).
struct Double {
    std::string path;
    std::string version;  // "11.4.0"
    bool is_rtx;
    int major;
    void (*record)(bool);
    const char* (*take)();
    int64_t (*alive)();

    Double(const std::filesystem::path& file)
        : path(file),
          version(file.parent_path().filename()),
          is_rtx(file.filename().string().find("rtx") != std::string::npos),
          major(std::stoi(version)),
          record(symbol<void(bool)>(file.c_str(), "doubleRecord")),
          take(symbol<const char*()>(file.c_str(), "doubleTake")),
          alive(symbol<int64_t()>(file.c_str(), "doubleAlive")) {}

    // As planrt writes it: "TensorRT 11.4.0".
    std::string name() const { return (is_rtx ? "TensorRT-RTX " : "TensorRT ") + version; }

    planrt::RuntimeOptions options() const {
        planrt::RuntimeOptions options;
        options.tensorrt_path = path;
        return options;
    }

    // What a plan that this TensorRT built begins with (src/backend/tensorrt/plan.rs).
    std::string header() const {
        if (version.rfind("8.5", 0) == 0) return std::string("ptrt") + std::string(20, '\0');
        int minor = 0, patch = 0;
        std::sscanf(version.c_str(), "%*d.%d.%d", &minor, &patch);
        return std::string(is_rtx ? "vtrt" : "ftrt") + std::string(20, '\0') +
               std::string({static_cast<char>(major), static_cast<char>(minor), static_cast<char>(patch), 1});
    }

    // A plan of the double's: lines that the double understands.
    std::string plan(const std::string& lines) const { return header() + "double-plan\n" + lines; }

    planrt::Engine load(const planrt::Runtime& runtime, const std::string& lines,
                        const planrt::EngineOptions& options = {}) const {
        const std::string data = plan(lines);
        return planrt::Engine::from_memory(runtime, data.data(), data.size(), options);
    }

    // What TensorRT was called with meanwhile, a call a line.
    std::string calls(const std::function<void()>& work) const {
        record(true);
        take();
        work();
        record(false);
        return take();
    }
};

// Every double in a folder: FOLDER/11.4.0/libnvinfer.so.11, FOLDER/1.7.1/libtensorrt_rtx.so.1, …
inline std::vector<Double> doubles(int argc, char** argv) {
    CHECK(argc == 2);
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[1]))
        if (entry.is_regular_file() && entry.path().filename().string().find("onnxparser") == std::string::npos)
            files.push_back(entry.path());
    CHECK(!files.empty());
    std::sort(files.begin(), files.end());
    return {files.begin(), files.end()};
}

// How many objects of the driver's double are alive.
inline int64_t cuda_alive() {
    static const auto alive = symbol<int64_t()>("libcuda.so.1", "cudaDoubleAlive");
    return alive();
}

// What the environment tells the driver's double, for as long as this lives.
class Setting {
public:
    Setting(const char* name, const std::string& value) : name_(name) { setenv(name, value.c_str(), 1); }
    ~Setting() { unsetenv(name_); }
    Setting(const Setting&) = delete;
    Setting& operator=(const Setting&) = delete;

private:
    const char* name_;
};

inline bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// The call throws an error of that code whose message holds that text; the error.
inline planrt::Error expect(planrt::ErrorCode code, const std::string& text, const std::function<void()>& call) {
    try {
        call();
    } catch (const planrt::Error& error) {
        std::cout << "  " << static_cast<int>(error.code()) << ": " << error.what() << "\n";
        if (!error.detail().empty()) std::cout << "     (" << error.detail() << ")\n";
        CHECK(error.code() == code);
        CHECK(holds(error.what(), text));
        return error;
    }
    check_failed(__FILE__, __LINE__, text.c_str(), "an error was expected");
    std::abort();
}

// Runs each subject on each double; none leaves anything alive, nor a context of the driver's current.
inline void on_each(const std::vector<Double>& doubles,
                    const std::vector<std::pair<const char*, void (*)(const Double&)>>& subjects) {
    const auto current = symbol<int(void**)>("libcuda.so.1", "cuCtxGetCurrent");
    for (const Double& tensorrt : doubles) {
        for (const auto& [name, subject] : subjects) {
            std::cout << tensorrt.name() << ": " << name << std::endl;
            try {
                subject(tensorrt);
            } catch (const planrt::Error& error) {
                check_failed(__FILE__, __LINE__, error.what(), error.detail().c_str());
            }
            void* context = nullptr;
            CHECK(current(&context) == 0 && context == nullptr);
            CHECK(tensorrt.alive() == 0);
            CHECK(cuda_alive() == 0);
        }
    }
}

#endif
