//! The device memory that a session may take, and has taken.

use crate::cuda::Device;
use crate::error::{Code, Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Any thread may use it.
pub struct Budget {
    bytes: usize,
    /// What limits it.
    limit: &'static str,
    spent: AtomicUsize,
}

impl Budget {
    /// What the application allows, 0 for what is free, of so many free bytes.
    pub fn new(allowed: usize, free: usize) -> Self {
        let (bytes, limit) = match allowed {
            budget if (1..=free).contains(&budget) => (budget, "is left of the session's memory budget"),
            _ => (free, "is free on the device"),
        };
        Self { bytes, limit, spent: AtomicUsize::new(0) }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn spent(&self) -> usize {
        self.spent.load(Ordering::Relaxed)
    }

    /// An error if there is not so much left.
    pub fn spend(&self, bytes: usize, purpose: &str) -> Result<()> {
        let within = |spent: usize| spent.checked_add(bytes).filter(|sum| *sum <= self.bytes);
        self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(|spent| {
            let (left, limit) = (self.bytes.saturating_sub(spent), self.limit);
            Error::new(
                Code::OutOfMemory,
                format!("{purpose} takes {bytes} bytes of device memory, of which {left} {limit}"),
            )
        })?;
        Ok(())
    }

    pub fn give_back(&self, bytes: usize) {
        self.spent.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Makes what TensorRT does not say the memory of beforehand: it is measured, with what others take meanwhile.
    pub fn measured<T>(&self, device: &Device, purpose: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let (before, _) = device.memory()?;
        let spent = self.spent();
        let made = make()?;
        let (after, _) = device.memory()?;
        // What was counted on the way is counted already.
        self.spend(before.saturating_sub(after).saturating_sub(self.spent() - spent), purpose)?;
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_spent_than_there_is() {
        let budget = Budget::new(100, 1000);
        budget.spend(60, "one").unwrap();
        let error = budget.spend(60, "another").unwrap_err();
        assert_eq!(error.code(), Code::OutOfMemory);
        assert!(
            error.message().contains("another takes 60 bytes") && error.message().contains("40 is left"),
            "{error}"
        );
        assert!(budget.spend(usize::MAX, "too much").is_err());
        budget.give_back(20);
        budget.spend(60, "another").unwrap();
        assert_eq!(budget.spent(), 100);
        assert_eq!(Budget::new(usize::MAX, 1000).bytes(), 1000);
        assert_eq!(Budget::new(0, 1000).bytes(), 1000);
    }
}
