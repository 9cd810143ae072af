//! The logger objects that TensorRT calls.
//!
//! A libnvinfer keeps the first logger it was ever given for the rest of the process, so a logger can never be freed. A
//! pool keeps their number at that of the runtimes that live at once.

use super::lines;
use crate::log::{Level, Log};
use parking_lot::Mutex;
use std::sync::Arc;
use tensorrt_sys::{Logger, Severity};

static POOL: Mutex<Vec<&'static Logger>> = Mutex::new(Vec::new());

/// A logger for one runtime, which goes back to the pool, silent, when the runtime goes.
pub struct Lease(&'static Logger);

impl Lease {
    pub fn new(log: &Arc<Log>) -> Self {
        let logger = POOL.lock().pop().unwrap_or_else(Logger::new);
        let log = Arc::clone(log);
        logger.set_sink(Some(Arc::new(move |severity, line: &str| {
            if lines::add(severity, line) {
                write(&log, severity, line);
            }
        })));
        Self(logger)
    }

    pub fn logger(&self) -> &'static Logger {
        self.0
    }
}

/// Brings a line of TensorRT's to the application.
pub fn write(log: &Log, severity: Severity, line: &str) {
    let level = match severity {
        // 8.5 says this of every profile but the first, at most of its calls, and means nothing by it.
        Severity::Warning if line.contains("is not in profile") => Level::Debug,
        Severity::InternalError | Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
        Severity::Info => Level::Info,
        Severity::Verbose => Level::Debug,
    };
    if log.admits(level) {
        log.write(level, &format!("TensorRT: {line}"));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.set_sink(None);
        POOL.lock().push(self.0);
    }
}
