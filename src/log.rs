//! The log of one runtime: the application's callback, when it ends, and the folding of lines that repeat.

use crate::process::as_application;
use crate::process::fork::PerProcess;
use crate::quote::printable;
use crate::sync::{Condvar, Mutex, this_thread};
use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
pub type Release = unsafe extern "C" fn(user_data: *mut c_void);

/// Where the lines go: the application's function and what it wants to be handed back.
#[derive(Clone)]
pub struct Sink {
    callback: Callback,
    user_data: Arc<UserData>,
    most_verbose: Level,
}

impl Sink {
    /// `release` is called when nothing will call the callback any more.
    pub fn new(callback: Callback, user_data: *mut c_void, release: Option<Release>, most_verbose: Level) -> Self {
        Self { callback, user_data: Arc::new(UserData { pointer: user_data, release }), most_verbose }
    }
}

struct UserData {
    pointer: *mut c_void,
    release: Option<Release>,
}

// SAFETY: the C interface asks that the callback, its release and their user data may be used from any thread.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl Drop for UserData {
    fn drop(&mut self) {
        let Some(release) = self.release else { return };
        // SAFETY: the C interface asks for a function that can be called with the user data once nobody has it any more.
        as_application(|| unsafe { release(self.pointer) });
    }
}

/// Lines of one kind come at most this often: TensorRT 8.5 repeats some warnings at every call.
const PAUSE: Duration = Duration::from_secs(1);

/// How many kinds are remembered at once.
const KINDS: usize = 64;

/// Lines are of one kind when they differ in numbers only.
struct Kind {
    level: Level,
    text: String,
    told: Instant,
    /// Lines held back since.
    more: u64,
    last: String,
}

/// The log of one runtime. Any thread may write, until the last [`User`] is gone: then it is closed.
pub struct Log {
    most_verbose: Option<Level>,
    /// Until the log is closed.
    sink: Mutex<Option<Sink>>,
    kinds: Mutex<Vec<Kind>>,
    users: AtomicUsize,
    /// Set under the lock of [`CALLBACKS`].
    closed: AtomicBool,
}

impl Log {
    pub fn new(sink: Option<Sink>) -> Self {
        Self {
            most_verbose: sink.as_ref().map(|sink| sink.most_verbose),
            sink: Mutex::new(sink),
            kinds: Mutex::default(),
            users: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub fn admits(&self, level: Level) -> bool {
        self.most_verbose.is_some_and(|most_verbose| level <= most_verbose) && !self.closed.load(Ordering::Relaxed)
    }

    pub fn write(&self, level: Level, message: &str) {
        if !self.admits(level) {
            return;
        }
        // The callback runs outside the lock: other threads may log meanwhile.
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
        let Some(_telling) = Telling::begin(self) else { return };
        // A share of it: the callback may end the log, and its user data is released when it has returned.
        let Some(sink) = self.sink.lock().clone() else { return };
        // TensorRT quotes names and bytes of plans.
        let line = CString::new(printable(line).into_owned()).unwrap_or_default();
        // SAFETY: the C interface asks for a callback that is callable with these until the log is closed, which waits for
        // this call.
        as_application(|| unsafe { (sink.callback)(sink.user_data.pointer, level as i32, line.as_ptr()) });
    }

    /// Ends the log: no callback begins any more, and those under way on other threads have returned.
    fn close(&self) {
        if self.most_verbose.is_none() || self.closed.load(Ordering::Acquire) {
            return;
        }
        // Inside a callback another one would find its locks taken.
        if !is_telling() {
            let kinds = std::mem::take(&mut *self.kinds.lock());
            kinds.into_iter().filter_map(Kind::rest).for_each(|(level, line)| self.tell(level, &line));
        }
        let Callbacks { state, returned } = CALLBACKS.get();
        let (log, me) = (self.id(), this_thread());
        let mut state = state.lock();
        self.closed.store(true, Ordering::Release);
        state.closing.push((log, me));
        while state.told(log).any(|thread| thread != me && !state.waits_for(thread, me)) {
            returned.wait(&mut state);
        }
        state.closing.retain(|closing| *closing != (log, me));
        drop(state);
        let sink = self.sink.lock().take();
        drop(sink);
    }

    /// A number that no other log has.
    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whoever may cause lines of a log to be told: a handle that the application has. With the last one the log ends, even
/// where threads of ours still hold things that log when they go.
pub struct User(Arc<Log>);

impl User {
    pub fn new(log: &Arc<Log>) -> Self {
        log.users.fetch_add(1, Ordering::Relaxed);
        Self(log.clone())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.close();
        }
    }
}

/// The callbacks of all logs, since a thread in one's callback may end another.
static CALLBACKS: PerProcess<Callbacks> = PerProcess::new();

#[derive(Default)]
struct Callbacks {
    state: Mutex<CallbacksState>,
    returned: Condvar,
}

/// Pairs of a log and a thread.
#[derive(Default)]
struct CallbacksState {
    /// The thread is in the log's callback.
    telling: Vec<(usize, usize)>,
    /// The thread waits until no other is in the log's callback.
    closing: Vec<(usize, usize)>,
}

impl CallbacksState {
    /// The threads that are in a log's callback.
    fn told(&self, log: usize) -> impl Iterator<Item = usize> {
        self.telling.iter().filter(move |(of, _)| *of == log).map(|(_, thread)| *thread)
    }

    /// Whether a thread waits, by whatever way around, for a callback that the other is in: then the other must not wait
    /// for it.
    fn waits_for(&self, thread: usize, other: usize) -> bool {
        let mut reached = vec![thread];
        let mut next = 0;
        while let Some(thread) = reached.get(next).copied() {
            next += 1;
            for (log, _) in self.closing.iter().filter(|(_, waiting)| *waiting == thread) {
                for told in self.told(*log).filter(|told| *told != thread) {
                    if told == other {
                        return true;
                    }
                    if !reached.contains(&told) {
                        reached.push(told);
                    }
                }
            }
        }
        false
    }
}

thread_local! {
    /// The callbacks that this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// While it lives its thread is in a log's callback.
struct Telling {
    log: usize,
}

impl Telling {
    /// None where the log is closed.
    fn begin(log: &Log) -> Option<Self> {
        let mut state = CALLBACKS.get().state.lock();
        if log.closed.load(Ordering::Acquire) {
            return None;
        }
        state.telling.push((log.id(), this_thread()));
        DEPTH.set(DEPTH.get() + 1);
        Some(Self { log: log.id() })
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        let Callbacks { state, returned } = CALLBACKS.get();
        let mut state = state.lock();
        let me = (self.log, this_thread());
        if let Some(place) = state.telling.iter().rposition(|telling| *telling == me) {
            state.telling.remove(place);
        }
        if !state.closing.is_empty() {
            returned.notify_all();
        }
    }
}

/// Whether the calling thread is inside a log callback.
pub fn is_telling() -> bool {
    DEPTH.get() > 0
}

impl Kind {
    /// What was held back and would else never be told.
    fn rest(self) -> Option<(Level, String)> {
        (self.more > 0).then(|| (self.level, format!("{} (… {} more like it)", self.last, self.more)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;
    use std::sync::Barrier;
    use std::sync::mpsc::{Receiver, Sender, channel};

    unsafe extern "C" fn collect(lines: *mut c_void, _: i32, message: *const c_char) {
        // SAFETY: the log gives a string.
        let line = unsafe { CStr::from_ptr(message) }.to_str().unwrap().to_owned();
        // SAFETY: the user data below.
        unsafe { &*lines.cast::<Mutex<Vec<String>>>() }.lock().push(line);
    }

    fn log_into(lines: &Mutex<Vec<String>>) -> Log {
        let user_data = std::ptr::from_ref(lines).cast_mut().cast();
        Log::new(Some(Sink::new(collect, user_data, None, Level::Info)))
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
    fn the_log_ends_with_its_last_user() {
        let lines = Mutex::default();
        let log = Arc::new(log_into(&lines));
        let (first, second) = (User::new(&log), User::new(&log));
        drop(first);
        log.write(Level::Info, "still here");
        drop(second);
        log.write(Level::Info, "nobody is to hear this");
        drop(log);
        assert_eq!(*lines.lock(), ["still here"]);
    }

    /// A log whose callback says that it was reached, and returns when it may.
    struct Slow {
        log: Arc<Log>,
        reached: Receiver<()>,
        go: Sender<()>,
        _ends: Box<Ends>,
    }

    type Ends = Mutex<(Sender<()>, Receiver<()>)>;

    impl Slow {
        fn new() -> Self {
            unsafe extern "C" fn wait(ends: *mut c_void, _: i32, _: *const c_char) {
                // SAFETY: the test's, which waits for its threads.
                let ends = unsafe { &*ends.cast::<Ends>() }.lock();
                ends.0.send(()).unwrap();
                ends.1.recv().unwrap();
            }
            let ((said, reached), (go, may)) = (channel(), channel());
            let ends = Box::new(Mutex::new((said, may)));
            let user_data = std::ptr::from_ref(&*ends).cast_mut().cast();
            let sink = Sink::new(wait, user_data, None, Level::Info);
            Self { log: Arc::new(Log::new(Some(sink))), reached, go, _ends: ends }
        }
    }

    #[test]
    fn the_end_waits_for_other_threads_callbacks() {
        let slow = Slow::new();
        let user = User::new(&slow.log);
        let log = slow.log.clone();
        let telling = std::thread::spawn(move || log.write(Level::Info, "a line"));
        slow.reached.recv().unwrap();
        let (done, ended) = channel();
        let ending = std::thread::spawn(move || {
            drop(user);
            done.send(()).unwrap();
        });
        assert!(ended.recv_timeout(Duration::from_millis(50)).is_err());
        slow.go.send(()).unwrap();
        ended.recv().unwrap();
        telling.join().unwrap();
        ending.join().unwrap();
    }

    unsafe extern "C" fn end(users: *mut c_void, _: i32, _: *const c_char) {
        // SAFETY: the test's, which waits for its threads.
        let (others, user) = unsafe { &*users.cast::<(Arc<Barrier>, Mutex<Option<User>>)>() };
        others.wait();
        drop(user.lock().take());
    }

    #[test]
    fn two_that_end_each_other_do_not_wait_for_each_other() {
        // Both callbacks are under way before one ends the other's log.
        let both = Arc::new(Barrier::new(2));
        let ends = [(); 2].map(|()| (both.clone(), Mutex::new(None)));
        let logs = [0, 1].map(|i| {
            let user_data = std::ptr::from_ref(&ends[i]).cast_mut().cast();
            Arc::new(Log::new(Some(Sink::new(end, user_data, None, Level::Info))))
        });
        *ends[0].1.lock() = Some(User::new(&logs[1]));
        *ends[1].1.lock() = Some(User::new(&logs[0]));
        std::thread::scope(|scope| {
            for log in &logs {
                scope.spawn(|| log.write(Level::Info, "a line"));
            }
        });
        assert!(logs.iter().all(|log| log.closed.load(Ordering::Relaxed)));
    }

    #[test]
    fn a_callback_may_end_its_own_log() {
        let ends = (Arc::new(Barrier::new(1)), Mutex::new(None));
        let user_data = std::ptr::from_ref(&ends).cast_mut().cast();
        let log = Arc::new(Log::new(Some(Sink::new(end, user_data, None, Level::Info))));
        *ends.1.lock() = Some(User::new(&log));
        log.write(Level::Info, "a line");
        assert!(log.closed.load(Ordering::Relaxed));
    }

    /// What the callback and the release are handed: the last user of the log, and what was seen.
    #[derive(Default)]
    struct Owned {
        user: Mutex<Option<User>>,
        telling: AtomicBool,
        released: AtomicUsize,
    }

    unsafe extern "C" fn end_slowly(owned: *mut c_void, _: i32, _: *const c_char) {
        // SAFETY: the test's.
        let owned = unsafe { &*owned.cast::<Owned>() };
        owned.telling.store(true, Ordering::Relaxed);
        drop(owned.user.lock().take());
        owned.telling.store(false, Ordering::Relaxed);
    }

    unsafe extern "C" fn count_release(owned: *mut c_void) {
        // SAFETY: the test's.
        let owned = unsafe { &*owned.cast::<Owned>() };
        assert!(!owned.telling.load(Ordering::Relaxed));
        owned.released.fetch_add(1, Ordering::Relaxed);
    }

    fn owning(owned: &Owned) -> Sink {
        let user_data = std::ptr::from_ref(owned).cast_mut().cast();
        Sink::new(end_slowly, user_data, Some(count_release), Level::Info)
    }

    #[test]
    fn user_data_is_released_with_the_last_that_may_call() {
        let owned = Owned::default();
        let options = owning(&owned);
        let logs = [(); 2].map(|()| Arc::new(Log::new(Some(options.clone()))));
        let users = logs.each_ref().map(User::new);
        drop(options);
        let [first, second] = users;
        drop(first);
        assert_eq!(owned.released.load(Ordering::Relaxed), 0);
        drop(second);
        assert_eq!(owned.released.load(Ordering::Relaxed), 1); // although the logs themselves are still there
        drop(logs);
        assert_eq!(owned.released.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn user_data_outlives_a_callback_that_ends_its_log() {
        let owned = Owned::default();
        let log = Arc::new(Log::new(Some(owning(&owned))));
        *owned.user.lock() = Some(User::new(&log));
        log.write(Level::Info, "a line");
        assert_eq!(owned.released.load(Ordering::Relaxed), 1);
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
