//! What the application hears of a build, and how it ends one.

use crate::backend::tensorrt::listen;
use crate::sync::Mutex;
use std::cell::RefCell;
use std::rc::Rc;
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

    /// A phase of which TensorRT tells nothing but its lines, in which it names the layers that it times: how far it has got follows from
    /// where these stand among the network's. Each of them is a phase within this one.
    pub fn timed<R>(
        self: &Arc<Self>,
        phase: &'static str,
        layers: Vec<String>,
        work: impl FnOnce() -> crate::error::Result<R>,
    ) -> crate::error::Result<R> {
        let steps = i32::try_from(layers.len()).unwrap_or(i32::MAX).max(1);
        if !self.tell(&Step { phase, parent: None, done: 0, steps }) {
            return Err(super::cancelled());
        }
        let timing = RefCell::new(Timing { layers, reached: 0, layer: None });
        let watch = Arc::clone(self);
        let hear = move |line: &str| {
            // TensorRT may log while the callback is at work.
            let Ok(mut timing) = timing.try_borrow_mut() else { return };
            let Some((before, layer)) = timing.take(line) else { return };
            let within = |layer: &str, done| watch.tell(&Step { phase: layer, parent: Some(phase), done, steps: 1 });
            if let Some(before) = before {
                within(&before, 1);
            }
            watch.tell(&Step { phase, parent: None, done: timing.reached.min(steps - 1), steps });
            within(&layer, 0);
        };
        let result = listen(Rc::new(hear), work)?;
        if !self.tell(&Step { phase, parent: None, done: steps, steps }) {
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

/// What is known of a build by its lines.
struct Timing {
    /// The names of the network's layers, in order.
    layers: Vec<String>,
    /// How many of them lie before the one that is timed.
    reached: i32,
    layer: Option<String>,
}

impl Timing {
    /// The layer that was timed before, and the one that is timed from this line on.
    fn take(&mut self, line: &str) -> Option<(Option<String>, String)> {
        // "--------------- Timing Runner: conv_1 + relu_1 (CaskConvolution)"
        let (_, runner) = line.split_once("Timing Runner: ")?;
        let layer = runner.rsplit_once(" (").map_or(runner, |(layer, _)| layer);
        // What is between layers of other layouts belongs to none.
        if layer.starts_with("Optimizer Reformat") || self.layer.as_deref() == Some(layer) {
            return None;
        }
        // A layer of the plan is made of several of the network's, and its name of theirs.
        let is_within = |name: &String| !name.is_empty() && layer.contains(name.as_str());
        let last = self.layers.iter().rposition(is_within).and_then(|last| i32::try_from(last).ok());
        self.reached = self.reached.max(last.unwrap_or(0));
        Some((self.layer.replace(layer.to_owned()), layer.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::tensorrt::add;
    use tensorrt_sys::Severity;

    #[test]
    fn the_lines_of_a_build_tell_how_far_it_is() {
        let heard = Arc::new(Mutex::<Vec<String>>::default());
        let told = Arc::clone(&heard);
        let callback: Callback = Arc::new(move |step: &Step<'_>| {
            let Step { phase, parent, done, steps } = step;
            told.lock().push(format!("{}{phase} {done}/{steps}", parent.map_or("", |_| "- ")));
            true
        });
        let watch = Arc::new(Watch::new(Some(callback)));
        let layers = ["conv_1", "norm_1", "conv_10", ""].map(str::to_owned).to_vec();
        let lines = [
            "*************** Autotuning format combination: Float(24,6,1) -> Half(24,6,1) ***************",
            "--------------- Timing Runner: conv_1 (CaskConvolution)",
            "Tactic: 0x00000000000003e8 Time: 0.258683",
            "--------------- Timing Runner: conv_1 (CudnnConvolution)",
            "--------------- Timing Runner: Optimizer Reformat(x -> conv_10) (Reformat)",
            "--------------- Timing Runner: PWN(norm_1 + conv_10) (PointWiseV2)",
            "--------------- Timing Runner: conv_1 (CaskConvolution)",
        ];
        let done = watch.timed("building", layers, || {
            lines.iter().for_each(|line| _ = add(Severity::Verbose, line));
            Ok(7)
        });
        assert!(done.is_ok_and(|outcome| outcome == 7));
        let wanted = [
            "building 0/4",
            "building 0/4",
            "- conv_1 0/1",
            "- conv_1 1/1",
            "building 2/4",
            "- PWN(norm_1 + conv_10) 0/1",
            "- PWN(norm_1 + conv_10) 1/1",
            "building 2/4",
            "- conv_1 0/1",
            "building 4/4",
        ];
        assert_eq!(*heard.lock(), wanted);
    }

    #[test]
    fn a_build_that_is_ended_meanwhile_gives_nothing() {
        let callback: Callback = Arc::new(|step: &Step<'_>| step.parent.is_none());
        let watch = Arc::new(Watch::new(Some(callback)));
        let done = watch.timed("building", vec!["conv".to_owned()], || {
            add(Severity::Verbose, "Timing Runner: conv (Cask)");
            Ok(())
        });
        assert!(done.is_err() && watch.is_cancelled());
    }
}
