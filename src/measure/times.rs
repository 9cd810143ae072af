//! Times of many runs in a few numbers.

use serde_json::{Map, Value, json};
use std::time::Duration;

/// Times of one kind in milliseconds, ascending.
pub struct Times(Vec<f64>);

impl Times {
    pub fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64() * 1e3).collect();
        times.sort_unstable_by(f64::total_cmp);
        Self(times)
    }

    pub fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    fn mean(&self) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.sum() / self.0.len() as f64 }
    }

    /// The smallest time that so many percent of all do not exceed.
    fn percentile(&self, percent: f64) -> f64 {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).copied().unwrap_or(0.0)
    }

    /// The time in the middle; of an even number of them the mean of the two.
    fn median(&self) -> f64 {
        let (low, high) = ((self.0.len().max(1) - 1) / 2, self.0.len() / 2);
        let at = |i: usize| self.0.get(i).copied().unwrap_or(0.0);
        (at(low) + at(high)) / 2.0
    }

    /// As trtexec prints them.
    pub fn text(&self, percentiles: &[f64]) -> String {
        let [least, most] = [self.percentile(0.0), self.percentile(100.0)];
        let mut text = format!(
            "min = {least:.5} ms, max = {most:.5} ms, mean = {:.5} ms, median = {:.5} ms",
            self.mean(),
            self.median()
        );
        for percent in percentiles {
            text += &format!(", percentile({percent}%) = {:.5} ms", self.percentile(*percent));
        }
        text
    }

    pub fn json(&self, percentiles: &[f64]) -> Value {
        let of = |percent: f64| (percent.to_string(), json!(self.percentile(percent)));
        let percentiles: Map<_, _> = percentiles.iter().map(|percent| of(*percent)).collect();
        json!({
            "min_ms": self.percentile(0.0),
            "max_ms": self.percentile(100.0),
            "mean_ms": self.mean(),
            "median_ms": self.median(),
            "percentiles_ms": percentiles,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = Times::new((1..=200).rev().map(Duration::from_millis));
        assert_eq!([0.0, 50.0, 99.0, 99.9, 100.0].map(|p| times.percentile(p)), [1.0, 100.0, 198.0, 200.0, 200.0]);
        assert_eq!(times.json(&[90.0])["percentiles_ms"]["90"], 180.0);
        assert!(times.text(&[99.5]).ends_with("percentile(99.5%) = 199.00000 ms"));
        assert_eq!((times.median(), Times::new([1, 2, 9].map(Duration::from_millis)).median()), (100.5, 2.0));
        assert_eq!((Times::new([]).percentile(99.0), Times::new([]).median()), (0.0, 0.0));
    }
}
