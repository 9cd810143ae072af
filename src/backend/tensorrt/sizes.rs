//! Which batch size is computed for a batch.
//!
//! A change of the batch size costs: TensorRT settles the new shapes, and the CUDA graph is captured anew. Computing places
//! that nobody asked for costs, too. So a smaller batch is computed at the size of the last ones until that has cost as much
//! as a change does: whatever comes, this is never much worse than having known it before (the ski rental problem).

pub struct Sizes {
    current: usize,
    /// Microseconds of a steady run of each size, as far as it is known.
    times: Vec<Option<f64>>,
    /// Microseconds that a change costs beyond a steady run, at the least that was seen: the first changes of all also load
    /// what a plan needs. `None` until one was seen.
    change: Option<f64>,
    /// Microseconds spent since the last change on places that nobody asked for.
    wasted: f64,
    /// What the last change took, until a steady run says what it cost beyond that.
    changed: Option<f64>,
}

/// How a batch was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// The first of new shapes.
    Changed,
    /// With the capture of a graph.
    Captured,
    /// As it is from then on.
    Steady,
}

/// How much a new measurement counts.
const WEIGHT: f64 = 0.2;

impl Sizes {
    pub fn new() -> Self {
        Self { current: 0, times: Vec::new(), change: None, wasted: 0.0, changed: None }
    }

    /// The size to compute for this many items: at least as many, at most `most`.
    pub fn choose(&mut self, items: usize, most: usize) -> usize {
        // Few sizes are met again often.
        let size = items.next_power_of_two().min(most.max(items));
        if size == self.current || size < self.current && self.pays_to_stay(size) {
            return self.current;
        }
        self.wasted = 0.0;
        self.current = size;
        size
    }

    fn pays_to_stay(&mut self, items: usize) -> bool {
        // Nothing is known before the first change: then it is made, and measured.
        let (Some(change), Some(padded)) = (self.change, self.time(self.current)) else { return false };
        let exact = self.time(items).unwrap_or(padded * items as f64 / self.current as f64);
        self.wasted += (padded - exact).max(0.0);
        self.wasted < change
    }

    fn time(&self, size: usize) -> Option<f64> {
        self.times.get(size).copied().flatten()
    }

    /// Takes note of a run of the current size.
    pub fn ran(&mut self, microseconds: f64, run: Run) {
        match run {
            Run::Changed => self.changed = Some(microseconds),
            Run::Captured => {}
            Run::Steady => {
                if self.times.len() <= self.current {
                    self.times.resize(self.current + 1, None);
                }
                let time = &mut self.times[self.current];
                *time = Some(time.map_or(microseconds, |old| old + WEIGHT * (microseconds - old)));
                if let Some(changed) = self.changed.take() {
                    let cost = (changed - microseconds).max(0.0);
                    self.change = Some(self.change.map_or(cost, |least| least.min(cost)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device where a batch takes 100 µs and 20 µs an item, and a change 1000 µs.
    fn run(sizes: &mut Sizes, last: &mut (usize, usize), items: usize) -> usize {
        let size = sizes.choose(items, 16);
        assert!(size >= items);
        *last = if last.0 == size { (size, last.1 + 1) } else { (size, 0) };
        let steady = 100.0 + 20.0 * size as f64;
        match last.1 {
            0 => sizes.ran(steady + 1000.0, Run::Changed),
            1 => sizes.ran(steady + 500.0, Run::Captured),
            _ => sizes.ran(steady, Run::Steady),
        }
        size
    }

    #[test]
    fn sizes_that_go_back_and_forth_are_computed_as_the_larger() {
        let (mut sizes, mut last) = (Sizes::new(), (0, 0));
        (0..10).for_each(|_| _ = run(&mut sizes, &mut last, 4));
        (0..10).for_each(|_| _ = run(&mut sizes, &mut last, 8));
        // Four places too many cost 80 µs every other time, a change 1000.
        let changes = (0..20).filter(|i| run(&mut sizes, &mut last, 4 + 4 * (i % 2)) != 8).count();
        assert_eq!(changes, 0);
        assert_eq!(run(&mut sizes, &mut last, 5), 8);
    }

    #[test]
    fn a_size_that_stays_small_is_computed_as_it_is_in_the_end() {
        let (mut sizes, mut last) = (Sizes::new(), (0, 0));
        (0..10).for_each(|_| _ = run(&mut sizes, &mut last, 16));
        (0..30).for_each(|_| _ = run(&mut sizes, &mut last, 1));
        assert_eq!(run(&mut sizes, &mut last, 1), 1);
        assert_eq!(run(&mut sizes, &mut last, 16), 16);
    }
}
