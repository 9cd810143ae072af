// Threads that ask a planrt session for one patch each, again and again, and how that is timed.
#ifndef CALLERS_HPP
#define CALLERS_HPP

#include "timing.hpp"

#include <planrt.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <vector>

// A plan with one input (b,1,...) and one output.
struct Model {
    std::string path, input, output;
    planrt::Shape item;  // with a batch of 1
    int64_t largest = 1;
    int32_t profiles = 1;
    size_t input_bytes = 0, output_bytes = 0;  // of one item

    Model(const std::string& path, const planrt::Engine& engine) : path(path) {
        const auto tensors = engine.tensors();
        input = tensors.at(0).name;
        output = tensors.at(1).name;
        const auto profile = engine.profile_shape(0, input);
        largest = profile.max[0];
        profiles = engine.profile_count();
        item = profile.opt;
        item[0] = 1;
        input_bytes = planrt::element_count(item) * sizeof(float);
        planrt::Context context(engine);
        context.set_shape(input, item);
        output_bytes = context.size(output);
    }
};

struct Result {
    double rate = 0;          // items a second
    double p50 = 0, p95 = 0;  // microseconds
    double batch = 0;         // items of the mean batch
};

inline void print(const char* what, const Result& result) {
    std::printf("  %-52s %9.0f patches/s   p50 %7.0f us   p95 %7.0f us   batch %5.1f\n", what, result.rate, result.p50,
                result.p95, result.batch);
    std::fflush(stdout);
}

inline void ratio(const char* what, double value, double wanted, bool at_most = false) {
    const bool good = at_most ? value <= wanted : value >= wanted;
    std::printf("%s %-60s %8.3f   (%s %.2f)\n", good ? "GOOD" : "BAD ", what, value, at_most ? "at most" : "at least", wanted);
    std::fflush(stdout);
}

// One thread's request, of one item or more.
struct Caller {
    planrt::Buffer input, output;
    planrt_tensor in{}, out{};

    Caller(const planrt::Runtime& runtime, const Model& model, planrt::MemoryKind kind, int64_t batch = 1)
        : input(runtime, kind, model.input_bytes * batch), output(runtime, kind, model.output_bytes * batch) {
        in.struct_size = out.struct_size = sizeof in;
        in.name = model.input.c_str();
        out.name = model.output.c_str();
        in.input_data = input.data();
        out.output_data = output.data();
        in.size_bytes = input.size();
        out.size_bytes = output.size();
        in.element_type = out.element_type = PLANRT_FLOAT32;
        in.memory_kind = out.memory_kind = static_cast<planrt_memory_kind>(kind);
        resize(model, batch);
    }
    void resize(const Model& model, int64_t batch) {
        in.rank = static_cast<int32_t>(model.item.size());
        std::copy(model.item.begin(), model.item.end(), in.shape);
        in.shape[0] = batch;
    }
    void run(planrt::Session& session) {
        planrt::detail::check(planrt_session_run(session.get(), &in, 1, &out, 1, nullptr));
    }
};

// So many threads, the memory of each on one of these devices in turn, for so many seconds.
inline Result concurrent(const std::vector<const planrt::Runtime*>& devices, const Model& model, planrt::Session& session,
                         int count, planrt::MemoryKind kind, double seconds) {
    std::vector<std::unique_ptr<Caller>> callers;
    for (size_t i = 0; i < static_cast<size_t>(count); ++i)
        callers.push_back(std::make_unique<Caller>(*devices[i % devices.size()], model, kind));
    std::atomic<int> phase{0};  // warming up, measured, over
    std::vector<std::vector<double>> times(callers.size());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < callers.size(); ++i) {
        times[i].reserve(1 << 16);
        threads.emplace_back([&, i] {
            while (phase != 2) {
                const bool counted = phase == 1;
                const auto before = Clock::now();
                callers[i]->run(session);
                if (counted) times[i].push_back(1e6 * since(before));
            }
        });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const auto counts = [&] {
        const auto statistics = session.statistics();
        uint64_t batches = 0;
        for (const uint64_t count : statistics.batches) batches += count;
        return std::pair(statistics.items, batches);
    };
    const auto before = counts();
    phase = 1;
    const auto start = Clock::now();
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    const auto after = counts();
    const double elapsed = since(start);
    phase = 2;
    for (std::thread& thread : threads) thread.join();
    std::vector<double> all;
    for (const auto& some : times) all.insert(all.end(), some.begin(), some.end());
    Result result;
    result.rate = static_cast<double>(after.first - before.first) / elapsed;
    result.batch = static_cast<double>(after.first - before.first) /
                   static_cast<double>(std::max<uint64_t>(1, after.second - before.second));
    result.p50 = quantile(all, 0.5);
    result.p95 = quantile(all, 0.95);
    return result;
}

#endif
