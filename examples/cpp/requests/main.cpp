// Requests to a session, asynchronously: a queue of work that is under way at once, answers as they come, and Ctrl-C, which
// gives up what is left.
//
// C++17, and nothing but planrt. What an application would write is in Work and run(): who owns the memory of a request, and
// how its end is heard of.

#include <planrt.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr const char* usage =
    "usage: requests MODEL [COUNT]\n"
    "\n"
    "MODEL is a TensorRT plan or an ONNX file; COUNT requests with zeros are made (default 20).\n"
    "Ctrl-C gives up what has not run.\n";

// All that a signal handler may touch.
volatile std::sig_atomic_t interrupted = 0;

/// The memory of one request, and the request itself. The request is the last member, so it is destroyed first: should it
/// still be under way then, it is cancelled, and waited for, before its memory goes.
struct Work {
    std::vector<std::vector<unsigned char>> memory;
    std::vector<planrt::Tensor> inputs;
    std::vector<planrt::Tensor> outputs;
    planrt::Request request;
};

/// Memory for one request, with shapes that the model takes: 1, or what a plan was tuned for, where it leaves them open.
std::unique_ptr<Work> prepare(const planrt::Engine& engine) {
    auto work = std::make_unique<Work>();
    planrt::Context context(engine);  // says the outputs' sizes
    for (const planrt::TensorInfo& tensor : engine.tensors()) {
        planrt::Shape shape = tensor.shape;
        if (tensor.role == planrt::TensorRole::input) {
            for (std::size_t axis = 0; axis < shape.size(); ++axis) {
                if (shape[axis] < 0) {
                    shape[axis] = engine.profile_count() > 0 ? engine.profile_shape(0, tensor.name).opt[axis] : 1;
                }
            }
            context.set_shape(tensor.name, shape);
        }
        work->memory.emplace_back(context.size(tensor.name));  // inputs come first: all shapes are set for the outputs
        std::vector<unsigned char>& memory = work->memory.back();
        if (tensor.role == planrt::TensorRole::input) {
            work->inputs.push_back(planrt::Tensor::input(tensor.name, static_cast<const void*>(memory.data()),
                                                         memory.size(), tensor.element_type, shape));
        } else {
            work->outputs.push_back(planrt::Tensor::output(tensor.name, static_cast<void*>(memory.data()), memory.size(),
                                                           tensor.element_type));
        }
    }
    return work;
}

bool run(const planrt::Engine& engine, int count) {
    planrt::SessionOptions session_options;
    session_options.when_full = planrt::WhenFull::block;  // submit() waits for room in the queue
    const planrt::Session session(engine, session_options);
    std::atomic<int> answered{0};

    const auto start = std::chrono::steady_clock::now();
    std::vector<std::unique_ptr<Work>> all;
    for (int i = 0; i < count && interrupted == 0; ++i) {
        auto work = prepare(engine);
        planrt::RequestOptions options;
        options.timeout = std::chrono::minutes(1);
        options.callback = [&answered](const planrt::Error*) { ++answered; };  // on a thread of the session's
        work->request = session.submit(work->inputs, work->outputs, options);
        all.push_back(std::move(work));
    }
    int good = 0;
    for (const auto& work : all) {
        try {
            while (!work->request.wait(std::chrono::milliseconds(100))) {
                std::fprintf(stderr, "\r%d of %d ", answered.load(), count);
                if (interrupted != 0) {
                    for (const auto& other : all) {
                        other->request.cancel();  // those that are answered stay as they are
                    }
                }
            }
            ++good;
        } catch (const planrt::Error& error) {
            if (error.code() != planrt::ErrorCode::cancelled) {
                throw;  // what is still under way is cancelled as `all` goes
            }
        }
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    const planrt::SessionStatistics statistics = session.statistics();
    std::fprintf(stderr, "\r");
    std::printf("%d of %d requests in %.2f s on %s\n", good, count, elapsed.count(), engine.device_name().c_str());
    std::printf("half took less than %.1f ms, nine in ten less than %.1f ms\n", statistics.total.p50.count() / 1e3,
                statistics.total.p90.count() / 1e3);
    return good == count;
}

}  // namespace

int main(int argc, char** argv) {
    const int count = argc > 2 ? std::atoi(argv[2]) : 20;
    if (argc < 2 || argc > 3 || argv[1][0] == '-' || count < 1) {
        std::fputs(usage, stderr);
        return 2;
    }
    std::signal(SIGINT, [](int) { interrupted = 1; });
    try {
        planrt::RuntimeOptions options;
        options.log = [](planrt::LogLevel, const char* line) { std::fprintf(stderr, "planrt: %s\n", line); };
        const planrt::Runtime runtime(options);
        const auto engine = planrt::Engine::from_file(runtime, argv[1]);
        const bool all = run(engine, count);
        return all ? 0 : interrupted != 0 ? 130 : 1;  // 130: what a shell says of a program that Ctrl-C ended
    } catch (const planrt::Error& error) {
        std::fprintf(stderr, "requests: %s\n%s", error.what(), error.detail().c_str());
    } catch (const std::exception& error) {
        std::fprintf(stderr, "requests: %s\n", error.what());
    }
    return 1;
}
