//! `ILogger`: TensorRT's log, received in Rust.
//!
//! An interface that TensorRT calls and this crate implements, as `progress` does another. Up to TensorRT 10 its virtual
//! table is `log` and the destructors; from 11 (and in TensorRT-RTX) it begins with the versioned
//! interface's two methods.

use crate::interface::{InterfaceInfo, VirtualTable, api_language, keep};
use crate::{Generation, Severity};
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

/// What hears the log. It is called from any thread, from several at once too.
pub type Sink = dyn Fn(Severity, &str) + Send + Sync;

/// An `ILogger` for every generation.
///
/// TensorRT keeps the first logger it gets for the whole process, so a logger lives forever; what
/// hears it can be replaced.
pub struct Logger {
    plain: Face<Plain>,
    versioned: Face<Versioned>,
    ear: &'static Ear,
}

/// The sink of a logger, which both faces share.
struct Ear(RwLock<Option<Arc<Sink>>>);

/// The C++ object: the pointer to its virtual table, and what its methods find through `this`.
#[repr(C)]
struct Face<T: 'static> {
    methods: &'static T,
    ear: &'static Ear,
}

/// The methods of `ILogger` up to TensorRT 10.
#[repr(C)]
struct Plain {
    log: unsafe extern "C" fn(*mut Face<Plain>, i32, *const c_char),
    destructors: [extern "C" fn(*mut Face<Plain>); 2],
}

/// The methods of `ILogger` from TensorRT 11 and in TensorRT-RTX.
#[repr(C)]
struct Versioned {
    api_language: extern "C" fn(*const Face<Versioned>) -> i32,
    interface_info: extern "C" fn(*const Face<Versioned>) -> InterfaceInfo,
    destructors: [extern "C" fn(*mut Face<Versioned>); 2],
    log: unsafe extern "C" fn(*mut Face<Versioned>, i32, *const c_char),
}

static PLAIN: VirtualTable<Plain> = VirtualTable::new(Plain { log, destructors: [keep, keep] });

static VERSIONED: VirtualTable<Versioned> =
    VirtualTable::new(Versioned { api_language, interface_info, destructors: [keep, keep], log });

extern "C" fn interface_info(_this: *const Face<Versioned>) -> InterfaceInfo {
    InterfaceInfo::new(c"ILogger")
}

unsafe extern "C" fn log<T>(this: *mut Face<T>, severity: i32, message: *const c_char) {
    if message.is_null() {
        return;
    }
    // SAFETY: TensorRT calls this on the face that it was given, which lives forever, with a string
    // that lives during the call.
    let (ear, message) = unsafe { ((*this).ear, CStr::from_ptr(message)) };
    // A severity beyond the known ones is taken for the nearest of them.
    let severity = severity.clamp(Severity::InternalError as i32, Severity::Verbose as i32);
    // A panic must not pass through C++. Its value may panic when dropped, so it is not.
    let heard = catch_unwind(AssertUnwindSafe(|| {
        if let (Some(sink), Ok(severity)) = (ear.sink(), Severity::try_from(severity)) {
            sink(severity, &message.to_string_lossy());
        }
    }));
    if let Err(panic) = heard {
        std::mem::forget(panic);
    }
}

impl Ear {
    /// The sink, cloned so that it runs unlocked: it may replace itself.
    fn sink(&self) -> Option<Arc<Sink>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Logger {
    /// A logger that nobody hears yet. It is never freed: reuse loggers rather than make many.
    pub fn new() -> &'static Self {
        let ear: &'static Ear = Box::leak(Box::new(Ear(RwLock::new(None))));
        Box::leak(Box::new(Self {
            plain: Face { methods: &PLAIN.methods, ear },
            versioned: Face { methods: &VERSIONED.methods, ear },
            ear,
        }))
    }

    /// Sets who hears the log from now on; `None` for nobody. A line that is just being heard may
    /// still reach the old one after this returns.
    ///
    /// A sink that panics is not heard of: the panic ends with the line.
    pub fn set_sink(&self, sink: Option<Arc<Sink>>) {
        let mut ear = self.ear.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *ear, sink);
        // The old sink's drop is the application's code: not under the lock.
        drop(ear);
        drop(old);
    }

    /// The `ILogger*` in the form of a generation.
    pub fn as_ptr(&'static self, generation: Generation) -> *mut c_void {
        match generation {
            Generation::V8 | Generation::V10 => (&raw const self.plain).cast_mut().cast(),
            Generation::V11 | Generation::Rtx => (&raw const self.versioned).cast_mut().cast(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables;
    use std::mem::offset_of;
    use std::sync::Mutex;

    #[test]
    fn layouts_follow_the_tables() {
        let word = size_of::<usize>();
        let slot =
            |row: crate::Row, generation: Generation| usize::from(row.slot(generation.first()).unwrap().index) * word;
        let log = tables::LOG.row();
        assert_eq!(offset_of!(Plain, log), slot(log, Generation::V8));
        assert_eq!(offset_of!(Plain, log), slot(log, Generation::V10));
        for generation in [Generation::V11, Generation::Rtx] {
            assert_eq!(offset_of!(Versioned, log), slot(log, generation));
            let row = tables::API_LANGUAGE.row();
            assert_eq!(offset_of!(Versioned, api_language), slot(row, generation));
            let row = tables::INTERFACE_INFO.row();
            assert_eq!(offset_of!(Versioned, interface_info), slot(row, generation));
        }
    }

    /// Calls `log` as TensorRT does: through the object's virtual table.
    fn say(logger: &'static Logger, generation: Generation, severity: i32, line: &CStr) {
        let this = logger.as_ptr(generation).cast();
        // SAFETY: the logger is an ILogger of the generation.
        unsafe { tables::LOG.of(this, generation.first())(this, severity, line.as_ptr()) }
    }

    #[test]
    fn is_heard_in_every_form() {
        let logger = Logger::new();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = heard.clone();
        for generation in Generation::ALL {
            say(logger, generation, 1, c"nobody hears this");
        }
        logger.set_sink(Some(Arc::new(move |severity, line: &str| {
            sink.lock().unwrap().push((severity, line.to_owned()));
        })));
        for generation in Generation::ALL {
            say(logger, generation, 2, c"a warning");
        }
        say(logger, Generation::V11, 9, c"not UTF-8: \xff");
        say(logger, Generation::V8, -1, c"grave");
        logger.set_sink(None);
        say(logger, Generation::V10, 0, c"nor this");
        let heard = std::mem::take(&mut *heard.lock().unwrap());
        let mut expected = vec![(Severity::Warning, "a warning".to_owned()); 4];
        expected.push((Severity::Verbose, "not UTF-8: \u{fffd}".to_owned()));
        expected.push((Severity::InternalError, "grave".to_owned()));
        assert_eq!(heard, expected);
    }

    #[test]
    fn panics_end_in_the_logger() {
        let logger = Logger::new();
        logger.set_sink(Some(Arc::new(|_, _: &str| panic!("a sink that panics, on purpose"))));
        for generation in Generation::ALL {
            say(logger, generation, 3, c"line");
        }
    }

    #[test]
    fn a_sink_may_replace_itself() {
        let logger = Logger::new();
        logger.set_sink(Some(Arc::new(|_, _: &str| logger.set_sink(None))));
        say(logger, Generation::V11, 3, c"once");
        say(logger, Generation::V11, 3, c"twice");
    }
}
