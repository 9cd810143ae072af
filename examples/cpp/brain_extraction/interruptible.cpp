#include "interruptible.hpp"

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <future>

namespace {

// All that a signal handler may touch.
volatile std::sig_atomic_t interrupted = 0;

class InterruptHandler {
public:
    InterruptHandler() {
        interrupted = 0;
        previous_ = std::signal(SIGINT, [](int) { interrupted = 1; });
    }
    ~InterruptHandler() { std::signal(SIGINT, previous_); }
    InterruptHandler(const InterruptHandler&) = delete;
    InterruptHandler& operator=(const InterruptHandler&) = delete;

private:
    void (*previous_)(int);
};

/// A line that is overwritten and in the end wiped out; nothing where stderr is not a terminal.
class ProgressLine {
public:
    void show(std::chrono::seconds elapsed, bool cancelling) {
        if (terminal_) {
            std::fprintf(stderr, "\r%s %lld s ", cancelling ? "cancelling" : "running the network",
                         static_cast<long long>(elapsed.count()));
        }
    }
    ~ProgressLine() {
        if (terminal_) {
            std::fputs("\r\33[K", stderr);
        }
    }

private:
    bool terminal_ = isatty(STDERR_FILENO) != 0;
};

}  // namespace

void run_interruptibly(const std::function<void()>& work, const std::function<void()>& cancel) {
    using namespace std::chrono;
    const InterruptHandler handler;
    ProgressLine progress;
    bool cancelling = false;
    const auto start = steady_clock::now();
    std::future<void> running = std::async(std::launch::async, work);
    while (running.wait_for(milliseconds(100)) != std::future_status::ready) {
        if (interrupted && !cancelling) {
            cancelling = true;
            cancel();
        }
        progress.show(duration_cast<seconds>(steady_clock::now() - start), cancelling);
    }
    running.get();
}
