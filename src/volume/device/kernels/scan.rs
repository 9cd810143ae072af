//! A scan as it comes: read, and its values changed.

use super::{Extents, Kernels, ROWS, pointers, portions, same, small, wrong};
use crate::error::Result;
use crate::tensor::ElementType;
use crate::volume::device::buffer::View;
use crate::volume::image::Span;
use crate::volume::intensity::{Change, Which};
use std::ops::Range;

#[repr(C)]
#[derive(Clone, Copy)]
struct Layout {
    first: i64,
    strides: [i64; 3],
    slope: f64,
    intercept: f64,
    element: u32,
    is_rescaled: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Changing {
    kind: u32,
    which: u32,
    divides: u32,
    clips: u32,
    low: f32,
    high: f32,
    minus: f32,
    divisor: f32,
    factor: f32,
    plus: f32,
}

impl From<Change> for Changing {
    fn from(change: Change) -> Self {
        match change {
            Change::Nothing => Self::default(),
            Change::Ct { low, high, mean, divisor } => {
                Self { kind: 1, low, high, minus: mean, divisor, ..Self::default() }
            }
            Change::Shifted { minus, divisor, which } => {
                let which = match which {
                    Which::All => 0,
                    Which::Masked => 1,
                    Which::Nonzero => 2,
                };
                Self { kind: 2, which, minus, divisor, ..Self::default() }
            }
            Change::Range { minus, divisor, factor, plus, clip } => {
                let (low, high) = clip.unwrap_or_default();
                let (divides, clips) = (u32::from(divisor.is_some()), u32::from(clip.is_some()));
                let divisor = divisor.unwrap_or(1.0);
                Self { kind: 3, divides, clips, low, high, minus, divisor, factor, plus, ..Self::default() }
            }
        }
    }
}

impl Kernels {
    /// Reads a channel of a scan, whose [`Span`] is in memory, and changes its values: [`image::View::read`](crate::volume::image::View)
    /// and [`Change::apply`]. `target` is dense.
    pub fn read(
        &self,
        span: &Span<'_>,
        memory: View<'_, u8>,
        channel: usize,
        change: Change,
        mask: Option<View<'_, u8>>,
        target: View<'_, f32>,
    ) -> Result<()> {
        let planes = 0..span.layout.extents[0];
        self.read_planes(span, (memory, 0), channel, planes, change, mask, target)
    }

    /// The same of some planes, which are among those bytes of the span that there are from byte `start` on.
    #[expect(clippy::too_many_arguments)]
    pub fn read_planes(
        &self,
        span: &Span<'_>,
        (memory, start): (View<'_, u8>, usize),
        channel: usize,
        planes: Range<usize>,
        change: Change,
        mask: Option<View<'_, u8>>,
        target: View<'_, f32>,
    ) -> Result<()> {
        let part = span.planes(channel, &planes);
        let [depth, height, width] = part.extents;
        let size = span.element_type.size();
        let end = start.saturating_add(memory.count());
        let is_within = |(least, most): (isize, isize)| {
            least >= start as isize && most.unsigned_abs().checked_add(size).is_some_and(|last| last <= end)
        };
        if !part.bounds().is_some_and(is_within) {
            return Err(wrong(format!("planes {planes:?} that are not in bytes {start} to {end} of a scan")));
        }
        same("a channel's values", target.count(), depth * height * width)?;
        if let Some(mask) = mask {
            same("a mask's voxels", mask.count(), target.count())?;
        }
        let mut layout = Layout {
            first: (part.first - start as isize) as i64,
            strides: part.strides.map(|stride| stride as i64),
            slope: span.rescale.unwrap_or_default().0,
            intercept: span.rescale.unwrap_or_default().1,
            element: match span.element_type {
                ElementType::Int8 => 0,
                ElementType::Uint8 => 1,
                ElementType::Int16 => 2,
                ElementType::Uint16 => 3,
                ElementType::Int32 => 4,
                ElementType::Float16 => 5,
                _ => 6,
            },
            is_rescaled: u32::from(span.rescale.is_some()),
        };
        small("voxels", depth)?;
        let mut whole = Extents([depth, height, width].map(|extent| extent as u32));
        let mut changing = Changing::from(change);
        let (mut from, mut to) = (memory.address(), target.address());
        let mut inside = mask.map_or(std::ptr::null_mut(), |mask| mask.address());
        let mut arguments = pointers![from, layout, whole, changing, inside, to];
        self.launch(self.loaded.functions.read, height * width, depth.min(ROWS), 1, &mut arguments)
    }

    /// [`Change::apply`] to all values of one channel, without a mask.
    pub fn change(&self, values: View<'_, f32>, change: Change) -> Result<()> {
        let mut at = values.address();
        for length in portions(values.count()) {
            let (mut count, mut changing) = (small("values", length)?, Changing::from(change));
            let mut arguments = pointers![at, count, changing];
            self.launch(self.loaded.functions.change, length, 1, 1, &mut arguments)?;
            at = at.wrapping_byte_add(length * size_of::<f32>());
        }
        Ok(())
    }
}
