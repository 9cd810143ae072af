// Runs long work while the terminal stays alive: Ctrl-C cancels it, and a line counts the seconds.

#pragma once

#include <functional>

/// Runs `work` on a thread of its own and returns when it has ended, with what it threw. On Ctrl-C calls `cancel` once,
/// from another thread than the work's, and waits on.
void run_interruptibly(const std::function<void()>& work, const std::function<void()>& cancel);
