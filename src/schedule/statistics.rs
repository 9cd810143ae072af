//! What a session has done: counts, times, batch sizes.

use super::histogram::Histogram;
use crate::error::Code;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Batches are counted by their size: 1 to 64 items, and more.
pub const BATCH_SIZES: usize = 66;

#[derive(Clone)]
pub struct Statistics {
    since: Instant,
    pub submitted: u64,
    pub refused: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    late: u64,
    items: u64,
    batches: [u64; BATCH_SIZES],
    queue: Histogram,
    run: Histogram,
    total: Histogram,
    /// Time that instances were at work, summed.
    at_work: Duration,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            submitted: 0,
            refused: 0,
            succeeded: 0,
            failed: 0,
            cancelled: 0,
            late: 0,
            items: 0,
            batches: [0; BATCH_SIZES],
            queue: Histogram::default(),
            run: Histogram::default(),
            total: Histogram::default(),
            at_work: Duration::ZERO,
        }
    }
}

/// The times that a part of the requests stayed below.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub p50: Duration,
    pub p90: Duration,
    pub p99: Duration,
}

/// One look at a session's statistics.
#[derive(Clone, Debug)]
pub struct Report {
    pub submitted: u64,
    pub refused: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub late: u64,
    /// Requests that wait, and items that run, now.
    pub waiting: usize,
    pub running: usize,
    pub items: u64,
    pub batches: [u64; BATCH_SIZES],
    pub queue: Times,
    pub run: Times,
    pub total: Times,
    /// The part of the time since the session was made that its instances were at work: 0 to 1.
    pub utilization: f64,
}

impl Statistics {
    /// One request was answered.
    pub fn answer(&mut self, outcome: Option<Code>) {
        *match outcome {
            None => &mut self.succeeded,
            Some(Code::Cancelled) => &mut self.cancelled,
            Some(Code::Deadline) => &mut self.late,
            Some(_) => &mut self.failed,
        } += 1;
    }

    /// A batch ran; `submitted` says when each of its requests came.
    pub fn batch(&mut self, items: usize, submitted: impl Iterator<Item = Instant>, start: Instant, end: Instant) {
        self.items += items as u64;
        self.batches[items.min(BATCH_SIZES - 1)] += 1;
        self.at_work += end - start;
        for since in submitted {
            self.queue.add(start.saturating_duration_since(since));
            self.run.add(end - start);
            self.total.add(end.saturating_duration_since(since));
        }
    }

    pub fn report(&self, waiting: usize, running: usize, instances: usize) -> Report {
        let times = |h: &Histogram| Times { p50: h.quantile(0.5), p90: h.quantile(0.9), p99: h.quantile(0.99) };
        let possible = self.since.elapsed().as_secs_f64() * instances.max(1) as f64;
        Report {
            submitted: self.submitted,
            refused: self.refused,
            succeeded: self.succeeded,
            failed: self.failed,
            cancelled: self.cancelled,
            late: self.late,
            waiting,
            running,
            items: self.items,
            batches: self.batches,
            queue: times(&self.queue),
            run: times(&self.run),
            total: times(&self.total),
            utilization: (self.at_work.as_secs_f64() / possible).min(1.0),
        }
    }

    /// The same for Prometheus, in its text format. Times are in seconds there.
    pub fn prometheus(&self, model: &str, waiting: usize, running: usize, instances: usize) -> String {
        let report = self.report(waiting, running, instances);
        let model = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# HELP planrt_{name} {help}\n# TYPE planrt_{name} {kind}");
            for (labels, value) in samples {
                let (suffix, labels) = labels.split_once('|').unwrap_or(("", labels));
                let comma = if labels.is_empty() { "" } else { "," };
                let _ = writeln!(text, "planrt_{name}{suffix}{{model=\"{model}\"{comma}{labels}}} {value}");
            }
        };
        let outcomes = [
            ("succeeded", report.succeeded),
            ("failed", report.failed),
            ("cancelled", report.cancelled),
            ("deadline", report.late),
            ("refused", report.refused),
        ];
        let outcomes = outcomes.map(|(name, count)| (format!("outcome=\"{name}\""), count as f64));
        metric("requests_total", "counter", "Requests answered or refused.", &outcomes);
        let one = |value: f64| [(String::new(), value)];
        metric("items_total", "counter", "Items of the batches that ran.", &one(report.items as f64));
        metric("requests_waiting", "gauge", "Requests in the queue.", &one(report.waiting as f64));
        metric("items_running", "gauge", "Items in the batches that run.", &one(report.running as f64));
        metric("utilization", "gauge", "Part of the time that the contexts were at work.", &one(report.utilization));
        for (name, help, histogram) in [
            ("queue_seconds", "From submission to the start of the batch.", &self.queue),
            ("run_seconds", "From the start of the batch to its end.", &self.run),
            ("total_seconds", "From submission to the end of the batch.", &self.total),
        ] {
            let quantile = |part: f64| (format!("quantile=\"{part}\""), histogram.quantile(part).as_secs_f64());
            let sum = ("_sum|".to_owned(), histogram.sum().as_secs_f64());
            let count = ("_count|".to_owned(), histogram.count() as f64);
            metric(name, "summary", help, &[quantile(0.5), quantile(0.9), quantile(0.99), sum, count]);
        }
        let mut sizes = Vec::with_capacity(BATCH_SIZES + 2);
        let mut below = 0;
        for (size, count) in self.batches.iter().enumerate().take(BATCH_SIZES - 1).skip(1) {
            below += count;
            if size.is_power_of_two() {
                sizes.push((format!("_bucket|le=\"{size}\""), below as f64));
            }
        }
        let all = (below + self.batches[BATCH_SIZES - 1]) as f64;
        sizes.push(("_bucket|le=\"+Inf\"".to_owned(), all));
        sizes.push(("_sum|".to_owned(), self.items as f64));
        sizes.push(("_count|".to_owned(), all));
        metric("batch_items", "histogram", "Items of a batch.", &sizes);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_and_told() {
        let mut statistics = Statistics { submitted: 3, ..Statistics::default() };
        let start = statistics.since + Duration::from_micros(100);
        let end = start + Duration::from_micros(400);
        statistics.batch(3, [statistics.since; 2].into_iter(), start, end);
        statistics.answer(None);
        statistics.answer(Some(Code::Cancelled));
        statistics.answer(Some(Code::Deadline));
        let report = statistics.report(0, 0, 1);
        assert_eq!((report.succeeded, report.cancelled, report.late, report.batches[3]), (1, 1, 1, 1));
        assert!((90..110).contains(&report.queue.p50.as_micros()) && (370..430).contains(&report.run.p99.as_micros()));
        let text = statistics.prometheus("a \"b\"", 1, 2, 1);
        assert!(text.contains("planrt_requests_total{model=\"a \\\"b\\\"\",outcome=\"deadline\"} 1"), "{text}");
        assert!(text.contains("planrt_batch_items_bucket{model=\"a \\\"b\\\"\",le=\"4\"} 1"), "{text}");
        assert!(text.contains("planrt_batch_items_bucket{model=\"a \\\"b\\\"\",le=\"2\"} 0"), "{text}");
        assert!(text.contains("planrt_total_seconds_count{model=\"a \\\"b\\\"\"} 2"), "{text}");
    }
}
