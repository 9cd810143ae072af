//! The log of one runtime: the application's callback, and the folding of lines that repeat.

use parking_lot::Mutex;
use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::time::{Duration, Instant};

/// How serious a line is, as the C interface numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    Error = 1,
    Warning = 2,
    Info = 3,
    Debug = 4,
}

impl Level {
    pub fn from_code(code: i32) -> Option<Self> {
        [Self::Error, Self::Warning, Self::Info, Self::Debug].into_iter().find(|l| *l as i32 == code)
    }
}

pub type Callback = unsafe extern "C" fn(user_data: *mut c_void, level: i32, message: *const c_char);

/// Where the lines go: the application's function and what it wants to be handed back.
#[derive(Clone, Copy)]
pub struct Sink {
    pub callback: Callback,
    pub user_data: *mut c_void,
    pub most_verbose: Level,
}

// SAFETY: the C interface asks that the callback and its user data may be used from any thread.
unsafe impl Send for Sink {}
// SAFETY: as above.
unsafe impl Sync for Sink {}

/// Lines of one kind come at most this often: TensorRT 8.5 repeats some warnings at every call.
const PAUSE: Duration = Duration::from_secs(1);

/// How many kinds are remembered at once.
const KINDS: usize = 64;

thread_local! {
    static TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Lines are of one kind when they differ in numbers only.
struct Kind {
    level: Level,
    text: String,
    told: Instant,
    /// Lines held back since.
    more: u64,
    last: String,
}

/// The log of one runtime. Any thread may write.
#[derive(Default)]
pub struct Log {
    sink: Option<Sink>,
    kinds: Mutex<Vec<Kind>>,
}

impl Log {
    pub fn new(sink: Option<Sink>) -> Self {
        Self { sink, kinds: Mutex::default() }
    }

    pub fn admits(&self, level: Level) -> bool {
        self.sink.is_some_and(|sink| level <= sink.most_verbose)
    }

    pub fn write(&self, level: Level, message: &str) {
        if !self.admits(level) {
            return;
        }
        // The callback runs outside the lock: it may call back into planrt, which may log.
        for (level, line) in self.fold(level, message, Instant::now()) {
            self.tell(level, &line);
        }
    }

    /// The lines to tell now, given this one.
    fn fold(&self, level: Level, message: &str, now: Instant) -> Vec<(Level, String)> {
        let text: String = message.chars().filter(|c| !c.is_ascii_digit()).collect();
        let mut kinds = self.kinds.lock();
        if let Some(kind) = kinds.iter_mut().find(|k| k.level == level && k.text == text) {
            if now.duration_since(kind.told) < PAUSE {
                kind.more += 1;
                message.clone_into(&mut kind.last);
                return Vec::new();
            }
            kind.told = now;
            return match std::mem::take(&mut kind.more) {
                0 => vec![(level, message.to_owned())],
                more => vec![(level, format!("{message} (… {more} more like it)"))],
            };
        }
        let mut lines = Vec::new();
        if kinds.len() == KINDS {
            let oldest = (0..KINDS).min_by_key(|i| kinds[*i].told).unwrap_or(0);
            let kind = kinds.swap_remove(oldest);
            lines.extend(kind.rest());
        }
        kinds.push(Kind { level, text, told: now, more: 0, last: String::new() });
        lines.push((level, message.to_owned()));
        lines
    }

    fn tell(&self, level: Level, line: &str) {
        let Some(sink) = self.sink else { return };
        // A NUL inside would end the line early for the application; TensorRT quotes plan bytes at times.
        let line = CString::new(line.replace('\0', "\u{fffd}")).unwrap_or_default();
        let outer = TELLING.replace(true);
        // SAFETY: the C interface asks for a callback that is callable with these for as long as the runtime lives.
        unsafe { (sink.callback)(sink.user_data, level as i32, line.as_ptr()) };
        TELLING.set(outer);
    }

    /// Whether the calling thread is inside an application's callback.
    pub fn is_telling() -> bool {
        TELLING.get()
    }
}

impl Kind {
    /// What was held back and would else never be told.
    fn rest(self) -> Option<(Level, String)> {
        (self.more > 0).then(|| (self.level, format!("{} (… {} more like it)", self.last, self.more)))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        for kind in std::mem::take(self.kinds.get_mut()) {
            if let Some((level, line)) = kind.rest() {
                self.tell(level, &line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    unsafe extern "C" fn collect(lines: *mut c_void, _: i32, message: *const c_char) {
        // SAFETY: the log gives a string.
        let line = unsafe { CStr::from_ptr(message) }.to_str().unwrap().to_owned();
        // SAFETY: the user data below.
        unsafe { &*lines.cast::<Mutex<Vec<String>>>() }.lock().push(line);
    }

    fn log_into(lines: &Mutex<Vec<String>>) -> Log {
        let user_data = std::ptr::from_ref(lines).cast_mut().cast();
        Log::new(Some(Sink { callback: collect, user_data, most_verbose: Level::Info }))
    }

    #[test]
    fn repeated_lines_are_told_once_and_counted() {
        let lines = Mutex::default();
        let log = log_into(&lines);
        for i in 0..413 {
            log.write(Level::Warning, &format!("bindingIndex 0 is not in profile {i}"));
        }
        log.write(Level::Info, "another");
        log.write(Level::Debug, "more verbose than asked for");
        drop(log);
        assert_eq!(
            *lines.lock(),
            [
                "bindingIndex 0 is not in profile 0",
                "another",
                "bindingIndex 0 is not in profile 412 (… 412 more like it)"
            ]
        );
    }

    #[test]
    fn a_line_is_told_again_after_the_pause() {
        let lines = Mutex::default();
        let log = log_into(&lines);
        let start = Instant::now();
        let told = |line: &str| vec![(Level::Info, line.to_owned())];
        assert_eq!(log.fold(Level::Info, "line 1", start), told("line 1"));
        assert!(log.fold(Level::Info, "line 2", start + PAUSE / 2).is_empty());
        assert_eq!(log.fold(Level::Info, "line 3", start + PAUSE), told("line 3 (… 1 more like it)"));
        assert_eq!(log.fold(Level::Info, "line 4", start + PAUSE * 2), told("line 4"));
    }

    #[test]
    fn a_forgotten_kind_says_what_it_held_back() {
        let lines = Mutex::default();
        let log = log_into(&lines);
        log.write(Level::Info, "first");
        log.write(Level::Info, "first");
        for i in 0..KINDS {
            let name = "x".repeat(i + 1);
            log.write(Level::Info, &name);
        }
        assert!(lines.lock().contains(&"first (… 1 more like it)".to_owned()));
    }
}
