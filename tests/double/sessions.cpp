// Sessions on plans, under every TensorRT of which there is a double: batches gathered and scattered in device, pinned and
// ordinary memory, contexts as the profiles and the memory allow, and what is refused.

#include "doubles.hpp"

#include <atomic>
#include <numeric>
#include <thread>

namespace {

const char COPY[] =
    "name copy\nlayers 7\nprofiles 3\nmemory 4096\ninput x 0 -1,4 1,4 2,4 8,4\noutput y 0 -1,4\ncopies\n";
const char ONE_PROFILE[] =
    "name copy\nlayers 7\nprofiles 1\nmemory 4096\ninput x 0 -1,4 1,4 2,4 8,4\noutput y 0 -1,4\ncopies\n";

std::vector<float> ramp(size_t count, float first) {
    std::vector<float> values(count);
    std::iota(values.begin(), values.end(), first);
    return values;
}

// Many threads, requests of one to three items; each gets its own back.
void hammer(const planrt::Runtime& runtime, planrt::Session& session) {
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int thread = 0; thread < 6; ++thread) {
        threads.emplace_back([&, thread] {
            const size_t count = 4 * (1 + thread % 3);
            const planrt::Shape shape = {static_cast<int64_t>(count / 4), 4};
            const auto kind = static_cast<planrt::MemoryKind>(1 + thread % 3);
            const planrt::Buffer x(runtime, kind, count * 4), y(runtime, kind, count * 4);
            planrt::Stream stream(runtime);
            planrt::RequestOptions options;
            options.stream = &stream;
            std::vector<float> back(count);
            for (int i = 0; i < 50; ++i) {
                const auto values = ramp(count, static_cast<float>(100 * thread + i));
                stream.copy(x.data(), values.data(), count * 4);
                session.run({planrt::Tensor::input("x", x, planrt::ElementType::float32, shape)},
                            {planrt::Tensor::output("y", y, planrt::ElementType::float32)}, options);
                stream.copy(back.data(), y.data(), count * 4);
                stream.synchronize();
                wrong += back != values;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(session.statistics().succeeded == 300 && session.statistics().failed == 0);
}

void batches(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    for (const char* plan : {COPY, ONE_PROFILE}) {
        const planrt::Engine engine = tensorrt.load(runtime, plan);
        for (const int32_t contexts : {0, 1}) {
            planrt::SessionOptions options;
            options.contexts = contexts;
            planrt::Session session(engine, options);
            hammer(runtime, session);
        }
    }
}

void together(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::SessionOptions options;
    options.max_delay = 20000;
    planrt::Session session(engine, options);
    std::vector<std::vector<float>> x, y(4, std::vector<float>(8));
    std::vector<planrt::Request> requests;
    for (int i = 0; i < 4; ++i) x.push_back(ramp(8, 10.0f * static_cast<float>(i)));
    for (int i = 0; i < 4; ++i)
        requests.push_back(session.submit({planrt::Tensor::input("x", x[i], {2, 4})}, {planrt::Tensor::output("y", y[i])}));
    for (planrt::Request& request : requests) request.wait();
    CHECK(x == y);
    CHECK(session.statistics().batches[8] == 1);
}

void contexts(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::SessionOptions options;
    options.contexts = 4;
    if (tensorrt.major == 8) {
        expect(planrt::ErrorCode::in_use, "context 4 of 4", [&] { planrt::Session session(engine, options); });
    } else {
        planrt::Session session(engine, options);
    }
    options.memory_budget = 10000;
    expect(planrt::ErrorCode::out_of_memory, "memory budget", [&] { planrt::Session session(engine, options); });
    options.contexts = 0;
    planrt::Session session(engine, options);
    hammer(runtime, session);
}

void refuses(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine = tensorrt.load(runtime, COPY);
    planrt::Session session(engine);
    std::vector<float> x(40), y(40);
    const auto run = [&](planrt::Tensor in, planrt::Tensor out) { session.run({in}, {out}); };
    const auto out = planrt::Tensor::output("y", y);
    expect(planrt::ErrorCode::shape, "profile", [&] { run(planrt::Tensor::input("x", x, {9, 4}), out); });
    expect(planrt::ErrorCode::shape, "takes 4", [&] { run(planrt::Tensor::input("x", x, {2, 5}), out); });
    std::optional<planrt::Buffer> freed(std::in_place, runtime, planrt::MemoryKind::device, 16);
    const auto dangling = planrt::Tensor::input("x", *freed, planrt::ElementType::float32, {1, 4});
    freed.reset();
    expect(planrt::ErrorCode::invalid_argument, "device memory", [&] { run(dangling, out); });
    const planrt::Buffer half(runtime, planrt::MemoryKind::device, 16);
    expect(planrt::ErrorCode::invalid_argument, "has to be float32",
           [&] { run(planrt::Tensor::input("x", half, planrt::ElementType::float16, {1, 4}), out); });
    run(planrt::Tensor::input("x", x, {8, 4}), out);
}

// What was enqueued is refused: the request fails, and so do no others later.
void fails(const Double& tensorrt) {
    const planrt::Runtime runtime(tensorrt.options());
    const planrt::Engine engine =
        tensorrt.load(runtime, "profiles 2\nmemory 4096\ninput x 0 -1,4 1,4 2,4 8,4\noutput y 0 -1,4\nrefuses enqueueV3\n");
    planrt::Session session(engine);
    const std::vector<float> x(4);
    for (int i = 0; i < 3; ++i)
        expect(planrt::ErrorCode::tensorrt, "refuses", [&] { session.run({planrt::Tensor::input("x", x, {1, 4})}, {}); });
}

}  // namespace

int main(int argc, char** argv) {
    on_each(doubles(argc, argv), {{"batches", batches},
                                  {"together", together},
                                  {"contexts", contexts},
                                  {"refuses", refuses},
                                  {"fails", fails}});
    return 0;
}
