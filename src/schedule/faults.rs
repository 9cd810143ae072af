//! Panics of our own where a test wants them, to see what is made good.

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// While the next batch is chosen.
    Choosing,
    /// When a batch has run, and its instance is not given back yet.
    Ending,
    /// When its instance is given back, and its requests are not answered yet.
    Answering,
}

/// Nothing, but in tests.
#[derive(Default)]
pub struct Faults {
    #[cfg(test)]
    next: crate::sync::Mutex<Option<Fault>>,
}

impl Faults {
    #[cfg(not(test))]
    pub fn meet(&self, _: Fault) {}

    #[cfg(test)]
    pub fn meet(&self, at: Fault) {
        assert!(self.next.lock().take_if(|next| *next == at).is_none(), "as the test asked");
    }

    #[cfg(test)]
    pub fn arm(&self, fault: Fault) {
        *self.next.lock() = Some(fault);
    }
}
