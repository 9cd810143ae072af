//! The threads of a session: one for each instance, one for callbacks and time-outs, and one for copies where a request
//! asks for it.

use super::callbacks::Served;
use super::dispatcher::Dispatcher;
use crate::error::{Code, Error, Result};
use crate::panic::catch;
use crate::process;
use crate::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub struct Threads {
    /// Whether callbacks wait for a thread that the application lends.
    pumped: bool,
    workers: Mutex<Vec<JoinHandle<()>>>,
    callbacks: Mutex<Option<JoinHandle<()>>>,
    copies: Mutex<Option<JoinHandle<()>>>,
}

impl Threads {
    pub fn new(pumped: bool) -> Self {
        Self { pumped, workers: Mutex::default(), callbacks: Mutex::default(), copies: Mutex::default() }
    }

    pub fn are_pumped(&self) -> bool {
        self.pumped
    }

    /// Starts the threads that every session has. After an error those that were started wait for the end.
    pub fn start(&self, dispatcher: &Arc<Dispatcher>, instances: usize) -> Result<()> {
        for number in 0..instances {
            let shared = dispatcher.clone();
            self.workers.lock().push(spawn(format!("planrt-worker-{number}"), move || shared.work())?);
        }
        let (shared, pumped) = (dispatcher.clone(), self.pumped);
        *self.callbacks.lock() = Some(spawn("planrt-callback".to_owned(), move || attend(&shared, pumped))?);
        Ok(())
    }

    /// Starts the thread for copies, if it is not there.
    pub fn start_copies(&self, dispatcher: &Arc<Dispatcher>) -> Result<()> {
        let mut copies = self.copies.lock();
        if copies.is_none() {
            let shared = dispatcher.clone();
            *copies = Some(spawn("planrt-copy".to_owned(), move || shared.copies.work())?);
        }
        Ok(())
    }

    /// Ends the work of a session: what waits is refused, what runs is finished, answers are given and callbacks are made.
    pub fn close(&self, dispatcher: &Dispatcher) {
        dispatcher.close();
        let workers = std::mem::take(&mut *self.workers.lock());
        workers.into_iter().for_each(|worker| _ = worker.join());
        let instances = dispatcher.wait_until_idle();
        let _ = catch(move || drop(instances));
        dispatcher.copies.close();
        join(&self.copies);
        let inside = dispatcher.callbacks.is_calling();
        dispatcher.callbacks.close();
        // The thread that is in a callback ends when that has returned.
        if self.pumped || !inside {
            join(&self.callbacks);
        }
    }
}

/// Waits for the end of a thread, if it was started and nobody else does.
fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    let thread = thread.lock().take();
    // Whatever ended it was made good where it happened.
    let _ = thread.map(JoinHandle::join);
}

/// What the session's own thread for callbacks and time-outs does.
fn attend(dispatcher: &Dispatcher, pumped: bool) {
    loop {
        match dispatcher.callbacks.serve(!pumped, true, None) {
            Served::Closed => return,
            Served::Alarm => {
                if let Err(error) = catch(|| dispatcher.refuse_late()) {
                    dispatcher.break_down(&error);
                }
            }
            Served::Callback | Served::Nothing => {}
        }
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    process::thread::spawn(name, work).map_err(|error| {
        Error::new(Code::OutOfMemory, "a thread for the session could not be started").with_detail(error.to_string())
    })
}
