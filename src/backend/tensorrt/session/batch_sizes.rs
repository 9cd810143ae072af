//! Which batch sizes a session computes.
//!
//! Few, since each has an execution context and a CUDA graph of its own: powers of two, those that the application prefers,
//! and the largest. A batch is computed at the smallest of them that holds it; what is computed for the places that nobody
//! asked for is not looked at.

use super::super::engine::Engine;
use crate::backend::batch::holding;
use crate::backend::instance_group::{InstanceChoices, InstanceGroupOptions};
use crate::engine::{Description, Role};
use crate::tensor::Shape;

/// Profiles that take the same shapes, and what is computed with them.
#[derive(Clone)]
pub struct Group {
    pub profiles: Vec<usize>,
    /// The largest shape of each input.
    pub largest: Vec<Shape>,
    /// Where the inputs' shapes are known, the outputs' for the least batch.
    pub outputs: Vec<Shape>,
    /// Whether the leading extent of everything is a batch.
    pub batched: bool,
    /// Whether the inputs' shapes are known but for the batch.
    pub known: bool,
    /// The least and the most items of a batch.
    pub least: usize,
    pub most: usize,
    /// Ascending; at least one.
    pub sizes: Vec<usize>,
    /// Each with the seconds that it takes, once that is known.
    pub costs: Vec<(usize, f64)>,
}

/// How much faster work has to go at once than one after the other to be worth the wait.
const GAIN: f64 = 1.08;

/// Whether it pays to do at once what takes so long one after the other: below that the device is busy with the smaller
/// work already.
pub fn pays(at_once: f64, one_after_the_other: f64) -> bool {
    at_once * GAIN < one_after_the_other
}

impl Group {
    /// The profiles of an engine by what they take, with the sizes that could be computed.
    pub fn all(engine: &Engine, size: &InstanceGroupOptions) -> Vec<Self> {
        let description = engine.description();
        let mut groups: Vec<Self> = Vec::new();
        for profile in 0..description.profiles.len().max(1) {
            let range = |profile: usize| {
                let shapes = description.profiles.get(profile).into_iter().flatten().flatten();
                shapes.map(|shape| (shape.min, shape.max)).collect::<Vec<_>>()
            };
            match groups.iter_mut().find(|group| range(group.profiles[0]) == range(profile)) {
                Some(group) => group.profiles.push(profile),
                None => groups.push(Self::new(description, profile, size)),
            }
        }
        groups
    }

    fn new(description: &Description, profile: usize, size: &InstanceGroupOptions) -> Self {
        let ranges: Vec<_> = description
            .indexes(Role::Input)
            .map(|tensor| {
                let fixed = description.tensors[tensor].shape;
                let range = description.profiles.get(profile).and_then(|profile| profile[tensor]);
                range.map_or((fixed, fixed), |range| (range.min, range.max))
            })
            .collect();
        let batched = description.tensors.iter().all(|info| info.shape.first() == Some(&-1));
        let skipped = usize::from(batched);
        let extent = |shape: &Shape| if batched { shape[0].max(1) as usize } else { 1 };
        let least = ranges.iter().map(|(min, _)| extent(min)).max().unwrap_or(1);
        let most = ranges.iter().map(|(_, max)| extent(max)).min().unwrap_or(1);
        Self {
            profiles: vec![profile],
            largest: ranges.iter().map(|(_, max)| *max).collect(),
            outputs: Vec::new(),
            batched,
            known: ranges.iter().all(|(min, max)| min[skipped..] == max[skipped..]),
            least,
            most,
            sizes: candidates(least, most, size),
            costs: Vec::new(),
        }
    }

    /// The inputs' shapes for a batch of that size, where they are known.
    pub fn shapes(&self, size: usize) -> Vec<Shape> {
        self.with_batch(&self.largest, size)
    }

    /// These shapes for a batch of so many items.
    pub fn with_batch(&self, shapes: &[Shape], items: usize) -> Vec<Shape> {
        let whole = |shape: &Shape| if self.batched { shape.with_first(items as i64) } else { *shape };
        shapes.iter().map(whole).collect()
    }

    /// The size at which so many items are computed.
    pub fn size(&self, items: usize) -> usize {
        // A request may itself be a batch larger than is otherwise of use.
        holding(self.sizes.iter().copied(), items)
    }

    /// The largest batch that is of use.
    pub fn optimal(&self) -> usize {
        self.sizes.last().copied().unwrap_or(1)
    }
}

impl Group {
    /// What was chosen, for whoever asks.
    pub fn choices(&self) -> InstanceChoices {
        let cost = |size: &usize| self.costs.iter().find(|(of, _)| of == size).map(|(_, cost)| *cost);
        InstanceChoices {
            batch_sizes: self.sizes.iter().map(|size| (*size, cost(size))).collect(),
            optimal: self.optimal(),
        }
    }
}

fn candidates(least: usize, most: usize, size: &InstanceGroupOptions) -> Vec<usize> {
    let largest = if size.largest == 0 { most } else { size.largest.clamp(least, most.max(least)) };
    let powers = std::iter::successors(Some(1usize), |power| power.checked_mul(2)).take_while(|power| *power < largest);
    let mut sizes: Vec<_> = powers.chain(size.preferred.iter().copied()).chain([least, largest]).collect();
    sizes.retain(|size| (least..=largest.max(least)).contains(size));
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_sizes_and_what_the_application_prefers() {
        let size = |largest, preferred: &[usize]| InstanceGroupOptions {
            largest,
            preferred: preferred.into(),
            ..InstanceGroupOptions::default()
        };
        assert_eq!(candidates(1, 16, &size(0, &[])), [1, 2, 4, 8, 16]);
        assert_eq!(candidates(1, 12, &size(0, &[6])), [1, 2, 4, 6, 8, 12]);
        assert_eq!(candidates(1, 16, &size(1, &[])), [1]);
        assert_eq!(candidates(3, 8, &size(2, &[])), [3]);
        assert_eq!(candidates(1, 16, &size(5, &[5])), [1, 2, 4, 5]);
        assert_eq!(candidates(1, 1, &size(0, &[])), [1]);
    }

    #[test]
    fn at_once_pays_where_it_is_clearly_faster() {
        assert!(pays(126.0, 2.0 * 117.0) && pays(390.0, 2.0 * 236.0));
        assert!(!pays(2420.0, 2.0 * 1266.0) && !pays(2.0, 2.0));
    }
}
