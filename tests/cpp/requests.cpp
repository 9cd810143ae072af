// Requests in C++: whose the memory is, and when callback and release are called, however a request ends.

#include "cpp_tests.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>

using namespace std::chrono_literals;

static planrt::Engine load(const std::string& model) {
    planrt::EngineOptions options;
    options.cpu_threads = 1;
    return planrt::Engine::from_file(planrt::Runtime(), model, options);
}

// Waits until something is so; it will be, soon.
template <class Condition>
static void until(Condition condition) {
    while (!condition()) std::this_thread::sleep_for(1ms);
}

static void until_running(const planrt::Session& session) {
    until([&] { return session.statistics().running_items > 0; });
}

// What was called for a request.
struct Calls {
    std::atomic<int> answered{0};
    std::atomic<int> released{0};
    std::atomic<int> code{0};

    planrt::RequestOptions options() {
        planrt::RequestOptions options;
        options.callback = [this](const planrt::Error* error) {
            CHECK(released == 0);
            code = error != nullptr ? static_cast<int>(error->code()) : 0;
            ++answered;
        };
        options.release = [this] { ++released; };
        return options;
    }
    bool saw(planrt::ErrorCode expected) const { return code == static_cast<int>(expected); }
};

static void answers() {
    const planrt::Session session(load(small));
    Calls calls;
    SmallWork work;
    const planrt::Request request = session.submit(work.inputs(), work.outputs(), calls.options());
    CHECK((request.output_shape("prob") == planrt::Shape{1, 2, 8, 8, 8}));
    request.wait();
    CHECK(work.is_written() && request.poll() && !request.error());
    until([&] { return calls.released == 1; });
    CHECK(calls.answered == 1 && calls.code == 0);

    SmallWork same;
    session.run(same.inputs(), same.outputs());
    CHECK(same.prob == work.prob);
}

static void waits_for_a_time() {
    const planrt::Session session(load(MODELS "/slow.onnx"));
    SlowWork work;
    const planrt::Request request = session.submit(work.inputs(), work.outputs());
    CHECK(!request.wait(0s) && !request.wait(-5min) && !request.wait(1ns) && !request.wait(1.5us));
    CHECK(!request.wait((std::chrono::nanoseconds::min)()));
    CHECK(request.wait((std::chrono::hours::max)()));
    CHECK(request.wait(std::chrono::duration<double>(0)));

    planrt::RequestOptions late;
    late.timeout = 0us;
    CHECK(fails(planrt::ErrorCode::deadline, [&] { session.run(work.inputs(), work.outputs(), late); }));
    late.timeout = (std::chrono::microseconds::max)();
    session.run(work.inputs(), work.outputs(), late);
}

// The memory goes right after its request: a sanitizer sees who still writes there.
static void leaves_scope_while_it_runs() {
    const planrt::Session session(load(MODELS "/slow.onnx"));
    Calls calls;
    {
        SlowWork work;
        planrt::Request request = session.submit(work.inputs(), work.outputs(), calls.options());
        until_running(session);
    }
    CHECK(session.statistics().running_items == 0);
    CHECK(calls.released == 1);
    const int answered = calls.answered; // before it was destroyed, or not at all
    CHECK(answered == 0 || calls.saw(planrt::ErrorCode::cancelled));
    SlowWork work;
    session.run(work.inputs(), work.outputs());
    CHECK(calls.answered == answered && calls.released == 1);
}

static void leaves_scope_while_it_waits() {
    planrt::SessionOptions options;
    options.contexts = 1;
    options.largest_batch = 1;
    const planrt::Session session(load(MODELS "/slow.onnx"), options);
    SlowWork first;
    planrt::Request running = session.submit(first.inputs(), first.outputs());
    until_running(session);
    Calls calls;
    {
        SlowWork work;
        planrt::Request request = session.submit(work.inputs(), work.outputs(), calls.options());
    }
    CHECK(calls.released == 1 && !running.poll()); // it did not wait for the one that runs
    CHECK(session.statistics().cancelled == 1);
    running.wait();
    CHECK(first.is_written());
}

static void is_assigned_to() {
    const planrt::Session session(load(MODELS "/slow.onnx"));
    Calls first_calls, calls;
    auto first = std::make_unique<SlowWork>();
    SlowWork work;
    planrt::Request request = session.submit(first->inputs(), first->outputs(), first_calls.options());
    until_running(session);
    request = session.submit(work.inputs(), work.outputs(), calls.options());
    first.reset();
    CHECK(first_calls.released == 1 && calls.released == 0);
    planrt::Request moved(std::move(request));
    CHECK(!request && moved);
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] { request.wait(); }));
    moved.wait();
    CHECK(work.is_written());
    planrt::Request& itself = moved;
    moved = std::move(itself);
    CHECK(moved);
}

// Nobody holds the request: its release owns the memory.
static void is_detached() {
    std::atomic<int> answered{0};
    std::weak_ptr<SlowWork> memory;
    const planrt::Session session(load(MODELS "/slow.onnx"));
    {
        auto work = std::make_shared<SlowWork>();
        memory = work;
        planrt::RequestOptions options;
        options.callback = [&answered, memory](const planrt::Error* error) {
            CHECK(error == nullptr && memory.lock()->is_written());
            ++answered;
        };
        options.release = [work] {};
        session.submit(work->inputs(), work->outputs(), std::move(options)).detach();
    }
    CHECK(!memory.expired());
    until([&] { return memory.expired(); });
    CHECK(answered == 1);
}

static void is_refused() {
    planrt::SessionOptions options;
    options.queue_capacity = 1;
    options.contexts = 1;
    options.largest_batch = 1;
    const planrt::Session session(load(MODELS "/slow.onnx"), options);
    SlowWork first, second, third;
    planrt::Request running = session.submit(first.inputs(), first.outputs());
    until_running(session);
    planrt::Request waiting = session.submit(second.inputs(), second.outputs());
    Calls calls;
    CHECK(fails(planrt::ErrorCode::queue_full,
                [&] { return session.submit(third.inputs(), third.outputs(), calls.options()); }));
    CHECK(calls.released == 1 && calls.answered == 0);

    Calls empty_calls;
    CHECK(fails(planrt::ErrorCode::not_found, [&] {
        return session.submit({planrt::Tensor::input("other", third.image, third.shape)}, third.outputs(),
                              empty_calls.options());
    }));
    CHECK(empty_calls.released == 1 && empty_calls.answered == 0);

    // Before the library is asked at all.
    Calls early_calls;
    CHECK(fails(planrt::ErrorCode::invalid_argument, [&] {
        return session.submit({planrt::Tensor::input("image", third.image, planrt::Shape(9, 1))}, third.outputs(),
                              early_calls.options());
    }));
    CHECK(early_calls.released == 1 && early_calls.answered == 0);
    CHECK(fails(planrt::ErrorCode::invalid_argument,
                [&] { session.run(third.inputs(), third.outputs(), early_calls.options()); }));
}

static void is_cancelled() {
    const planrt::Session session(load(MODELS "/slow.onnx"));
    Calls calls;
    SlowWork work;
    const planrt::Request request = session.submit(work.inputs(), work.outputs(), calls.options());
    request.cancel();
    CHECK(fails(planrt::ErrorCode::cancelled, [&] { request.wait(); }));
    CHECK(request.error() && request.error()->code() == planrt::ErrorCode::cancelled);
    until([&] { return calls.released == 1; });
    CHECK(calls.answered == 1 && calls.saw(planrt::ErrorCode::cancelled));
}

static void outlives_its_session() {
    planrt::SessionOptions options;
    options.contexts = 1;
    options.largest_batch = 1;
    Calls running_calls, waiting_calls, detached_calls;
    SlowWork first, second, third;
    planrt::Request running, waiting;
    {
        const planrt::Session session(load(MODELS "/slow.onnx"), options);
        running = session.submit(first.inputs(), first.outputs(), running_calls.options());
        until_running(session);
        waiting = session.submit(second.inputs(), second.outputs(), waiting_calls.options());
        session.submit(third.inputs(), third.outputs(), detached_calls.options()).detach();
    }
    for (const Calls* calls : {&running_calls, &waiting_calls, &detached_calls}) {
        CHECK(calls->answered == 1 && calls->released == 1);
    }
    CHECK(running_calls.code == 0 && first.is_written());
    CHECK(waiting_calls.saw(planrt::ErrorCode::shut_down) && detached_calls.saw(planrt::ErrorCode::shut_down));
    running.wait();
    CHECK(fails(planrt::ErrorCode::shut_down, [&] { waiting.wait(); }));
}

static void throws_in_its_callback() {
    const planrt::Session session(load(small));
    std::atomic<int> thrown_in{0};
    SmallWork work;
    planrt::RequestOptions options;
    options.callback = [&](const planrt::Error*) {
        ++thrown_in;
        throw std::runtime_error("dropped");
    };
    options.release = [&] {
        ++thrown_in;
        throw std::runtime_error("dropped as well");
    };
    const planrt::Request request = session.submit(work.inputs(), work.outputs(), options);
    until([&] { return thrown_in == 2; });
    session.run(work.inputs(), work.outputs());
}

// A callback may end what called it: its own request, the others and the session.
static void is_destroyed_in_its_callback() {
    for (const bool with_session : {false, true}) {
        Calls other_calls;
        SmallWork work, other_work;
        std::atomic<bool> done{false};
        auto session = std::make_unique<planrt::Session>(load(small));
        std::optional<planrt::Request> request, other;
        std::atomic<bool> is_set{false};
        planrt::RequestOptions options;
        options.callback = [&](const planrt::Error* error) {
            until([&] { return is_set.load(); });
            CHECK(error == nullptr && work.is_written());
            request.reset();
            other.reset();
            CHECK(other_calls.released == 1);
            if (with_session) session.reset();
        };
        options.release = [&] { done = true; };
        request = session->submit(work.inputs(), work.outputs(), options);
        other = session->submit(other_work.inputs(), other_work.outputs(), other_calls.options());
        is_set = true;
        until([&] { return done.load(); });
        CHECK(!request && !other);
    }
}

// Whoever destroys a request whose callback is under way on another thread waits for it.
static void is_destroyed_beside_its_callback() {
    const planrt::Session session(load(small));
    std::atomic<bool> entered{false}, returned{false};
    SmallWork work;
    {
        planrt::RequestOptions options;
        options.callback = [&](const planrt::Error*) {
            entered = true;
            std::this_thread::sleep_for(50ms);
            returned = true;
        };
        planrt::Request request = session.submit(work.inputs(), work.outputs(), options);
        until([&] { return entered.load(); });
    }
    CHECK(returned);
}

static void is_pumped() {
    planrt::SessionOptions options;
    options.pumped = true;
    const planrt::Session session(load(small), options);
    SmallWork work;
    Calls calls;
    const planrt::Request request = session.submit(work.inputs(), work.outputs(), calls.options());
    request.wait();
    CHECK(calls.answered == 0);
    CHECK(session.pump(1min) == 1);
    CHECK(calls.answered == 1 && calls.released == 1);
    CHECK(session.pump() == 0 && session.pump(-1us) == 0 && session.pump(1ms) == 0);

    Calls dropped;
    {
        const planrt::Request other = session.submit(work.inputs(), work.outputs(), dropped.options());
        other.wait();
    }
    CHECK(dropped.answered == 0 && dropped.released == 1);
    session.pump(1ms);
    CHECK(dropped.answered == 0 && dropped.released == 1);
}

static void is_given_to_the_c_interface() {
    const planrt::Session session(load(small));
    SmallWork work;
    planrt::Request request = session.submit(work.inputs(), work.outputs());
    planrt_request* handle = request.release();
    CHECK(!request && handle != nullptr);
    OK(planrt_request_wait(handle, -1, nullptr));
    CHECK(work.is_written());
    const planrt::Request again = planrt::Request::adopt(handle);
    CHECK(again && again.get() == handle && again.poll());
}

static void says_what_it_did() {
    planrt::SessionOptions options;
    options.when_full = planrt::WhenFull::block;
    const planrt::Session session(load(small), options);
    for (int i = 0; i < 10; ++i) {
        SmallWork work;
        session.run(work.inputs(), work.outputs());
    }
    const planrt::SessionStatistics statistics = session.statistics();
    CHECK(statistics.submitted == 10 && statistics.succeeded == 10 && statistics.items == 10);
    CHECK(statistics.total.p50 > 0us && statistics.total.p50 <= statistics.total.p99);
    CHECK(statistics.batches[1] == 10);
    CHECK(session.describe().find("\"cpu\"") != std::string::npos);
    CHECK(session.metrics_text().find("planrt") != std::string::npos);
}

int main() {
    answers();
    waits_for_a_time();
    leaves_scope_while_it_runs();
    leaves_scope_while_it_waits();
    is_assigned_to();
    is_detached();
    is_refused();
    is_cancelled();
    outlives_its_session();
    throws_in_its_callback();
    is_destroyed_in_its_callback();
    is_destroyed_beside_its_callback();
    is_pumped();
    is_given_to_the_c_interface();
    says_what_it_did();
}
