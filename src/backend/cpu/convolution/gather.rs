//! A tile's voxels without the padding that lies between them in the ring.

use super::kernel::Tile;
use super::ring::Ring;
use super::{Convolution, GATHERED_PORTION, Part, Phase, Reading};
use std::collections::TryReserveError;
use std::ops::Range;

/// Elements that are copied at once, whether so many are wanted or not: what is too much is written over by the next.
pub(super) const COPIED: usize = 16;

/// For some channels and each tap of a phase a tile's voxels, one after the other.
pub struct Gathered {
    data: Vec<Line>,
    /// Where the tile's voxels lie.
    segments: Vec<Segment>,
    /// For each tap, what it reads of each of the planes: places in the ring, from the first channel's first element on.
    reached: Vec<usize>,
    planes: usize,
    /// In bytes from the first channel's first tap on.
    taps: Vec<usize>,
}

/// In the processor's own units, so that no vector lies in two.
#[repr(align(64))]
#[derive(Clone)]
struct Line(#[expect(dead_code, reason = "it is used by address")] [f32; 16]);

/// Voxels that lie beside each other in the ring.
struct Segment {
    /// Among those that are computed at once.
    plane: usize,
    /// From where a tap reads of that plane.
    from: usize,
    /// In the tile.
    to: usize,
    count: usize,
}

impl Gathered {
    pub fn new(convolution: &Convolution) -> Result<Self, TryReserveError> {
        let count = Self::bytes(convolution) / size_of::<Line>();
        let mut data = Vec::new();
        data.try_reserve_exact(count)?;
        data.resize(count, Line([0.0; 16]));
        Ok(Self { data, segments: Vec::new(), reached: Vec::new(), planes: 0, taps: Vec::new() })
    }

    pub fn bytes(convolution: &Convolution) -> usize {
        if !matches!(convolution.reading, Reading::Gathered(_)) {
            return 0;
        }
        let phases = convolution.parts.iter().flat_map(|part| &part.phases);
        let taps = phases.map(|phase| phase.taps.len()).max().unwrap_or(0);
        let channels = (GATHERED_PORTION / taps.max(1)).clamp(1, convolution.geometry.input_channels.max(1));
        let elements = channels * taps * convolution.kernel.voxels + COPIED;
        elements.div_ceil(16) * size_of::<Line>()
    }

    /// Notes where these voxels lie, which are counted along a part's own columns, rows and planes.
    pub fn find(&mut self, part: &Part, ring: &Ring, voxels: &Range<usize>) {
        let [_, rows, columns] = part.count;
        self.segments.clear();
        let mut voxel = voxels.start;
        while voxel < voxels.end {
            let (row, column) = (voxel / columns, voxel % columns);
            let count = (columns - column).min(voxels.end - voxel);
            let from = row % rows * ring.columns + column;
            self.segments.push(Segment { plane: row / rows, from, to: voxel - voxels.start, count });
            voxel += count;
        }
    }

    /// Notes where a phase's taps read, for these output planes.
    pub fn reach(&mut self, convolution: &Convolution, ring: &Ring, phase: &Phase, planes: &Range<usize>) {
        self.planes = planes.len();
        self.reached.clear();
        self.taps.clear();
        for (number, tap) in phase.taps.iter().enumerate() {
            self.reached.extend(planes.clone().map(|plane| ring.offset(convolution, plane, tap)));
            self.taps.push(number * convolution.kernel.voxels * size_of::<f32>());
        }
    }

    /// Brings the voxels together as some channels have them: a tile without its weights.
    pub fn tile(&mut self, convolution: &Convolution, ring: &Ring, channels: &Range<usize>) -> Tile<'_> {
        let width = convolution.kernel.voxels;
        let channel_stride = self.taps.len() * width;
        // What is copied below ends within both.
        assert!(channels.len() * channel_stride + COPIED <= self.data.len() * 16);
        assert!(channels.end * ring.channel + COPIED <= ring.data.len());
        // SAFETY: as was seen; the voxels that were found and what taps reach are the ring's.
        unsafe { self.copy(ring, channels, width) };
        Tile {
            input: self.data.as_ptr().cast(),
            channel_stride,
            channels: channels.len(),
            taps: &self.taps,
            weights: std::ptr::null(),
            goes_on: channels.start > 0,
        }
    }

    /// # Safety
    /// There is room for all, and for what is copied beyond; the segments and what is reached are the ring's.
    unsafe fn copy(&mut self, ring: &Ring, channels: &Range<usize>, width: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2")]
            unsafe fn wide(gathered: &mut Gathered, ring: &Ring, channels: &Range<usize>, width: usize) {
                // SAFETY: as the caller says.
                unsafe { gathered.copy_plainly(ring, channels, width) };
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: as the caller says; the processor has the instructions.
                return unsafe { wide(self, ring, channels, width) };
            }
        }
        // SAFETY: as the caller says.
        unsafe { self.copy_plainly(ring, channels, width) };
    }

    /// # Safety
    /// As for `copy`.
    #[inline(always)]
    unsafe fn copy_plainly(&mut self, ring: &Ring, channels: &Range<usize>, width: usize) {
        let channel_stride = self.taps.len() * width;
        let all = self.data.as_mut_ptr().cast::<f32>();
        for (number, channel) in channels.clone().enumerate() {
            for (tap, reached) in self.reached.chunks_exact(self.planes.max(1)).enumerate() {
                for segment in &self.segments {
                    let from = channel * ring.channel + reached[segment.plane] + segment.from;
                    let to = number * channel_stride + tap * width + segment.to;
                    for done in (0..segment.count).step_by(COPIED) {
                        // SAFETY: as the caller says; the ring and the tile have so many elements behind the last voxel.
                        unsafe {
                            let from = ring.data.as_ptr().add(from + done);
                            std::ptr::copy_nonoverlapping(from, all.add(to + done), COPIED);
                        }
                    }
                }
            }
        }
    }
}
