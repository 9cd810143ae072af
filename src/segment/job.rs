//! One volume's way through a segmenter, as its owner and its thread see it.

use super::labels::LabelMap;
use super::lent::Lent;
use super::scores::ScoresAsked;
use super::shared::Elements;
use crate::error::{Code, Error, Result};
use crate::schedule::Request;
use crate::sync::{Condvar, Mutex, this_thread};
use crate::volume::grid::{Box3, Grid};
use crate::volume::image::Description;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Called with tiles that are done, and how many there are; false ends the job.
pub type Progress = Box<dyn FnMut(usize, usize) -> bool + Send>;

/// Called once with the outcome.
pub type Callback = Box<dyn FnOnce(&Result<()>) + Send>;

/// The most bytes that a job takes of the host's memory, and of a GPU's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    pub memory: Option<u64>,
    pub device_memory: Option<u64>,
}

/// How a volume is to be treated.
#[derive(Default)]
pub struct Treatment {
    pub priority: i32,
    /// From now on.
    pub timeout: Option<Duration>,
    /// Whether a network may give what is no number.
    pub nan_allowed: bool,
    pub budget: Budget,
    pub progress: Option<Progress>,
    pub callback: Option<Callback>,
}

/// A volume to be segmented, and where its labels go.
pub struct Order {
    pub memory: Lent,
    pub volume: Volume,
    pub labels: LabelMap,
    pub scores: Option<ScoresAsked>,
    /// The part of the scan that is worked on; all of it where absent.
    pub region: Option<Box3>,
    pub treatment: Treatment,
}

/// Where a volume's voxels lie, in the body and in memory.
#[derive(Clone, Debug)]
pub struct Volume {
    pub grid: Grid,
    pub scan: Description,
    /// Whether its directions need not be orthonormal.
    pub any_direction: bool,
}

impl Volume {
    /// Where its voxels are, in memory that begins there.
    pub fn elements(&self, memory: usize) -> Elements {
        let Description { element_type, channels, extents, first, strides, .. } = self.scan;
        let axes: Vec<_> = [channels].into_iter().chain(extents).zip(strides).collect();
        Elements::new(memory as i128 + first as i128, element_type.size(), &axes)
    }

    /// A part of it, as if the scan had no more.
    pub fn part(&self, part: &Box3) -> Result<Self> {
        let outside = || {
            let message = format!(
                "no region of {:?} voxels from {:?} on lies within a volume of {:?}",
                part.extents, part.start, self.grid.extents
            );
            Error::new(Code::InvalidArgument, message)
        };
        let mut cut = self.clone();
        let mut first = isize::try_from(self.scan.first).map_err(|_| outside())?;
        for axis in 0..3 {
            let (start, extent) = (part.start[axis], part.extents[axis]);
            if extent == 0 || start.checked_add(extent).is_none_or(|end| end > self.grid.extents[axis]) {
                return Err(outside());
            }
            let reach = isize::try_from(start).ok().and_then(|start| self.scan.strides[axis + 1].checked_mul(start));
            first = reach.and_then(|reach| first.checked_add(reach)).ok_or_else(outside)?;
        }
        cut.scan.first = usize::try_from(first).map_err(|_| outside())?;
        cut.scan.extents = part.extents;
        cut.grid.extents = part.extents;
        // The columns are those of x, y and z.
        for (row, place) in cut.grid.origin_mm.iter_mut().enumerate() {
            for axis in 0..3 {
                let along = part.start[axis] as f64 * self.grid.spacing_mm[axis];
                *place += self.grid.direction[row][2 - axis] * along;
            }
        }
        Ok(cut)
    }
}

/// A volume that was submitted. Any thread may use it, several at once.
#[derive(Clone)]
pub struct Job(pub(super) Arc<Shared>);

/// What a job's owner and its thread share.
#[derive(Default)]
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    done: AtomicUsize,
    count: AtomicUsize,
}

#[derive(Default)]
struct State {
    outcome: Option<Result<()>>,
    /// Why it is to end early.
    ending: Option<Code>,
    requests: Vec<Arc<Request>>,
    /// Of each label.
    volumes_ml: Vec<f64>,
    /// The job's, from when it begins.
    thread: Option<usize>,
}

impl Job {
    /// The outcome, if it is there.
    pub fn poll(&self) -> Option<Result<()>> {
        self.0.state.lock().outcome.clone()
    }

    /// Waits for the outcome, so long if a time is given. An error for the job's own thread, which would wait for itself.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Result<()>> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.0.state.lock();
        loop {
            if state.outcome.is_some() {
                return state.outcome.clone();
            }
            if state.thread == Some(this_thread()) {
                let message = "a segmentation's own progress callback waits for it: it would do so for ever";
                return Some(Err(Error::new(Code::InUse, message)));
            }
            match until {
                None => self.0.changed.wait(&mut state),
                Some(until) => {
                    if self.0.changed.wait_until(&mut state, until).timed_out() {
                        return state.outcome.clone();
                    }
                }
            }
        }
    }

    /// Millilitres of the voxels that have a label, once the labels are there.
    pub fn volume_ml(&self, label: u16) -> Result<f64> {
        let state = self.0.state.lock();
        match &state.outcome {
            Some(Ok(())) => Ok(state.volumes_ml.get(usize::from(label)).copied().unwrap_or(0.0)),
            Some(Err(error)) => Err(error.clone()),
            None => Err(Error::new(Code::InUse, "the segmentation is not answered yet: wait for it")),
        }
    }

    /// Tiles that are done, and how many there are: 0 as long as that is not known.
    pub fn progress(&self) -> (usize, usize) {
        // The count is there before the first tile is.
        let done = self.0.done.load(Ordering::Acquire);
        (done, self.0.count.load(Ordering::Acquire))
    }

    /// Gives it up: it is answered when what runs of it has ended.
    pub fn cancel(&self) {
        self.0.end(Code::Cancelled);
    }
}

impl Shared {
    /// The calling thread is the job's.
    pub fn begin(&self) {
        self.state.lock().thread = Some(this_thread());
    }

    /// Has the job end early. One that is answered stays as it is.
    pub fn end(&self, why: Code) {
        let mut state = self.state.lock();
        if state.outcome.is_some() {
            return;
        }
        state.ending.get_or_insert(why);
        let requests = std::mem::take(&mut state.requests);
        drop(state);
        requests.iter().for_each(|request| request.cancel());
    }

    /// An error if the job is to end.
    pub fn check(&self, deadline: Option<Instant>) -> Result<()> {
        let ending = self.state.lock().ending;
        let late = deadline.is_some_and(|deadline| deadline <= Instant::now());
        match ending.or(late.then_some(Code::Deadline)) {
            None => Ok(()),
            Some(why) => Err(self.ended(why)),
        }
    }

    /// A request of the job's that is to be cancelled with it.
    pub fn watch(&self, request: Arc<Request>) {
        let mut state = self.state.lock();
        match state.ending {
            None => state.requests.push(request),
            Some(_) => {
                drop(state);
                request.cancel();
            }
        }
    }

    pub fn unwatch(&self, request: &Arc<Request>) {
        self.state.lock().requests.retain(|watched| !Arc::ptr_eq(watched, request));
    }

    pub fn set_volumes_ml(&self, volumes_ml: Vec<f64>) {
        self.state.lock().volumes_ml = volumes_ml;
    }

    pub fn set_progress(&self, done: usize, count: usize) {
        self.count.store(count, Ordering::Release);
        self.done.store(done, Ordering::Release);
    }

    /// Answers the job; the first answer counts. One that was to end early does so even if all of it was done meanwhile: who gave
    /// it up is not told that it succeeded.
    pub fn answer(&self, mut outcome: Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        if let (Ok(()), Some(why)) = (&outcome, state.ending) {
            outcome = Err(self.ended(why));
        }
        state.requests.clear();
        let outcome = state.outcome.get_or_insert(outcome).clone();
        drop(state);
        self.changed.notify_all();
        outcome
    }

    /// What a job that ended early is answered with.
    fn ended(&self, why: Code) -> Error {
        let (done, count) = (self.done.load(Ordering::Acquire), self.count.load(Ordering::Acquire));
        let how = match why {
            Code::Deadline => "the segmentation's time-out passed",
            Code::ShutDown => "the segmenter was deleted before the segmentation ended",
            _ => "the segmentation was cancelled",
        };
        Error::new(
            why,
            match count {
                0 => format!("{how} before its tiles began"),
                _ => format!("{how}: {done} of {count} tiles were done"),
            },
        )
    }

    /// In the words of the job's own end, where that is why a tile failed.
    pub fn explain(&self, error: Error) -> Error {
        let ending = self.state.lock().ending;
        match (ending, error.code()) {
            (Some(why), Code::Cancelled) => self.ended(why),
            (_, Code::Deadline) => self.ended(Code::Deadline),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_it_up_is_not_told_that_it_succeeded() {
        for why in [Code::Cancelled, Code::ShutDown] {
            let shared = Arc::new(Shared::default());
            shared.set_progress(4, 4);
            shared.end(why);
            assert_eq!(shared.answer(Ok(())).unwrap_err().code(), why);
            assert_eq!(Job(shared.clone()).poll().unwrap().unwrap_err().code(), why);
            // Its own failure stays the answer, and so does the first one.
            let failed = Arc::new(Shared::default());
            failed.end(why);
            assert_eq!(failed.answer(Err(Error::new(Code::Shape, "failed"))).unwrap_err().code(), Code::Shape);
            assert_eq!(failed.answer(Ok(())).unwrap_err().code(), Code::Shape);
        }
        let done = Arc::new(Shared::default());
        done.answer(Ok(())).unwrap();
        done.end(Code::Cancelled);
        assert!(Job(done).poll().unwrap().is_ok());
    }
}
