//! When a batch goes, and how large.

use crate::backend::batch::Capacity;
use crate::error::{Code, Error, Result};
use std::time::{Duration, Instant};

/// How long the first request of a batch waits for company, while something is free to run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Only while other requests with its batch key run, for a batch that is smaller than its share, and no longer than
    /// [`REGROUP_WAIT`] from the end of the last batch: the threads that were just answered come again. Nor ever longer than
    /// [`MAX_SHARE_WAIT`].
    Share,
    /// So long, whether anything runs or not.
    Fixed(Duration),
}

/// About what it takes the threads of an answered batch to wake and to ask again.
const REGROUP_WAIT: Duration = Duration::from_micros(100);

/// Where batches of others end all the time.
const MAX_SHARE_WAIT: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    Refuse,
    Block,
}

#[derive(Clone, Debug)]
pub struct Policy {
    /// The most items in a batch; 0 for as many as the engine takes.
    pub largest: usize,
    /// Sizes at which a batch goes without waiting for more, ascending.
    pub preferred: Vec<usize>,
    pub delay: Delay,
    /// The most requests that wait.
    pub max_waiting: usize,
    pub when_full: WhenFull,
    /// Whether requests that were on a device that is lost run again on another, or fail.
    pub retry: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            largest: 0,
            preferred: Vec::new(),
            delay: Delay::Share,
            max_waiting: 1024,
            when_full: WhenFull::Refuse,
            retry: false,
        }
    }
}

/// What there is to judge: requests with one batch key that wait, and what else is under way.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Items that could go together.
    pub waiting: usize,
    /// The most that the instance takes of them.
    pub max_batch: usize,
    /// When the first of them was submitted.
    pub since: Instant,
    /// Whether anything with the key runs.
    pub busy: bool,
    /// The batch that is worth waiting for.
    pub share: usize,
    /// When the last batch ended.
    pub freed: Instant,
    pub now: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A batch of up to so many items.
    Go(usize),
    /// Nothing before then, unless more arrive or something ends.
    Wait(Instant),
}

impl Policy {
    pub fn check(&self) -> Result<()> {
        let invalid = |message: &str| Err(Error::new(Code::InvalidArgument, message));
        if self.max_waiting == 0 {
            return invalid("a queue of capacity 0 would take no request; take at least 1");
        }
        if self.preferred.contains(&0) {
            return invalid("a preferred batch size is 0; sizes begin at 1");
        }
        if self.largest > 0 && self.preferred.iter().any(|size| *size > self.largest) {
            return invalid("a preferred batch size is above the largest batch");
        }
        Ok(())
    }

    /// The most items that a batch shall have in an instance.
    pub fn max_batch(&self, capacity: &Capacity) -> usize {
        if self.largest > 0 { self.largest.min(capacity.max) } else { capacity.optimal }
    }

    pub fn judge(&self, s: &Situation) -> Verdict {
        if s.waiting >= s.max_batch {
            return Verdict::Go(s.max_batch);
        }
        if let Some(size) = self.preferred.iter().rev().find(|size| **size <= s.waiting) {
            return Verdict::Go(*size);
        }
        let until = match self.delay {
            Delay::Fixed(delay) => s.since + delay,
            Delay::Share if s.busy && s.waiting < s.share => {
                (s.since.max(s.freed) + REGROUP_WAIT).min(s.since + MAX_SHARE_WAIT)
            }
            Delay::Share => s.now,
        };
        if until > s.now { Verdict::Wait(until) } else { Verdict::Go(s.waiting) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(waiting: usize, running: usize, instances: usize) -> Situation {
        let now = Instant::now();
        let share = (waiting + running).div_ceil(instances);
        Situation { waiting, max_batch: 16, since: now, busy: running > 0, share, freed: now, now }
    }

    fn goes(policy: &Policy, s: Situation) -> Option<usize> {
        match policy.judge(&s) {
            Verdict::Go(count) => Some(count),
            Verdict::Wait(_) => None,
        }
    }

    #[test]
    fn alone_nothing_waits() {
        assert_eq!(goes(&Policy::default(), situation(1, 0, 2)), Some(1));
        assert_eq!(goes(&Policy::default(), situation(5, 0, 2)), Some(5));
    }

    #[test]
    fn beside_others_a_batch_waits_for_its_share_and_not_for_long() {
        let policy = Policy::default();
        assert_eq!(goes(&policy, situation(1, 1, 2)), Some(1));
        assert_eq!(goes(&policy, situation(1, 16, 2)), None);
        assert_eq!(goes(&policy, situation(8, 7, 2)), Some(8));
        let mut late = situation(1, 16, 2);
        late.now = late.since + REGROUP_WAIT;
        assert_eq!(goes(&policy, late), Some(1));
        late.freed = late.now;
        assert_eq!(goes(&policy, late), None);
        late.now = late.since + MAX_SHARE_WAIT;
        late.freed = late.now;
        assert_eq!(goes(&policy, late), Some(1));
        assert_eq!(goes(&policy, situation(40, 16, 2)), Some(16));
    }

    #[test]
    fn a_fixed_delay_is_kept() {
        let policy = Policy { delay: Delay::Fixed(Duration::from_millis(5)), ..Policy::default() };
        let mut s = situation(3, 0, 2);
        assert_eq!(policy.judge(&s), Verdict::Wait(s.since + Duration::from_millis(5)));
        s.now = s.since + Duration::from_millis(5);
        assert_eq!(goes(&policy, s), Some(3));
        assert_eq!(goes(&policy, situation(16, 0, 2)), Some(16));
        let never = Policy { delay: Delay::Fixed(Duration::ZERO), ..Policy::default() };
        assert_eq!(goes(&never, situation(1, 16, 2)), Some(1));
    }

    #[test]
    fn preferred_sizes_go_at_once() {
        let delay = Delay::Fixed(Duration::from_millis(5));
        let policy = Policy { delay, preferred: vec![4, 8], ..Policy::default() };
        assert_eq!(goes(&policy, situation(3, 0, 2)), None);
        assert_eq!(goes(&policy, situation(5, 0, 2)), Some(4));
        assert_eq!(goes(&policy, situation(9, 0, 2)), Some(8));
    }

    #[test]
    fn impossible_policies_are_refused() {
        let refused = |policy: Policy| policy.check().unwrap_err().code() == Code::InvalidArgument;
        assert!(refused(Policy { max_waiting: 0, ..Policy::default() }));
        assert!(refused(Policy { preferred: vec![0], ..Policy::default() }));
        assert!(refused(Policy { preferred: vec![8], largest: 4, ..Policy::default() }));
        assert!(Policy::default().check().is_ok());
    }
}
