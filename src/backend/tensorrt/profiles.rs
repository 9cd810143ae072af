//! Which contexts have which optimization profiles.
//!
//! Under TensorRT 8 a profile of an engine with dynamic shapes serves one context at a time: a second context is made
//! without complaint, and its first enqueue fails. So planrt keeps the count, and says no when it can still say why.

use crate::error::{Code, Error, Result};
use crate::sync::{Mutex, MutexGuard};
use std::sync::Arc;
use tensorrt_sys::Version;

pub struct Profiles {
    /// `None` where contexts may share.
    taken: Option<Mutex<Vec<bool>>>,
    creation: Mutex<()>,
    version: Version,
}

/// One context's hold on a profile.
pub struct Held {
    profiles: Arc<Profiles>,
    number: usize,
}

impl Profiles {
    pub fn new(count: usize, exclusive: bool, version: Version) -> Arc<Self> {
        Arc::new(Self {
            taken: exclusive.then(|| Mutex::new(vec![false; count.max(1)])),
            creation: Mutex::default(),
            version,
        })
    }

    /// Whether a profile serves one context only.
    pub fn are_exclusive(&self) -> bool {
        self.taken.is_some()
    }

    /// Held while a context is made.
    pub fn creation(&self) -> MutexGuard<'_, ()> {
        self.creation.lock()
    }

    /// Takes the first of these profiles that is free.
    pub fn take(self: &Arc<Self>, wanted: impl IntoIterator<Item = usize>) -> Result<Held> {
        let wanted: Vec<usize> = wanted.into_iter().collect();
        let free = match &self.taken {
            None => wanted.first().copied(),
            Some(taken) => {
                let mut taken = taken.lock();
                let free = wanted.iter().copied().find(|number| !taken[*number]);
                if let Some(number) = free {
                    taken[number] = true;
                }
                free
            }
        };
        let number = free.ok_or_else(|| {
            let list: Vec<_> = wanted.iter().map(usize::to_string).collect();
            let (noun, verb) = if list.len() == 1 { ("profile", "is") } else { ("profiles", "are") };
            Error::new(
                Code::InUse,
                format!(
                    "{noun} {} {verb} in use by other contexts of this engine, and {} serves one context with each; delete a context, \
                     or build the plan with more profiles",
                    list.join(", "),
                    self.version
                ),
            )
        })?;
        Ok(Held { profiles: Arc::clone(self), number })
    }
}

impl Held {
    pub fn number(&self) -> usize {
        self.number
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(taken) = &self.profiles.taken {
            taken.lock()[self.number] = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_profiles_serve_one_each() {
        let profiles = Profiles::new(2, true, Version::decode(8503).unwrap());
        let first = profiles.take(0..2).unwrap();
        let second = profiles.take(0..2).unwrap();
        assert_eq!((first.number(), second.number()), (0, 1));
        let error = profiles.take(0..2).err().unwrap();
        assert_eq!(error.code(), Code::InUse);
        assert!(error.message().contains("profiles 0, 1 are in use") && error.message().contains("8.5.3"), "{error}");
        drop(first);
        assert_eq!(profiles.take([0]).unwrap().number(), 0);
    }

    #[test]
    fn shared_profiles_serve_any_number() {
        let profiles = Profiles::new(1, false, Version::decode(101_601).unwrap());
        let all: Vec<_> = (0..3).map(|_| profiles.take(0..1).unwrap()).collect();
        assert!(all.iter().all(|held| held.number() == 0));
    }
}
