//! Which of several GPUs a volume goes to: the one that has least to run of those that went there before.

use crate::sync::Mutex;
use std::collections::BTreeMap;

/// What volumes have yet to run on each CUDA device, in voxels of tiles. Segmenters share GPUs, so it is the process's.
static PENDING: Mutex<BTreeMap<i32, u64>> = Mutex::new(BTreeMap::new());

/// A volume's share of what is yet to run on a device, until it is dropped.
pub struct Turn {
    ordinal: i32,
    left: u64,
}

impl Turn {
    /// On the device with least to run, the first of those that have as much; none where there is no device.
    pub fn take(ordinals: impl Iterator<Item = i32>, voxels: u64) -> Option<Self> {
        let mut pending = PENDING.lock();
        let ordinal = ordinals.min_by_key(|ordinal| pending.get(ordinal).copied().unwrap_or(0))?;
        let there = pending.entry(ordinal).or_insert(0);
        *there = there.saturating_add(voxels);
        Some(Self { ordinal, left: voxels })
    }

    pub fn ordinal(&self) -> i32 {
        self.ordinal
    }

    /// So much of it is left.
    pub fn left(&mut self, voxels: u64) {
        let done = self.left.saturating_sub(voxels);
        self.left -= done;
        if let Some(there) = PENDING.lock().get_mut(&self.ordinal) {
            *there = there.saturating_sub(done);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.left(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_go_where_least_is_to_be_run() {
        // Ordinals that no other test has.
        let take = |voxels| Turn::take([901, 902].into_iter(), voxels).unwrap();
        let mut first = take(10);
        let second = take(4);
        let third = take(5);
        assert_eq!([first.ordinal(), second.ordinal(), third.ordinal()], [901, 902, 902]);
        // 10 against 9, then 8 against 9, then 8 against 4.
        assert_eq!(take(1).ordinal(), 902);
        first.left(8);
        assert_eq!(take(1).ordinal(), 901);
        drop(third);
        assert_eq!(take(1).ordinal(), 902);
        drop((first, second));
        assert_eq!(take(1).ordinal(), 901);
        assert!(Turn::take(std::iter::empty(), 1).is_none());
    }
}
