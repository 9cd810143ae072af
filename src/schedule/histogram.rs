//! Times in a fixed number of buckets: eight to each doubling, so that a percentile is within 6 % of the truth, from
//! nanoseconds to hours, and to add one allocates nothing.

use std::time::Duration;

const PER_OCTAVE: usize = 8;
const OCTAVES: usize = 45;

#[derive(Clone)]
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    sum: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; OCTAVES * PER_OCTAVE].into(), count: 0, sum: Duration::ZERO }
    }
}

impl Histogram {
    pub fn add(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
        self.sum += time;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The time that this part of all (0 to 1) stay below; zero where there are none.
    pub fn quantile(&self, part: f64) -> Duration {
        let wanted = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (i, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(middle(i));
            }
        }
        Duration::ZERO
    }
}

/// Below 8 a number is its own bucket; above, its octave and the three bits after the first.
fn bucket(n: u64) -> usize {
    if n < PER_OCTAVE as u64 {
        return n as usize;
    }
    let octave = n.ilog2() as usize - 2;
    let step = (n >> (octave - 1)) as usize & (PER_OCTAVE - 1);
    (octave * PER_OCTAVE + step).min(OCTAVES * PER_OCTAVE - 1)
}

fn middle(bucket: usize) -> u64 {
    let (octave, step) = (bucket / PER_OCTAVE, (bucket % PER_OCTAVE) as u64);
    match octave {
        0 => step,
        _ => ((PER_OCTAVE as u64 + step) << (octave - 1)) + ((1 << (octave - 1)) / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_join_and_stay_narrow() {
        let mut last = 0;
        for n in (0..4096).chain((12..62).map(|bit| (1 << bit) + 12345)) {
            let found = bucket(n);
            assert!(found == last || found == last + 1 || n > 4096, "{n} is in bucket {found}, after {last}");
            last = found;
            if found < OCTAVES * PER_OCTAVE - 1 {
                let error = middle(found).abs_diff(n) as f64;
                assert!(error <= n as f64 / 15.9 + 0.5, "{n} in bucket {found} reads as {}", middle(found));
            }
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for i in 1..=1000 {
            histogram.add(Duration::from_micros(i));
        }
        for (part, wanted) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let found = histogram.quantile(part).as_secs_f64() * 1e6;
            assert!((found - wanted).abs() < wanted * 0.07, "{part}: {found}");
        }
        assert_eq!(histogram.count(), 1000);
    }
}
