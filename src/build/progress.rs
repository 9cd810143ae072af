//! What the application hears of a build, and how it ends one.

use crate::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tensorrt_sys::{Progress, ProgressMonitor};

/// How far a phase of a build is.
pub struct Step<'a> {
    pub phase: &'a str,
    /// The phase that it is part of.
    pub parent: Option<&'a str>,
    pub done: i32,
    pub steps: i32,
}

/// Whether the build is to go on. Called from TensorRT's threads too, one at a time.
pub type Callback = Arc<dyn Fn(&Step<'_>) -> bool + Send + Sync>;

struct Phase {
    name: String,
    parent: Option<String>,
    steps: i32,
}

pub struct Watch {
    callback: Option<Callback>,
    phases: Mutex<Vec<Phase>>,
    cancelled: AtomicBool,
}

impl Watch {
    pub fn new(callback: Option<Callback>) -> Self {
        Self { callback, phases: Mutex::default(), cancelled: AtomicBool::new(false) }
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// A phase of one step.
    pub fn step<R>(&self, phase: &str, work: impl FnOnce() -> crate::error::Result<R>) -> crate::error::Result<R> {
        let at = |done| Step { phase, parent: None, done, steps: 1 };
        if !self.tell(&at(0)) {
            return Err(super::cancelled());
        }
        let result = work()?;
        if !self.tell(&at(1)) {
            return Err(super::cancelled());
        }
        Ok(result)
    }

    fn tell(&self, step: &Step<'_>) -> bool {
        if !self.is_cancelled()
            && let Some(callback) = &self.callback
            && !callback(step)
        {
            self.cancelled.store(true, Ordering::Relaxed);
        }
        !self.is_cancelled()
    }

    /// `done` steps of a phase that has begun; all of them for none.
    fn reach(&self, phase: &str, done: Option<i32>) -> bool {
        let phases = self.phases.lock();
        let Some(Phase { parent, steps, .. }) = phases.iter().rev().find(|known| known.name == phase) else {
            return !self.is_cancelled();
        };
        self.tell(&Step { phase, parent: parent.as_deref(), done: done.unwrap_or(*steps), steps: *steps })
    }
}

struct Listener(Arc<Watch>);

impl Progress for Listener {
    fn phase_start(&self, phase: &str, parent: Option<&str>, steps: i32) {
        self.0.phases.lock().push(Phase { name: phase.to_owned(), parent: parent.map(str::to_owned), steps });
        self.0.reach(phase, Some(0));
    }

    fn step_complete(&self, phase: &str, step: i32) -> bool {
        self.0.reach(phase, Some(step.saturating_add(1)))
    }

    fn phase_finish(&self, phase: &str) {
        // A build that was ended does not get to its end.
        if !self.0.is_cancelled() {
            self.0.reach(phase, None);
        }
        let mut phases = self.0.phases.lock();
        if let Some(index) = phases.iter().rposition(|known| known.name == phase) {
            phases.remove(index);
        }
    }
}

pub fn monitor(watch: &Arc<Watch>) -> Arc<ProgressMonitor> {
    ProgressMonitor::new(Box::new(Listener(Arc::clone(watch))))
}
