//! Which requests can share a batch, and how many of them a batch takes.

use crate::tensor::Shape;
use std::sync::Arc;

/// What requests have in common that can run in one batch.
#[derive(Debug)]
pub struct BatchKey {
    /// Each input's shape: of one item where requests are batches of items, else of the whole request.
    pub inputs: Vec<Shape>,
    pub outputs: Vec<Shape>,
    /// Whether the leading extent counts items.
    pub batched: bool,
    /// The device that the requests' memory is on.
    pub device: Option<i32>,
}

impl BatchKey {
    /// Whether a request with these inputs' shapes, whatever its batch, has this key.
    pub fn admits(&self, shapes: &[Shape], device: Option<i32>) -> bool {
        let skipped = usize::from(self.batched);
        let alike = |(own, given): (&Shape, &Shape)| own.len() == given.len() && own[skipped..] == given[skipped..];
        self.device == device && self.inputs.iter().zip(shapes).all(alike)
    }

    /// The shape of one of its tensors in a batch of so many items.
    pub fn whole(&self, shape: &Shape, items: usize) -> Shape {
        if self.batched { shape.with_first(items as i64) } else { *shape }
    }
}

/// How many items an instance takes at once.
#[derive(Clone, Debug, Default)]
pub struct Capacity {
    /// The largest batch that is of use.
    pub optimal: usize,
    /// The most that it takes; 0 if it takes no request with this key.
    pub max: usize,
    /// The sizes at which batches are computed, ascending, and the seconds that each takes; empty where items cost the same
    /// in any company.
    pub costs: Arc<[(usize, f64)]>,
}

/// The first of these ascending sizes that holds so many items; just as many where none does.
pub fn holding(sizes: impl IntoIterator<Item = usize>, items: usize) -> usize {
    sizes.into_iter().find(|size| *size >= items).unwrap_or(items)
}

/// So much dearer than in the best batch an item may be.
const DEARER: f64 = 1.15;

impl Capacity {
    /// The items that a batch of so many has room for at the same cost.
    pub fn padded(&self, items: usize) -> usize {
        holding(self.costs.iter().map(|(size, _)| *size), items)
    }

    /// How many of so many items go together: rather than a batch with many places empty, fewer go now and the others next.
    pub fn take(&self, waiting: usize) -> usize {
        let each = |(size, cost): &(usize, f64)| cost / waiting.min(*size) as f64;
        let least = self.costs.iter().map(each).fold(f64::INFINITY, f64::min);
        let largest = self.costs.iter().rfind(|size| each(size) <= least * DEARER);
        largest.map_or(waiting, |(size, _)| waiting.min(*size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_or_nearly() {
        // As measured with a small network on an H100.
        let costs = [(1, 41.0), (2, 56.0), (4, 97.0), (8, 176.0), (16, 351.0)];
        let capacity = Capacity { optimal: 16, max: 16, costs: costs.into() };
        let taken: Vec<_> = (1..=18).map(|waiting| capacity.take(waiting)).collect();
        assert_eq!(taken, [1, 2, 2, 4, 4, 4, 7, 8, 8, 8, 8, 8, 8, 14, 15, 16, 16, 16]);
        let flat = Capacity { optimal: 4, max: 8, ..Capacity::default() };
        assert_eq!((flat.take(3), flat.padded(3)), (3, 3));
        assert_eq!([1, 3, 8, 9, 20].map(|items| capacity.padded(items)), [1, 4, 8, 16, 20]);
    }
}
