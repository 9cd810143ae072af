// What planrt adds to the loading of a TensorRT: finding it, asking what it is, opening the device, making the runtime.
// Each round loads a fresh copy of a double with dlopen, another with planrt. Prints the medians; 5 ms is the most.

#include "doubles.hpp"

#include <chrono>

namespace {

constexpr int ROUNDS = 20;
constexpr double MOST_MS = 5;

double milliseconds(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
    namespace fs = std::filesystem;
    const fs::path original = doubles(argc, argv).front().path;
    const auto copy = [&](const char* kind, int round) {
        const fs::path folder = fs::current_path() / (kind + std::to_string(round));
        fs::create_directories(folder);
        fs::copy_file(original, folder / original.filename(), fs::copy_options::overwrite_existing);
        return (folder / original.filename()).string();
    };
    std::vector<double> plain, ours;
    for (int round = 0; round < ROUNDS; ++round) {
        const std::string first = copy("dlopen", round), second = copy("planrt", round);
        plain.push_back(milliseconds([&] { CHECK(dlopen(first.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr); }));
        planrt::RuntimeOptions options;
        options.tensorrt_path = second;
        ours.push_back(milliseconds([&] { planrt::Runtime(options).load_tensorrt(); }));
    }
    std::printf("dlopen %.3f ms, planrt_runtime_load_tensorrt %.3f ms, medians of %d\n", median(plain), median(ours), ROUNDS);
    CHECK(median(ours) - median(plain) < MOST_MS);
}
