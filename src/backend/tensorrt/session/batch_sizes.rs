//! Which batch sizes a session computes, and what memory a batch takes.
//!
//! Few sizes, since each has an execution context and a CUDA graph of its own: powers of two, those that the application
//! prefers, and the largest. A batch is computed at the smallest of them that holds it; what is computed for the places that
//! nobody asked for is not looked at.
//!
//! That the leading extent counts items is believed of a plan only where TensorRT's own shapes say so at every size that is
//! tried: each output has as many items as the inputs, and they have the same shape whatever their number. A plan that takes
//! every second row, or compares all rows with all, has no items that could be told apart: its requests run whole.

use crate::backend::batch::holding;
use crate::backend::instance_group::{InstanceChoices, InstanceGroupOptions};
use crate::engine::{Description, Role};
use crate::error::{Code, Error, Result};
use crate::tensor::Shape;

/// Profiles that take the same shapes, and what is computed with them.
#[derive(Clone)]
pub struct Group {
    pub profiles: Vec<usize>,
    /// The smallest, the usual and the largest shape of each input.
    smallest: Vec<Shape>,
    usual: Vec<Shape>,
    pub largest: Vec<Shape>,
    /// Where the inputs' shapes are known and the leading extent is a batch, the outputs' for one item.
    pub outputs: Vec<Shape>,
    /// Whether the leading extent of everything may count items: for certain once it was surveyed.
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
    /// The most bytes of each tensor at the shapes that were tried; empty before.
    pub bytes: Vec<usize>,
}

/// How much faster work has to go at once than one after the other to be worth the wait.
const GAIN_WORTH_WAITING_FOR: f64 = 1.08;

/// The same where nobody waits for the single one.
const GAIN_OF_A_STREAM: f64 = 1.02;

/// Whether it pays to do at once what takes so long one after the other: below that the device is busy with the smaller
/// work already.
pub fn pays(at_once: f64, one_after_the_other: f64) -> bool {
    at_once * GAIN_WORTH_WAITING_FOR < one_after_the_other
}

/// Whether a batch of so many items that takes so many seconds pays, after a smaller one and what that takes; in a stream nobody waits
/// for the single item.
pub fn size_pays((items, seconds): (usize, f64), (fewer, of_fewer): (usize, f64), is_stream: bool) -> bool {
    let one_after_the_other = of_fewer * items as f64 / fewer as f64;
    match is_stream {
        true => seconds * GAIN_OF_A_STREAM < one_after_the_other,
        false => pays(seconds, one_after_the_other),
    }
}

/// Batch sizes at either end of the range at which a plan's shapes are tried one by one.
const SIZES_TRIED: usize = 32;

/// Steps from the smallest to the largest shapes at which a plan's are tried where these are open.
const STEPS_TRIED: i64 = 8;

/// Open extents of which each may be smallest or largest while the others are not.
const CORNERS_TRIED: usize = 5;

/// Asks TensorRT for the outputs' shapes for some inputs' shapes.
pub type Infer<'a> = dyn FnMut(&[Shape]) -> Result<Vec<Shape>> + 'a;

impl Group {
    /// The profiles of an engine by what they take, with the sizes that could be computed.
    pub fn all(description: &Description, options: &InstanceGroupOptions) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for profile in 0..description.profiles.len().max(1) {
            let group = Self::new(description, profile, options);
            let is_alike = |other: &&mut Self| (&other.smallest, &other.largest) == (&group.smallest, &group.largest);
            match groups.iter_mut().find(is_alike) {
                Some(other) => other.profiles.push(profile),
                None => groups.push(group),
            }
        }
        groups
    }

    fn new(description: &Description, profile: usize, options: &InstanceGroupOptions) -> Self {
        let ranges: Vec<_> = description
            .indexes(Role::Input)
            .map(|tensor| {
                let fixed = description.tensors[tensor].shape;
                let range = description.profiles.get(profile).and_then(|profile| profile[tensor]);
                range.map_or([fixed; 3], |range| [range.min, range.opt, range.max])
            })
            .collect();
        let extent = |shape: &Shape| shape.first().map_or(1, |extent| usize::try_from(*extent).unwrap_or(1).max(1));
        let least = ranges.iter().map(|[min, ..]| extent(min)).max().unwrap_or(1);
        let most = ranges.iter().map(|[.., max]| extent(max)).min().unwrap_or(1);
        let has_batch = description.tensors.iter().all(|info| info.shape.first() == Some(&-1));
        let mut group = Self {
            profiles: vec![profile],
            smallest: ranges.iter().map(|[min, ..]| *min).collect(),
            usual: ranges.iter().map(|[_, opt, _]| *opt).collect(),
            largest: ranges.iter().map(|[.., max]| *max).collect(),
            outputs: Vec::new(),
            batched: true,
            known: ranges.iter().all(|[min, _, max]| min.get(1..) == max.get(1..)),
            least,
            most,
            sizes: candidates(least, most, options),
            costs: Vec::new(),
            bytes: Vec::new(),
        };
        if !has_batch || least > most {
            group.run_whole();
        }
        group
    }

    /// Requests are not put together: each is a batch of one, whatever its shapes.
    fn run_whole(&mut self) {
        self.batched = false;
        self.known = self.smallest == self.largest;
        (self.least, self.most, self.sizes) = (1, 1, vec![1]);
        self.outputs = Vec::new();
    }

    /// Finds out what can only be asked: whether the leading extent counts items, and what memory a batch takes.
    pub fn survey(&mut self, description: &Description, infer: &mut Infer<'_>) -> Result<()> {
        if self.batched {
            self.bytes = vec![0; description.tensors.len()];
            match self.try_batches(description, infer)? {
                true => return Ok(()),
                false => self.run_whole(),
            }
        }
        self.bytes = vec![0; description.tensors.len()];
        let mut failure = None;
        let mut is_tried = false;
        for shapes in self.shapes_to_try() {
            match infer(&shapes) {
                Ok(outputs) => {
                    self.note_bytes(description, &shapes, &outputs)?;
                    is_tried = true;
                }
                // Extents that belong together need not do so at all of their ends.
                Err(error) => _ = failure.get_or_insert(error),
            }
        }
        match failure {
            Some(error) if !is_tried => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the plan treats the leading extent as a batch at all sizes and other extents that are tried.
    fn try_batches(&mut self, description: &Description, infer: &mut Infer<'_>) -> Result<bool> {
        let mut is_tried = false;
        for shapes in self.shapes_to_try() {
            let Some(items) = self.items_of(&shapes, infer) else {
                // At one size or another the plan does not take these shapes, or they are not those of a batch.
                if self.known || self.runs(&shapes, infer) {
                    return Ok(false);
                }
                continue;
            };
            is_tried = true;
            for size in [self.least, self.most] {
                let (inputs, outputs) = (self.with_batch(&shapes, size), self.with_batch(&items, size));
                self.note_bytes(description, &inputs, &outputs)?;
            }
            if self.known {
                self.outputs = items;
                break;
            }
        }
        Ok(is_tried)
    }

    /// Whether the plan takes these shapes in a batch of the least or of the most items.
    fn runs(&self, shapes: &[Shape], infer: &mut Infer<'_>) -> bool {
        [self.least, self.most].iter().any(|size| infer(&self.with_batch(shapes, *size)).is_ok())
    }

    /// The outputs' shapes for one item of a batch of these inputs; `None` where items cannot be told apart.
    pub fn items_of(&self, inputs: &[Shape], infer: &mut Infer<'_>) -> Option<Vec<Shape>> {
        let mut items: Option<Vec<Shape>> = None;
        for size in self.sizes_to_try() {
            let outputs = infer(&self.with_batch(inputs, size)).ok()?;
            if outputs.iter().any(|shape| shape.first() != Some(&(size as i64))) {
                return None;
            }
            let outputs = self.with_batch(&outputs, 1);
            if items.get_or_insert_with(|| outputs.clone()) != &outputs {
                return None;
            }
        }
        items
    }

    /// All sizes where they are few, else those at either end and those that are computed.
    fn sizes_to_try(&self) -> Vec<usize> {
        if !self.known {
            // Asked for each new request's other extents.
            let mut sizes = vec![self.least, self.least + 1, self.least.midpoint(self.most), self.most];
            sizes.retain(|size| (self.least..=self.most).contains(size));
            sizes.sort_unstable();
            sizes.dedup();
            return sizes;
        }
        let low = self.least..=self.most.min(self.least + SIZES_TRIED);
        let high = self.most.saturating_sub(SIZES_TRIED).max(self.least)..=self.most;
        let mut sizes: Vec<_> = low.chain(self.sizes.iter().copied()).chain(high).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// Shapes from the smallest to the largest, the usual ones, and those with some extents smallest and the others largest.
    fn shapes_to_try(&self) -> Vec<Vec<Shape>> {
        if self.known {
            return vec![self.largest.clone()];
        }
        let blend = |extent: &dyn Fn(usize, i64, i64) -> i64| -> Vec<Shape> {
            let mut number = 0;
            let ranges = self.smallest.iter().zip(&self.largest);
            let shapes = ranges.map(|(min, max)| {
                let mut shape = *max;
                for axis in 0..max.len() {
                    if min[axis] != max[axis] {
                        shape.set(axis, extent(number, min[axis], max[axis]));
                        number += 1;
                    }
                }
                shape
            });
            shapes.collect()
        };
        let mut all = vec![self.usual.clone()];
        all.extend((0..=STEPS_TRIED).map(|step| blend(&|_, min, max| min + (max - min) * step / STEPS_TRIED)));
        let open = self
            .smallest
            .iter()
            .zip(&self.largest)
            .map(|(min, max)| (0..max.len()).filter(|axis| min[*axis] != max[*axis]).count());
        if (2..=CORNERS_TRIED).contains(&open.sum()) {
            all.extend(
                (0..1u32 << CORNERS_TRIED)
                    .map(|corner| blend(&|i, min, max| if corner >> i & 1 == 1 { max } else { min })),
            );
        }
        // What is tried of a batch is its other extents.
        all.iter_mut().for_each(|shapes| *shapes = self.with_batch(shapes, self.least));
        all.sort_unstable_by(|a, b| a.iter().map(|shape| &shape[..]).cmp(b.iter().map(|shape| &shape[..])));
        all.dedup();
        all
    }

    fn note_bytes(&mut self, description: &Description, inputs: &[Shape], outputs: &[Shape]) -> Result<()> {
        for (bytes, needed) in self.bytes.iter_mut().zip(bytes_of(description, inputs, outputs)?) {
            *bytes = needed.max(*bytes);
        }
        Ok(())
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

/// The bytes of all tensors of these shapes.
pub fn bytes_of(description: &Description, inputs: &[Shape], outputs: &[Shape]) -> Result<Vec<usize>> {
    let shapes = inputs.iter().chain(outputs);
    description.tensors.iter().zip(shapes).map(|(info, shape)| shape.bytes(info.element_type)).collect()
}

/// Their sum.
pub fn sum(bytes: &[usize]) -> Result<usize> {
    let sum = bytes.iter().try_fold(0usize, |sum, bytes| sum.checked_add(*bytes));
    sum.ok_or_else(|| Error::new(Code::OutOfMemory, "a batch's memory has more bytes than there are addresses"))
}

fn candidates(least: usize, most: usize, options: &InstanceGroupOptions) -> Vec<usize> {
    let largest = if options.largest == 0 { most } else { options.largest.clamp(least, most.max(least)) };
    let powers = std::iter::successors(Some(1usize), |power| power.checked_mul(2)).take_while(|power| *power < largest);
    let mut sizes: Vec<_> = powers.chain(options.preferred.iter().copied()).chain([least, largest]).collect();
    sizes.retain(|size| (least..=largest.max(least)).contains(size));
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Backend, ProfileShape, TensorInfo};
    use crate::tensor::{ElementType, MemoryKind};
    use std::ffi::CString;

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
    fn a_stream_settles_on_larger_batches() {
        // Seconds that batches of 1, 2, 4, … take: the sizes that a session computes.
        let settles = |seconds: &[f64], is_stream| {
            let costs = seconds.iter().enumerate().map(|(i, seconds)| (1 << i, *seconds)).collect::<Vec<_>>();
            let more = costs.windows(2).take_while(|pair| size_pays(pair[1], pair[0], is_stream)).map(|pair| pair[1].0);
            [1].into_iter().chain(more).collect::<Vec<_>>()
        };
        // Little is gained by each size: 5 % and then 3.
        let full = [1.0, 1.9, 3.69, 7.37];
        assert_eq!((settles(&full, false), settles(&full, true)), (vec![1], vec![1, 2, 4]));
        // Much, then nothing, and then much again, which is not tried.
        let small = [1.0, 1.2, 2.4, 2.5];
        assert_eq!((settles(&small, false), settles(&small, true)), (vec![1, 2], vec![1, 2]));
        // Just what is asked of either, and a little more; what takes longer than one after the other.
        for (is_stream, gain) in [(false, GAIN_WORTH_WAITING_FOR), (true, GAIN_OF_A_STREAM)] {
            assert_eq!(settles(&[1.0, 2.0 / gain * 1.0001], is_stream), [1]);
            assert_eq!(settles(&[1.0, 2.0 / gain * 0.9999], is_stream), [1, 2]);
            assert_eq!(settles(&[1.0, 2.3], is_stream), [1]);
        }
        // From one that the application prefers to the next.
        assert!(size_pays((6, 5.0), (4, 3.8), false) && !size_pays((6, 5.6), (4, 3.8), true));
    }

    /// A plan with inputs and one output of these open shapes, its inputs within one profile.
    fn description(inputs: &[[&[i64]; 2]], output: &[i64]) -> Description {
        let open = |[min, max]: &[&[i64]; 2]| {
            let extents = min.iter().zip(*max).map(|(min, max)| if min == max { *min } else { -1 });
            Shape::new(&extents.collect::<Vec<_>>()).unwrap()
        };
        let tensor = |role, shape| TensorInfo {
            name: c"t".to_owned(),
            role,
            element_type: ElementType::Float32,
            memory_kind: MemoryKind::Device,
            shape,
        };
        let range = |[min, max]: &[&[i64]; 2]| {
            let (min, max) = (Shape::new(min).unwrap(), Shape::new(max).unwrap());
            Some(ProfileShape { min, opt: max, max })
        };
        let mut tensors: Vec<_> = inputs.iter().map(|input| tensor(Role::Input, open(input))).collect();
        tensors.push(tensor(Role::Output, Shape::new(output).unwrap()));
        Description {
            backend: Backend::TensorRt,
            name: CString::default(),
            device_name: CString::default(),
            tensors,
            profiles: vec![inputs.iter().map(range).chain([None]).collect()],
            device_memory_size: 0,
            fingerprint: 0,
        }
    }

    /// The group of such a plan, after it was surveyed.
    fn surveyed(inputs: &[[&[i64]; 2]], output: &[i64], infer: impl Fn(&[Shape]) -> Option<Vec<i64>>) -> Result<Group> {
        let description = description(inputs, output);
        let mut group = Group::all(&description, &InstanceGroupOptions::default()).remove(0);
        let infer = &mut |shapes: &[Shape]| {
            let outputs = infer(shapes).ok_or_else(|| Error::new(Code::Shape, "refused"));
            outputs.map(|extents| vec![Shape::new(&extents).unwrap()])
        };
        group.survey(&description, infer).map(|()| group)
    }

    #[test]
    fn items_are_told_apart_at_every_size() {
        let rows: [[&[i64]; 2]; 1] = [[&[1, 4], &[16, 4]]];
        let group = surveyed(&rows, &[-1, 2], |x| Some(vec![x[0][0], 2])).unwrap();
        assert!(group.batched && group.outputs == [Shape::new(&[1, 2]).unwrap()]);
        assert_eq!((group.most, group.bytes.as_slice()), (16, &[16 * 16, 16 * 8][..]));
        // Every second row, fewer rows for more, all rows with all, one row too many at one size, a size that is refused.
        let unruly: [&dyn Fn(i64) -> Option<Vec<i64>>; 5] = [
            &|n| Some(vec![(n + 1) / 2, 4]),
            &|n| Some(vec![17 - n, 4]),
            &|n| Some(vec![n, n]),
            &|n| Some(vec![n + i64::from(n == 7), 4]),
            &|n| (n != 9).then(|| vec![n, 4]),
        ];
        let bytes = [8 * 16, 16 * 16, 16 * 64, 16 * 16, 16 * 16];
        for (infer, bytes) in unruly.iter().zip(bytes) {
            let group = surveyed(&rows, &[-1, -1], |x| infer(x[0][0])).unwrap();
            assert!(!group.batched && !group.known && (group.most, group.sizes.as_slice()) == (1, &[1][..]));
            assert_eq!(group.bytes, [16 * 16, bytes]);
        }
        assert!(surveyed(&rows, &[-1, -1], |_| None).is_err());
    }

    #[test]
    fn inputs_that_share_no_batch_size_are_no_batch() {
        let inputs: [[&[i64]; 2]; 2] = [[&[1, 4], &[4, 4]], [&[6, 4], &[16, 4]]];
        let group = surveyed(&inputs, &[-1, 4], |x| Some(vec![x[0][0], 4])).unwrap();
        assert!(!group.batched && group.bytes == [4 * 16, 16 * 16, 4 * 16]);
    }

    #[test]
    fn open_extents_are_tried_at_their_ends_and_between() {
        let inputs: [[&[i64]; 2]; 1] = [[&[1, 1], &[4, 1000]]];
        let wide = |x: &[Shape]| Some(vec![x[0][0], 1001 - x[0][1]]);
        let group = surveyed(&inputs, &[-1, -1], wide).unwrap();
        assert!(group.batched && !group.known && group.bytes == [4 * 4000, 4 * 4000]);
        // Extents that belong together, as of two images of one size, are refused elsewhere.
        let inputs: [[&[i64]; 2]; 2] = [[&[1, 1], &[4, 9]], [&[1, 1], &[4, 9]]];
        let same = |x: &[Shape]| (x[0][1] == x[1][1]).then(|| vec![x[0][0], x[0][1]]);
        assert!(surveyed(&inputs, &[-1, -1], same).unwrap().batched);
    }

    #[test]
    fn at_once_pays_where_it_is_clearly_faster() {
        assert!(pays(126.0, 2.0 * 117.0) && pays(390.0, 2.0 * 236.0));
        assert!(!pays(2420.0, 2.0 * 1266.0) && !pays(2.0, 2.0));
    }
}
