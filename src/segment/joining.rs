//! Waiting until threads have ended, but not for one that waits for this one: callbacks of two segmenters may delete each other's.

use crate::sync::Mutex;
use std::thread::{JoinHandle, ThreadId, current};

/// Threads, and the one that each waits for.
static WAITING: Mutex<Vec<(ThreadId, ThreadId)>> = Mutex::new(Vec::new());

/// Waits for a thread's end, if that can come while this one waits.
pub fn join(thread: JoinHandle<()>) {
    let (this, that) = (current().id(), thread.thread().id());
    {
        let mut waiting = WAITING.lock();
        let mut last = that;
        while last != this
            && let Some((_, next)) = waiting.iter().find(|(waits, _)| *waits == last)
        {
            last = *next;
        }
        if last == this {
            return;
        }
        waiting.push((this, that));
    }
    // A panic in it has been answered.
    let _ = thread.join();
    WAITING.lock().retain(|(waits, _)| *waits != this);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread::spawn;
    use std::time::Duration;

    /// Each of three threads waits for the next, the last one for the first.
    #[test]
    fn threads_that_wait_in_a_circle_end() {
        for round in 0..20 {
            let (over, is_over) = channel();
            let (handles, threads): (Vec<_>, Vec<_>) = (0..3)
                .map(|_| {
                    let (to, from) = channel::<JoinHandle<()>>();
                    let over = over.clone();
                    let wait = move || {
                        join(from.recv().unwrap());
                        over.send(()).unwrap();
                    };
                    (to, spawn(wait))
                })
                .unzip();
            for (i, thread) in threads.into_iter().enumerate() {
                handles[(i + 2) % 3].send(thread).unwrap();
            }
            for _ in 0..3 {
                assert!(
                    is_over.recv_timeout(Duration::from_secs(60)).is_ok(),
                    "round {round}: they wait for each other"
                );
            }
        }
        // And for one that does not wait at all.
        let (over, is_over) = channel();
        join(spawn(move || over.send(()).unwrap()));
        assert!(is_over.try_recv().is_ok());
    }
}
