//! How far a job is: tiles of all the networks' sweeps that it takes, told to its owner by the job's own thread.

use super::job::{Progress, Shared};
use crate::error::Code;

/// Tiles that are done of those that there are, of each sweep that was begun.
pub struct Meter<'a> {
    job: &'a Shared,
    progress: Option<Progress>,
    sweeps: Vec<Option<(usize, usize)>>,
}

impl<'a> Meter<'a> {
    pub fn new(job: &'a Shared, progress: Option<Progress>) -> Self {
        Self { job, progress, sweeps: Vec::new() }
    }

    /// So many sweeps more begin, side by side: the number of the first.
    pub fn begin(&mut self, count: usize) -> usize {
        let first = self.sweeps.len();
        self.sweeps.resize(first + count, None);
        first
    }

    /// Tells of a sweep's tiles, once it is known how many all sweeps have; the job ends where its owner says so.
    pub fn tell(&mut self, sweep: usize, done: usize, count: usize) {
        if let Some(place) = self.sweeps.get_mut(sweep) {
            *place = Some((done, count));
        }
        let Some(known) = self.sweeps.iter().copied().collect::<Option<Vec<_>>>() else { return };
        let (done, count) = known.into_iter().fold((0, 0), |sum, sweep| (sum.0 + sweep.0, sum.1 + sweep.1));
        self.job.set_progress(done, count);
        if let Some(progress) = &mut self.progress
            && !progress(done, count)
        {
            self.job.end(Code::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn sweeps_side_by_side_and_one_after_the_other() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let put = told.clone();
        let job = Shared::default();
        let progress = move |done, count| {
            put.lock().unwrap().push((done, count));
            (done, count) != (5, 7)
        };
        let mut meter = Meter::new(&job, Some(Box::new(progress)));
        let coarse = meter.begin(1);
        meter.tell(coarse, 0, 1);
        meter.tell(coarse, 1, 1);
        let pair = meter.begin(2);
        meter.tell(pair, 0, 4);
        meter.tell(pair, 1, 4);
        assert!(job.check(None).is_ok());
        meter.tell(pair + 1, 0, 2);
        meter.tell(pair + 1, 2, 2);
        assert_eq!(*told.lock().unwrap(), [(0, 1), (1, 1), (2, 7), (4, 7)]);
        meter.tell(pair, 2, 4);
        assert_eq!(job.check(None).unwrap_err().code(), Code::Cancelled);
    }
}
