//! TensorRT's own lines, gathered for the error that they explain.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tensorrt_sys::Severity;

thread_local! {
    /// What this thread gathers; TensorRT reports a failure on the thread that made the call.
    static GATHERED: RefCell<Option<Lines>> = const { RefCell::new(None) };
    static WITHHELD: Cell<bool> = const { Cell::new(false) };
    static HEARD_BY: RefCell<Option<Listener>> = const { RefCell::new(None) };
}

/// Who hears each line of this thread's at once.
pub type Listener = Rc<dyn Fn(&str)>;

/// How many lines are kept at most, and how many of the last ones an error carries.
const KEPT: usize = 256;
const TOLD: usize = 16;

/// What TensorRT logged during one call.
#[derive(Default)]
pub struct Lines(Vec<(Severity, String)>);

impl Lines {
    /// Lines of every level, first to last.
    pub fn iter(&self) -> impl Iterator<Item = (Severity, &str)> {
        self.0.iter().map(|(severity, line)| (*severity, line.as_str()))
    }

    /// Whether some line holds one of these.
    pub fn mention(&self, words: &[&str]) -> bool {
        self.iter().any(|(_, line)| words.iter().any(|word| line.contains(word)))
    }

    /// The last warnings and errors, for an error's detail.
    pub fn text(&self) -> String {
        let told: Vec<_> = self.iter().filter(|(severity, _)| *severity <= Severity::Warning).collect();
        let last = &told[told.len().saturating_sub(TOLD)..];
        last.iter().map(|(_, line)| *line).collect::<Vec<_>>().join("\n")
    }
}

/// Runs a call of TensorRT's; returns its outcome and what it logged meanwhile.
pub fn gather<R>(call: impl FnOnce() -> R) -> (R, Lines) {
    let outer = GATHERED.replace(Some(Lines::default()));
    let outcome = call();
    let lines = GATHERED.replace(outer).unwrap_or_default();
    // What was said within is part of what was said without.
    lines.iter().for_each(|(severity, line)| keep(severity, line));
    (outcome, lines)
}

/// As [`gather`], and meanwhile the lines are kept from the log: a first attempt may fail and be put right.
pub fn withhold<R>(call: impl FnOnce() -> R) -> (R, Lines) {
    let outer = WITHHELD.replace(true);
    let outcome = gather(call);
    WITHHELD.set(outer);
    outcome
}

/// Runs a call of TensorRT's, of which each line is heard at once.
pub fn listen<R>(listener: Listener, call: impl FnOnce() -> R) -> R {
    let outer = HEARD_BY.replace(Some(listener));
    let outcome = call();
    HEARD_BY.set(outer);
    outcome
}

/// Takes a line, if this thread gathers any; whether it may go to the log now.
pub fn add(severity: Severity, line: &str) -> bool {
    let listener = HEARD_BY.try_with(|listener| listener.borrow().clone());
    if let Ok(Some(listener)) = listener {
        listener(line);
    }
    keep(severity, line);
    !WITHHELD.get()
}

/// Whether this thread's lines are kept from the log.
pub fn is_withholding() -> bool {
    WITHHELD.get()
}

fn keep(severity: Severity, line: &str) {
    // TensorRT may log while a thread ends, when the thread's own memory is gone already.
    let _ = GATHERED.try_with(|gathered| {
        if let Some(Lines(lines)) = &mut *gathered.borrow_mut() {
            if lines.len() == KEPT {
                lines.remove(0);
            }
            lines.push((severity, line.to_owned()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_heard_while_a_call_lasts() {
        let heard = Rc::new(RefCell::new(String::new()));
        let listener = Rc::clone(&heard);
        let hear = move |line: &str| listener.borrow_mut().push_str(line);
        add(Severity::Verbose, "before");
        let outcome = listen(Rc::new(hear), || {
            add(Severity::Verbose, "one ");
            add(Severity::Error, "two");
            7
        });
        add(Severity::Verbose, "after");
        assert!(outcome == 7 && *heard.borrow() == "one two", "{heard:?}");
    }

    #[test]
    fn only_what_was_logged_meanwhile_is_gathered() {
        add(Severity::Error, "before");
        let ((), lines) = gather(|| {
            add(Severity::Verbose, "could not find plugin: X");
            add(Severity::Error, "failed");
            let (_, inner) = gather(|| add(Severity::Error, "inner"));
            assert_eq!(inner.text(), "inner");
        });
        add(Severity::Error, "after");
        assert_eq!(lines.text(), "failed\ninner");
        assert!(lines.mention(&["find plugin"]));
        assert!(add(Severity::Error, "told"));
        let (told, lines) = withhold(|| add(Severity::Error, "kept back"));
        assert!(!told);
        assert_eq!(lines.text(), "kept back");
    }
}
