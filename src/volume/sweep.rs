//! The sweep along axis 0: tiles are blended into a ring of planes, and a plane is given out as soon as no tile is left that has
//! it. So memory grows with the patch and not with the volume.

use super::tiles::Tiles;
use super::work::allocate;
use crate::error::Result;
use std::sync::Arc;

pub struct Sweep {
    tiles: Tiles,
    channels: usize,
    window: Arc<[f32]>,
    /// As many planes as a tile has, plane `z` in place `z` modulo their number: for each channel the sum of what tiles give,
    /// weighted, and then the sum of the weights.
    ring: Vec<f32>,
    planes: usize,
    /// The tile that is blended next.
    next: usize,
    /// The planes that were given out.
    given: usize,
}

impl Sweep {
    /// `window` has one weight for each voxel of the patch.
    pub fn new(tiles: Tiles, channels: usize, window: Arc<[f32]>) -> Result<Self> {
        let planes = tiles.patch[0].min(tiles.extents[0]);
        let elements = usize::try_from(Self::memory(&tiles, channels) / size_of::<f32>() as u64).unwrap_or(usize::MAX);
        let ring = allocate(&format!("{planes} planes of {channels} channels"), elements)?;
        Ok(Self { tiles, channels, window, ring, planes, next: 0, given: 0 })
    }

    /// Bytes of the ring.
    pub fn memory(tiles: &Tiles, channels: usize) -> u64 {
        let [depth, height, width] = tiles.swept().map(|extent| extent as u64);
        let plane =
            (channels as u64 + 1).saturating_mul(height).saturating_mul(width).saturating_mul(size_of::<f32>() as u64);
        plane.saturating_mul(depth.min(tiles.patch[0] as u64))
    }

    /// Blends what the network gives for the next tile, `[channel, z, y, x]`. `plane` is called with planes that are final,
    /// one after the other: their number, and `[channel, y, x]`.
    pub fn blend(&mut self, tile: &[f32], mut plane: impl FnMut(usize, &mut [f32]) -> Result<()>) -> Result<()> {
        let start = self.tiles.start(self.next);
        self.add(tile, start);
        self.next += 1;
        let end = self.tiles.final_planes(self.next);
        let [_, height, width] = self.tiles.swept();
        let size = height * width;
        while self.given < end {
            let slot = self.ring.chunks_exact_mut((self.channels + 1) * size).nth(self.given % self.planes);
            let Some((sums, weights)) = slot.map(|slot| slot.split_at_mut(self.channels * size)) else { break };
            for channel in sums.chunks_exact_mut(size) {
                channel.iter_mut().zip(&*weights).for_each(|(sum, weight)| *sum /= weight);
            }
            plane(self.given, sums)?;
            sums.fill(0.0);
            weights.fill(0.0);
            self.given += 1;
        }
        Ok(())
    }

    fn add(&mut self, tile: &[f32], start: [isize; 3]) {
        let [_, height, width] = self.tiles.swept();
        let [patch_depth, patch_height, patch_width] = self.tiles.patch;
        let [(zs, tile_z), (ys, tile_y), (xs, tile_x)] = [0, 1, 2].map(|axis| self.tiles.covered(axis, start[axis]));
        let size = height * width;
        for (z, tile_z) in zs.zip(tile_z..) {
            let slot = &mut self.ring[(z % self.planes) * (self.channels + 1) * size..][..(self.channels + 1) * size];
            let (sums, weight_sums) = slot.split_at_mut(self.channels * size);
            for (y, tile_y) in ys.clone().zip(tile_y..) {
                let weights = &self.window[(tile_z * patch_height + tile_y) * patch_width + tile_x..][..xs.len()];
                let row = y * width + xs.start;
                for (channel, sums) in sums.chunks_exact_mut(size).enumerate() {
                    let from = ((channel * patch_depth + tile_z) * patch_height + tile_y) * patch_width + tile_x;
                    let values = &tile[from..][..xs.len()];
                    for ((sum, value), weight) in sums[row..][..xs.len()].iter_mut().zip(values).zip(weights) {
                        // The product is rounded before it is added, as in a program that does one after the other.
                        *sum += value * weight;
                    }
                }
                weight_sums[row..][..xs.len()].iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
            }
        }
    }
}

/// Adds what the network gave for a tile that was mirrored along some axes, mirrored back, to a sum; it is the sum where there
/// is none yet.
pub fn add_mirrored(tile: &[f32], patch: [usize; 3], mirrored: [bool; 3], first: bool, sum: &mut [f32]) {
    let [depth, height, width] = patch;
    let at = |axis: usize, i: usize| if mirrored[axis] { patch[axis] - 1 - i } else { i };
    for (tile, sum) in tile.chunks_exact(depth * height * width).zip(sum.chunks_exact_mut(depth * height * width)) {
        for (row, sum) in sum.chunks_exact_mut(width).enumerate() {
            let (z, y) = (row / height, row % height);
            let row = &tile[(at(0, z) * height + at(1, y)) * width..][..width];
            let pairs = sum.iter_mut();
            match (mirrored[2], first) {
                (false, true) => sum.copy_from_slice(row),
                (false, false) => pairs.zip(row).for_each(|(sum, value)| *sum += value),
                (true, true) => pairs.zip(row.iter().rev()).for_each(|(sum, value)| *sum = *value),
                (true, false) => pairs.zip(row.iter().rev()).for_each(|(sum, value)| *sum += value),
            }
        }
    }
}

/// The ways to mirror a tile, none at first: all subsets of the axes, small ones first.
pub fn mirrorings(axes: [bool; 3]) -> Vec<[bool; 3]> {
    let mut all: Vec<[bool; 3]> = (0..8usize)
        .map(|bits| [bits & 4 != 0, bits & 2 != 0, bits & 1 != 0])
        .filter(|subset| subset.iter().zip(&axes).all(|(taken, allowed)| !taken || *allowed))
        .collect();
    // Axis 0 alone comes before axis 1 alone, as itertools.combinations has them.
    all.sort_by_key(|subset| (subset.iter().filter(|taken| **taken).count(), subset.map(|taken| !taken)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Error};
    use crate::volume::recipe::{Padding, Placement, Tiling, Window};
    use crate::volume::window::weights;

    fn value(i: usize) -> f32 {
        ((i * 7919) % 1009) as f32 / 97.0 - 4.0
    }

    /// The sum over the whole volume, filled up to the patch, and the weights' sum.
    fn oracle(tiles: &Tiles, channels: usize, window: &[f32], results: &[Vec<f32>]) -> Vec<f32> {
        let [depth, height, width] = tiles.extents;
        let [d, h, w] = tiles.patch;
        let size = depth * height * width;
        let (mut sums, mut counts) = (vec![0f32; channels * size], vec![0f32; size]);
        for (number, result) in results.iter().enumerate() {
            let start = tiles.start(number);
            for (i, weight) in window.iter().enumerate() {
                let at = [i / (h * w), i / w % h, i % w];
                let Some([z, y, x]) = at
                    .iter()
                    .zip(start)
                    .zip(tiles.extents)
                    .map(|((at, start), extent)| usize::try_from(*at as isize + start).ok().filter(|at| *at < extent))
                    .collect::<Option<Vec<_>>>()
                    .and_then(|at| <[usize; 3]>::try_from(at).ok())
                else {
                    continue;
                };
                let voxel = (z * height + y) * width + x;
                counts[voxel] += weight;
                for channel in 0..channels {
                    let product = result[channel * d * h * w + i] * weight;
                    sums[channel * size + voxel] += product;
                }
            }
        }
        sums.iter().enumerate().map(|(i, sum)| sum / counts[i % size]).collect()
    }

    fn compare(
        extents: [usize; 3],
        patch: [usize; 3],
        overlap: f64,
        placement: Placement,
        window: Window,
        channels: usize,
    ) {
        let tiling = Tiling { patch, overlap, placement, padding: Padding::Edge, window, mirrored: [false; 3] };
        let tiles = Tiles::new(extents, &tiling, [0; 3]).unwrap();
        let window = weights(&tiling.window, patch).unwrap();
        let results: Vec<Vec<f32>> = (0..tiles.count())
            .map(|tile| (0..channels * patch.iter().product::<usize>()).map(|i| value(i + 31 * tile)).collect())
            .collect();
        let wanted = oracle(&tiles, channels, &window, &results);
        let size = extents[1] * extents[2];
        let mut planes = 0;
        let mut sweep = Sweep::new(tiles, channels, window.into()).unwrap();
        for result in &results {
            sweep
                .blend(result, |z, plane| {
                    assert_eq!((z, plane.len()), (planes, channels * size));
                    planes += 1;
                    for (channel, plane) in plane.chunks_exact(size).enumerate() {
                        let wanted = &wanted[(channel * extents[0] + z) * size..][..size];
                        assert!(
                            plane.iter().zip(wanted).all(|(a, b)| a.to_bits() == b.to_bits()),
                            "{extents:?} {patch:?} {z}"
                        );
                    }
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(planes, extents[0]);
    }

    #[test]
    fn bit_for_bit_as_over_the_whole_volume() {
        let windows = [Window::Constant, Window::NnUnet, Window::Monai { sigma_scale: 0.125 }];
        for patch in [1usize, 3, 4] {
            for extent in [patch.saturating_sub(1).max(1), patch, patch + 1, 2 * patch - 1, 3 * patch + 2] {
                for placement in [Placement::Even, Placement::ShiftedBack] {
                    for window in &windows {
                        compare([extent, 5, 7], [patch, 3, 4], 0.5, placement, window.clone(), 2);
                        compare([3, extent, 7], [2, patch, 8], 0.25, placement, window.clone(), 1);
                        compare([3, 2, extent], [2, 4, patch], 0.25, placement, window.clone(), 3);
                    }
                }
            }
        }
        compare([9, 3, 3], [4, 2, 2], 0.5, Placement::Even, Window::NnUnet, 300);
    }

    #[test]
    fn an_error_of_the_reader_ends_it() {
        let tiling = Tiling {
            patch: [2, 1, 1],
            overlap: 0.0,
            placement: Placement::Even,
            padding: Padding::Edge,
            window: Window::Constant,
            mirrored: [false; 3],
        };
        let mut sweep = Sweep::new(Tiles::new([2, 1, 1], &tiling, [0; 3]).unwrap(), 1, vec![1.0; 2].into()).unwrap();
        let stop = |_: usize, _: &mut [f32]| Err(Error::new(Code::Cancelled, "as the test asked"));
        assert_eq!(sweep.blend(&[1.0, 2.0], stop).unwrap_err().code(), Code::Cancelled);
    }

    #[test]
    fn mirrored_and_back() {
        assert_eq!(mirrorings([false; 3]), [[false; 3]]);
        let axes: Vec<Vec<usize>> =
            mirrorings([true; 3]).iter().map(|subset| (0..3).filter(|axis| subset[*axis]).collect()).collect();
        assert_eq!(axes, [vec![], vec![0], vec![1], vec![2], vec![0, 1], vec![0, 2], vec![1, 2], vec![0, 1, 2]]);
        assert_eq!(mirrorings([true, false, false]), [[false; 3], [true, false, false]]);
        // A network that changes nothing gives back what it was given, whatever the mirroring.
        let patch = [2, 3, 4];
        let tiling = Tiling {
            patch,
            overlap: 0.0,
            placement: Placement::Even,
            padding: Padding::Edge,
            window: Window::Constant,
            mirrored: [true; 3],
        };
        let tiles = Tiles::new(patch, &tiling, [0; 3]).unwrap();
        let volume: Vec<f32> = (0..48).map(|i| i as f32).collect();
        let mut sum = vec![f32::NAN; 48];
        for (i, mirrored) in mirrorings(tiling.mirrored).into_iter().enumerate() {
            let mut tile = vec![f32::NAN; 48];
            tiles.gather(&volume, tiles.start(0), mirrored, tiling.padding, &mut tile);
            add_mirrored(&tile, patch, mirrored, i == 0, &mut sum);
        }
        assert!(sum.iter().zip(&volume).all(|(sum, value)| sum / 8.0 == *value));
    }
}
