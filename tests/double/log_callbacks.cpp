// The log callback: what may be called inside it, and when it ends.

#include "doubles.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

namespace {

using namespace std::chrono_literals;

std::string plan_of(const std::string& words) {
    return "name copy\nprofiles 3\nmemory 4096\ninput x 0 -1,4 1,4 2,4 8,4\noutput y 0 -1,4\ncopies\n" + words;
}

// What the application's callback is given. It does what it is told to, and may not be called once it is over.
struct Log {
    std::function<void(const std::string&)> hears;
    std::atomic<bool> listens{false};
    std::atomic<bool> over{false};
    std::atomic<int> inside{0};
    std::atomic<int> lines{0};

    static void callback(void* user_data, planrt_log_level, const char* message) {
        Log& log = *static_cast<Log*>(user_data);
        CHECK(!log.over);
        ++log.inside;
        ++log.lines;
        if (log.listens) log.hears(message);
        CHECK(!log.over || log.inside == 1);
        --log.inside;
    }

    planrt_runtime* runtime(const Double& tensorrt) {
        planrt_runtime_options* options = nullptr;
        OK(planrt_runtime_options_new(&options));
        OK(planrt_runtime_options_set_tensorrt_path(options, tensorrt.path.c_str()));
        OK(planrt_runtime_options_set_log(options, &callback, this, nullptr, PLANRT_LOG_DEBUG));
        planrt_runtime* runtime = nullptr;
        OK(planrt_runtime_new(options, &runtime));
        planrt_runtime_options_delete(options);
        return runtime;
    }
};

planrt_error* try_load(const Double& tensorrt, planrt_runtime* runtime, const std::string& lines, planrt_engine** engine) {
    const std::string data = tensorrt.plan(lines);
    return planrt_engine_load_memory(runtime, data.data(), data.size(), nullptr, engine);
}

planrt_engine* load(const Double& tensorrt, planrt_runtime* runtime, const std::string& lines) {
    planrt_engine* engine = nullptr;
    OK(try_load(tensorrt, runtime, lines, &engine));
    return engine;
}

planrt_context* new_context(planrt_engine* engine) {
    planrt_context* context = nullptr;
    OK(planrt_context_new(engine, &context));
    return context;
}

planrt_session* new_session(const planrt_engine* engine) {
    planrt_session* session = nullptr;
    OK(planrt_session_new(&engine, 1, nullptr, &session));
    return session;
}

// A request of so many items, and where its answer goes.
struct Work {
    std::vector<float> from, to;
    planrt_tensor x{}, y{};

    explicit Work(int64_t items) : from(static_cast<size_t>(4 * items), 1.5f), to(from.size()) {
        x.struct_size = y.struct_size = sizeof x;
        x.name = "x";
        y.name = "y";
        x.input_data = from.data();
        y.output_data = to.data();
        x.size_bytes = y.size_bytes = from.size() * sizeof(float);
        x.element_type = y.element_type = PLANRT_FLOAT32;
        x.rank = 2;
        x.shape[0] = items;
        x.shape[1] = 4;
    }

    planrt_error* run(planrt_context* context) { return planrt_context_run(context, &x, 1, &y, 1); }
    planrt_error* run(planrt_session* session) { return planrt_session_run(session, &x, 1, &y, 1, nullptr); }
    planrt_error* submit(planrt_session* session, planrt_request** request, const planrt_request_options* options = nullptr) {
        return planrt_session_submit(session, &x, 1, &y, 1, options, request);
    }
};

void refused(planrt_error* error) {
    CHECK(planrt_error_get_code(error) == PLANRT_ERROR_IN_USE);
    CHECK(holds(planrt_error_get_message(error), "inside its log callback"));
    planrt_error_delete(error);
}

// Waits for what is done by another thread.
void until(const std::function<bool()>& done) {
    for (int i = 0; i < 5000 && !done(); ++i) std::this_thread::sleep_for(1ms);
    CHECK(done());
}

// Nothing of TensorRT's and of the driver's is left: for what planrt's own threads delete last.
bool gone(const Double& tensorrt) { return tensorrt.alive() == 0 && cuda_alive() == 0; }

// Inside the callback calls that may wait are refused at once, and those that cannot fail work, whichever call a line comes
// from and whichever thread.
void calls_inside(const Double& tensorrt) {
    Log log;
    planrt_runtime* runtime = log.runtime(tensorrt);
    planrt_engine* engine = load(tensorrt, runtime, plan_of("talks\nchatters\n"));
    planrt_context* context = new_context(engine);
    planrt_session* session = new_session(engine);
    planrt_request* request = nullptr;
    Work work(1), other(7);
    OK(work.submit(session, &request));
    OK(planrt_request_wait(request, -1, nullptr));
    log.hears = [&](const std::string&) {
        planrt_engine* no_engine = nullptr;
        planrt_request* no_request = nullptr;
        char* text = nullptr;
        planrt_engine* const* engines = &engine;
        planrt_session* no_session = nullptr;
        refused(other.submit(session, &no_request));
        refused(other.run(session));
        refused(other.run(context));
        refused(planrt_session_new(engines, 1, nullptr, &no_session));
        refused(planrt_request_wait(request, -1, nullptr));
        refused(planrt_runtime_describe(runtime, &text));
        refused(planrt_doctor(nullptr, nullptr, &text, nullptr));
        refused(try_load(tensorrt, runtime, plan_of(""), &no_engine));
        CHECK(!no_engine && !no_request && !text && !no_session);
        CHECK(std::string(planrt_engine_get_name(engine)) == "copy");
        CHECK(planrt_request_poll(request));
        planrt_request_cancel(request);
        planrt_context_cancel(nullptr);
    };
    log.listens = true;
    const int before = log.lines;
    planrt_engine* another = load(tensorrt, runtime, plan_of("talks\n"));
    planrt_context* sibling = new_context(another);
    for (int64_t items = 1; items < 8; ++items) {
        Work some(items);
        OK(some.run(sibling));
        OK(some.run(session));
        CHECK(some.from == some.to);
    }
    CHECK(log.lines > before + 10);
    log.listens = false;
    until([&] { return log.inside == 0; });
    planrt_request_delete(request);
    planrt_context_delete(sibling);
    planrt_engine_delete(another);
    planrt_session_delete(session);
    planrt_context_delete(context);
    planrt_engine_delete(engine);
    planrt_runtime_delete(runtime);
    log.over = true;
}

// A handle may be deleted inside the callback, also the one that the call is about: what is left is done when the call ends.
void deletes_inside(const Double& tensorrt) {
    for (const std::string where : {"setInputShape", "enqueueV3"}) {
        Log log;
        planrt_runtime* runtime = log.runtime(tensorrt);
        planrt_engine* engine = load(tensorrt, runtime, plan_of("talks\n"));
        planrt_context* context = new_context(engine);
        bool deleted = false;
        log.hears = [&](const std::string& line) {
            if (deleted || !holds(line, where)) return;
            deleted = true;
            planrt_context_delete(context);
            planrt_engine_delete(engine);
            planrt_runtime_delete(runtime);
            // That was the last: only this callback is left.
            log.over = true;
        };
        log.listens = true;
        Work work(3);
        OK(work.run(context));
        CHECK(deleted && work.from == work.to);
        CHECK(tensorrt.alive() == 0);
    }
    // The call goes on with the session that is deleted meanwhile, and ends with it.
    for (const std::string where : {"setInputShape", "enqueueV3"}) {
        Log log;
        planrt_runtime* runtime = log.runtime(tensorrt);
        planrt_engine* engine = load(tensorrt, runtime, plan_of("talks\n"));
        planrt_session* session = new_session(engine);
        std::atomic<bool> deleted{false};
        log.hears = [&](const std::string& line) {
            if (!holds(line, where) || deleted.exchange(true)) return;
            planrt_session_delete(session);
        };
        log.listens = true;
        for (int64_t items = 1; items < 8 && !deleted; ++items) {
            Work work(items);
            planrt_request* request = nullptr;
            planrt_error* error = work.submit(session, &request);
            if (error == nullptr) error = planrt_request_wait(request, -1, nullptr);
            if (error != nullptr) CHECK(planrt_error_get_code(error) == PLANRT_ERROR_SHUT_DOWN);
            planrt_error_delete(error);
            planrt_request_delete(request);
        }
        if (!deleted) planrt_session_delete(session);
        planrt_engine_delete(engine);
        planrt_runtime_delete(runtime);
        // On a thread of the session's it is a thread of planrt's that ends the session.
        until([&] { return gone(tensorrt); });
        log.over = true;
    }
    // A runtime inside its first call.
    Log log;
    planrt_runtime* runtime = log.runtime(tensorrt);
    bool deleted = false;
    log.hears = [&](const std::string&) {
        if (deleted) return;
        deleted = true;
        planrt_runtime_delete(runtime);
        log.over = true;
    };
    log.listens = true;
    OK(planrt_runtime_load_tensorrt(runtime));
    CHECK(deleted);
}

// The same on a thread of TensorRT's, for which the engine waits when it goes.
void deletes_elsewhere(const Double& tensorrt) {
    Log log;
    planrt_runtime* runtime = log.runtime(tensorrt);
    planrt_engine* engine = load(tensorrt, runtime, plan_of("chatters\n"));
    planrt_session* session = new_session(engine);
    std::atomic<bool> deleted{false};
    log.hears = [&](const std::string&) {
        planrt_session_delete(session);
        planrt_engine_delete(engine);
        planrt_runtime_delete(runtime);
        log.over = true;
        deleted = true;
    };
    log.listens = true;
    until([&] { return deleted && gone(tensorrt); });
}

// After the last delete nothing is told, while a thread of TensorRT's does not stop to talk; also where the last delete is
// inside the callback of a request, whose thread is the last to let go.
void ends(const Double& tensorrt) {
    for (int round = 0; round < 18; ++round) {
        Log log;
        planrt_runtime* runtime = log.runtime(tensorrt);
        planrt_engine* engine = load(tensorrt, runtime, plan_of("talks\nchatters\n"));
        planrt_session* session = new_session(engine);
        planrt_context* context = round % 3 == 0 ? new_context(engine) : nullptr;
        const auto end = [&] {
            planrt_runtime_delete(runtime);
            if (round % 2 == 0) planrt_context_delete(context);
            planrt_session_delete(session);
            planrt_engine_delete(engine);
            if (round % 2 != 0) planrt_context_delete(context);
            CHECK(log.inside == 0);
            log.over = true;
        };
        Work work(2);
        if (round % 3 == 1) {
            std::function<void()> call = end;
            planrt_request_options options{};
            options.struct_size = sizeof options;
            options.user_data = &call;
            options.callback = [](void* user_data, const planrt_error*) {
                (*static_cast<std::function<void()>*>(user_data))();
            };
            OK(work.submit(session, nullptr, &options));
            until([&] { return log.over.load(); });
        } else {
            OK(work.run(session));
            end();
        }
        until([&] { return gone(tensorrt); });
    }
}

// One runtime's last handle goes inside another one's callback: the threads that are in its own are waited for. Two that
// end each other this way do not wait for each other.
void each_other(const Double& tensorrt) {
    {
        Log log, other;
        planrt_runtime* runtime = log.runtime(tensorrt);
        planrt_runtime* second = other.runtime(tensorrt);
        planrt_engine* chatters = load(tensorrt, second, plan_of("chatters\n"));
        planrt_engine* engine = load(tensorrt, runtime, plan_of("talks\n"));
        bool deleted = false;
        other.hears = [](const std::string&) { std::this_thread::sleep_for(2ms); };
        other.listens = true;
        until([&] { return other.inside == 1; });
        log.hears = [&](const std::string&) {
            if (deleted) return;
            deleted = true;
            planrt_runtime_delete(second);
            planrt_engine_delete(chatters);
            CHECK(other.inside == 0);
            other.over = true;
        };
        log.listens = true;
        planrt_context_delete(new_context(engine));
        CHECK(deleted);
        planrt_engine_delete(engine);
        planrt_runtime_delete(runtime);
    }
    Log logs[2];
    planrt_runtime* runtimes[2];
    planrt_engine* engines[2];
    std::atomic<int> inside{0}, done{0};
    for (int i = 0; i < 2; ++i) {
        runtimes[i] = logs[i].runtime(tensorrt);
        engines[i] = load(tensorrt, runtimes[i], plan_of("chatters\n"));
    }
    std::once_flag once[2];
    for (int i = 0; i < 2; ++i) {
        logs[i].hears = [&, i](const std::string&) {
            std::call_once(once[i], [&] {
                ++inside;
                until([&] { return inside == 2; });
                planrt_engine_delete(engines[1 - i]);
                planrt_runtime_delete(runtimes[1 - i]);
                ++done;
            });
        };
        logs[i].listens = true;
    }
    until([&] { return done == 2 && gone(tensorrt); });
}

}  // namespace

int main(int argc, char** argv) {
    on_each(doubles(argc, argv), {{"calls inside", calls_inside},
                                  {"deletes inside", deletes_inside},
                                  {"deletes on a thread of TensorRT's", deletes_elsewhere},
                                  {"the end of a log", ends},
                                  {"logs that end each other", each_other}});
    return 0;
}
