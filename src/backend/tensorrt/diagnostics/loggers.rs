//! The logger objects that TensorRT calls.
//!
//! A libnvinfer keeps the first logger it was ever given for the rest of the process, so a logger can never be freed. A
//! pool keeps their number at that of the runtimes that live at once.

use super::lines::{self, Lines};
use crate::log::{Level, Log};
use crate::panic::catch;
use crate::process::fork::PerProcess;
use crate::sync::Mutex;
use std::sync::Arc;
use tensorrt_sys::{Logger, Severity};

static POOL: PerProcess<Mutex<Vec<&'static Logger>>> = PerProcess::new();

/// A logger for one runtime, which goes back to the pool, silent, when the runtime goes.
pub struct Lease {
    logger: &'static Logger,
}

impl Lease {
    pub fn new(log: &Arc<Log>) -> Self {
        let logger = POOL.get().lock().pop().unwrap_or_else(Logger::new);
        let log = Arc::clone(log);
        logger.set_sink(Some(Arc::new(move |severity, line: &str| {
            // TensorRT's own threads call this too, where nobody else would keep a panic quiet.
            let _ = catch(|| {
                if lines::add(severity, line) {
                    write(&log, severity, line);
                }
            });
        })));
        Self { logger }
    }

    pub fn logger(&self) -> &'static Logger {
        self.logger
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A thread of TensorRT's may be telling a line just now. That is the log's to look after: once it is closed nothing
        // reaches the application.
        self.logger.set_sink(None);
        POOL.get().lock().push(self.logger);
    }
}

impl Lines {
    /// Brings withheld lines to the application, unless the calling thread still withholds them.
    pub fn tell(&self, log: &Log) {
        if lines::is_withholding() {
            return;
        }
        self.iter().for_each(|(severity, line)| write(log, severity, line));
    }
}

/// Brings a line of TensorRT's to the application.
fn write(log: &Log, severity: Severity, line: &str) {
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
