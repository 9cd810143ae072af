//! Each kernel against its twin, on a GPU: `cargo test --release --lib -- --ignored volume::device`.

use super::*;
use crate::cuda::{Device, Stream};
use crate::volume::decide::{activate, decide};
use crate::volume::recipe::{
    Activation, Interpolation, Padding, Placement, Resampling, ResamplingGeometry, Rule, Tiling, Window,
};
use crate::volume::resample::{PlaneResampler, Way};
use crate::volume::sweep::{Sweep, add_mirrored, mirrorings};
use crate::volume::tiles::{Tiles, constants};
use crate::volume::window::weights;
use crate::volume::work::tests::PLAIN;
use std::sync::Arc;

fn kernels() -> Arc<Kernels> {
    let device = Device::open(0).expect("a GPU");
    let stream = Arc::new(Stream::new(&device, 0).unwrap());
    Arc::new(Kernels::new(&device, stream).unwrap())
}

fn value(i: usize) -> f32 {
    ((i * 7919) % 1009) as f32 / 97.0 - 4.0
}

fn values(count: usize) -> Vec<f32> {
    (0..count).map(value).collect()
}

/// With what is no number, and what is none that ends, here and there.
fn odd_values(count: usize) -> Vec<f32> {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-40, 700.0, -90.0];
    (0..count).map(|i| if i % 5 == 3 { odd[i / 5 % odd.len()] } else { value(i) }).collect()
}

/// Not only as far as numbers compare equal: to the bit, but for which of the many that are no number it is.
fn assert_same(found: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let same = found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan();
        assert!(same, "{what}, value {i}: {found:e}, on the host {wanted:e}");
    }
}

fn to_host<T: super::buffer::Element>(kernels: &Kernels, from: &Buffer<T>) -> Vec<T> {
    let mut values = vec![T::default(); from.view().count()];
    kernels.download(from.view(), &mut values).unwrap();
    values
}

fn tiling(patch: [usize; 3], padding: Padding, placement: Placement, window: Window) -> Tiling {
    Tiling { patch, overlap: 0.5, placement, padding, window, mirrored: [true; 3] }
}

const SHAPES: [([usize; 3], [usize; 3]); 5] = [
    ([1, 1, 1], [1, 1, 1]),
    ([20, 19, 37], [8, 9, 16]),
    ([3, 2, 5], [8, 9, 16]),
    ([1, 7, 6], [4, 1, 5]),
    ([33, 5, 40], [32, 8, 39]),
];

#[test]
#[ignore = "needs a GPU"]
fn tiles_are_gathered() {
    let kernels = kernels();
    for (extents, patch) in SHAPES {
        for padding in [Padding::Constant(-3.5), Padding::Edge, Padding::Reflect] {
            let tiling = tiling(patch, padding, Placement::Even, Window::Constant);
            let tiles = Tiles::new(extents, &tiling, [0; 3]).unwrap();
            let volume = odd_values(2 * extents.iter().product::<usize>());
            let on_device = kernels.upload(&volume).unwrap();
            let mut wanted = vec![0.0; tiles.elements(2)];
            let tile = kernels.buffer(wanted.len()).unwrap();
            for number in 0..tiles.count() {
                for mirrored in mirrorings([true; 3]) {
                    let start = tiles.start(number);
                    tiles.gather(&volume, start, mirrored, padding, &mut wanted);
                    kernels.gather(&tiles, on_device.view(), start, mirrored, padding, tile.view()).unwrap();
                    let what = format!("{extents:?} {patch:?} {padding:?} {number} {mirrored:?}");
                    assert_same(&to_host(&kernels, &tile), &wanted, &what);
                }
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn tiles_of_one_value_are_found() {
    let kernels = kernels();
    for (extents, patch) in SHAPES {
        for padding in [Padding::Constant(0.0), Padding::Edge, Padding::Reflect] {
            let tiling = tiling(patch, padding, Placement::ShiftedBack, Window::Constant);
            let tiles = Tiles::new(extents, &tiling, [0; 3]).unwrap();
            let size: usize = extents.iter().product();
            // All of one value but for the last voxel of one channel; then a half of each.
            let mut one = vec![1.5; 2 * size];
            one[2 * size - 1] = -0.0;
            let half = (0..2 * size).map(|i| if i % size < size / 2 { 0.0 } else { f32::NAN }).collect();
            for volume in [one, half, vec![0.0; 2 * size], values(2 * size)] {
                let mut tile = vec![0.0; tiles.elements(2)];
                let wanted: Vec<_> = (0..tiles.count())
                    .map(|number| {
                        tiles.gather(&volume, tiles.start(number), [false; 3], padding, &mut tile);
                        constants(&tile, 2)
                    })
                    .collect();
                let found = kernels.constants(&tiles, kernels.upload(&volume).unwrap().view(), padding).unwrap();
                assert_eq!(found, wanted, "{extents:?} {patch:?} {padding:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn mirrored_tiles_are_added() {
    let kernels = kernels();
    let patch = [8, 9, 17];
    let count = 3 * 8 * 9 * 17;
    let mut wanted = vec![0.0; count];
    let sum = kernels.buffer(count).unwrap();
    for (i, mirrored) in mirrorings([true; 3]).into_iter().enumerate() {
        let tile: Vec<_> = odd_values(count + i)[i..].to_vec();
        add_mirrored(&tile, patch, mirrored, i == 0, &mut wanted);
        let tile = kernels.upload(&tile).unwrap();
        kernels.add_mirrored(tile.view(), patch, mirrored, i == 0, sum.view()).unwrap();
        assert_same(&to_host(&kernels, &sum), &wanted, &format!("{mirrored:?}"));
    }
    wanted.iter_mut().for_each(|sum| *sum /= 7.0);
    kernels.divide(sum.view(), 7.0).unwrap();
    assert_same(&to_host(&kernels, &sum), &wanted, "the mean");
}

#[test]
#[ignore = "needs a GPU"]
fn what_is_no_number_is_found() {
    let kernels = kernels();
    for place in [None, Some(0), Some(70_000), Some(99_999)] {
        let mut values = values(100_000);
        values[5] = f32::INFINITY;
        if let Some(place) = place {
            values[place] = f32::NAN;
        }
        let found = kernels.upload(&[0u32, 0]).unwrap();
        let second = found.part(1..2).unwrap();
        kernels.find_nan(kernels.upload(&values).unwrap().view(), second).unwrap();
        assert_eq!(to_host(&kernels, &found), [0, u32::from(place.is_some())]);
    }
}

#[test]
#[ignore = "needs a GPU"]
fn blended_as_on_the_host() {
    let kernels = kernels();
    let windows = [Window::Constant, Window::NnUnet, Window::Monai { sigma_scale: 0.125 }];
    for ((extents, patch), channels) in SHAPES.into_iter().zip([1, 3, 2, 300, 2]) {
        for placement in [Placement::Even, Placement::ShiftedBack] {
            for window in &windows {
                let tiling = tiling(patch, Padding::Edge, placement, window.clone());
                let tiles = Tiles::new(extents, &tiling, [0; 3]).unwrap();
                let window = weights(&tiling.window, patch).unwrap();
                let mut swept = DeviceSweep::new(&kernels, tiles.clone(), channels, &window).unwrap();
                let mut wanted = Sweep::new(tiles.clone(), channels, window.into()).unwrap();
                let size = extents[1] * extents[2];
                for number in 0..tiles.count() {
                    let count = tiles.given(channels);
                    let tile: Vec<_> = (0..count).map(|i| value(i + 31 * number)).collect();
                    let mut planes = Vec::new();
                    wanted
                        .blend(&tile, |z, plane| {
                            planes.push((z, plane.to_vec()));
                            Ok(())
                        })
                        .unwrap();
                    let mut found = Vec::new();
                    let tile = kernels.upload(&tile).unwrap();
                    swept
                        .blend(tile.view(), |planes| {
                            for (i, z) in planes.numbers.clone().enumerate() {
                                let mut plane = vec![0.0; channels * size];
                                let start = i * planes.stride;
                                kernels.download(planes.values.part(start..start + channels * size)?, &mut plane)?;
                                found.push((z, plane));
                            }
                            Ok(())
                        })
                        .unwrap();
                    assert_eq!(found.len(), planes.len());
                    for ((z, found), (wanted_z, wanted)) in found.iter().zip(&planes) {
                        assert_eq!(z, wanted_z);
                        assert_same(found, wanted, &format!("{extents:?} {patch:?} {placement:?} plane {z}"));
                    }
                }
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn probabilities_are_near() {
    let kernels = kernels();
    let (voxels, planes) = (2500, 2);
    for channels in [1, 2, 25] {
        let stride = (channels + 1) * voxels;
        for activation in [Activation::Sigmoid, Activation::Softmax] {
            for scale in [0.01, 1.0, 30.0] {
                let before: Vec<f32> = values(planes * stride).iter().map(|value| value * scale).collect();
                let on_device = kernels.upload(&before).unwrap();
                kernels.activate(on_device.view(), stride, voxels, channels, activation).unwrap();
                let found = to_host(&kernels, &on_device);
                for plane in 0..planes {
                    let range = plane * stride..plane * stride + channels * voxels;
                    let mut wanted = before[range.clone()].to_vec();
                    activate(&mut wanted, channels, activation);
                    for (found, wanted) in found[range].iter().zip(&wanted) {
                        let apart = (found - wanted).abs();
                        assert!(
                            apart <= 1e-6 * wanted.abs() + 1e-37,
                            "{activation:?}: {found:e}, on the host {wanted:e}"
                        );
                    }
                    let beside = plane * stride + channels * voxels..(plane + 1) * stride;
                    assert_same(&found[beside.clone()], &before[beside], "what is beside");
                }
            }
        }
    }
    // Ends, and what is no number.
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e30, -1e30, 88.8, -103.0, -1e-40];
    let mut wanted = odd.to_vec();
    activate(&mut wanted, 1, Activation::Sigmoid);
    let on_device = kernels.upload(&odd).unwrap();
    kernels.activate(on_device.view(), odd.len(), odd.len(), 1, Activation::Sigmoid).unwrap();
    for (found, wanted) in to_host(&kernels, &on_device).iter().zip(&wanted) {
        let near = found.is_nan() && wanted.is_nan() || (found - wanted).abs() <= 1e-6 * wanted.abs() + 1e-37;
        assert!(near, "{found:e}, on the host {wanted:e}");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn decided_as_on_the_host() {
    let kernels = kernels();
    let (voxels, planes) = (3001, 3);
    for channels in [1, 2, 7, 300] {
        let stride = (channels + 1) * voxels;
        // Few values, so that many are the same.
        let values: Vec<_> = (0..planes * stride).map(|i| odd_values(64)[(i * 31 + i / 7) % 64].round()).collect();
        let on_device = kernels.upload(&values).unwrap();
        let argmax = Rule::Argmax { labels: (0..channels as u16).map(|label| label * 3 % 251).collect() };
        let order = (0..channels.min(5)).rev().map(|channel| (channel, channel as u16 + 7)).collect();
        for rule in [argmax, Rule::Regions { threshold: 1.0, order }] {
            let on_it = kernels.rule(&rule).unwrap();
            let (wide, narrow) =
                (kernels.buffer::<u16>(planes * voxels).unwrap(), kernels.buffer::<u8>(planes * voxels).unwrap());
            kernels.decide(on_device.view(), stride, channels, &on_it, wide.view()).unwrap();
            kernels.decide(on_device.view(), stride, channels, &on_it, narrow.view()).unwrap();
            let (wide, narrow) = (to_host(&kernels, &wide), to_host(&kernels, &narrow));
            for plane in 0..planes {
                let mut wanted = vec![0; voxels];
                decide(&values[plane * stride..][..channels * voxels], &rule, &mut wanted);
                let of_plane = plane * voxels..(plane + 1) * voxels;
                assert!(wide[of_plane.clone()] == wanted, "{rule:?}");
                assert!(narrow[of_plane].iter().zip(&wanted).all(|(a, b)| u16::from(*a) == *b), "{rule:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn resampled_as_on_the_host() {
    let kernels = kernels();
    let (model, scan, channels) = ([6, 11, 13], [9, 17, 8], 3);
    for geometry in [ResamplingGeometry::Edges, ResamplingGeometry::Centres] {
        for result in [Interpolation::Linear, Interpolation::Nearest] {
            for (spacing_mm, separate) in
                [([1.0, 1.0, 1.5], None), ([5.0, 1.0, 1.0], Some(3.0)), ([1.0, 5.0, 1.0], Some(3.0))]
            {
                let resampling = Resampling {
                    spacing_mm: [1.5, 1.5, 1.0],
                    geometry,
                    data: Interpolation::Cubic,
                    result,
                    separate_axis_above: separate,
                };
                let way = Way::back(model, scan, spacing_mm, &resampling).unwrap();
                let size = channels * model[1] * model[2];
                let volume = odd_values(model[0] * size);
                let (samples, planes) = (kernels.samples_of(&way).unwrap(), kernels.upload(&volume).unwrap());
                let mut twin = PlaneResampler::new(&way, channels).unwrap();
                let target = kernels.buffer(channels * scan[1] * scan[2]).unwrap();
                let mut given = 0;
                for plane in volume.chunks(size) {
                    twin.push(plane, &PLAIN).unwrap();
                    for z in twin.ready() {
                        let (pair, part) = way.planes(z);
                        let pair = pair.map(|plane| planes.part(plane * size..(plane + 1) * size).unwrap());
                        kernels.resample(&samples, pair, part, target.view()).unwrap();
                        let found = to_host(&kernels, &target);
                        for y in 0..scan[1] {
                            let mut row = vec![0.0; channels * scan[2]];
                            twin.row(z, y, &mut row);
                            for (channel, wanted) in row.chunks(scan[2]).enumerate() {
                                let start = (channel * scan[1] + y) * scan[2];
                                let what = format!("{way:?} {z} {y} {channel}");
                                assert_same(&found[start..start + scan[2]], wanted, &what);
                            }
                        }
                        given += 1;
                    }
                }
                assert_eq!(given, scan[0]);
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn what_does_not_fit_together_is_refused() {
    let kernels = kernels();
    let tiling = tiling([2, 2, 2], Padding::Edge, Placement::Even, Window::Constant);
    let tiles = Tiles::new([4, 4, 4], &tiling, [0; 3]).unwrap();
    let (volume, tile) = (kernels.buffer::<f32>(64).unwrap(), kernels.buffer::<f32>(7).unwrap());
    assert!(kernels.gather(&tiles, volume.view(), [0; 3], [false; 3], Padding::Edge, tile.view()).is_err());
    assert!(kernels.gather(&tiles, tile.view(), [0; 3], [false; 3], Padding::Edge, tile.view()).is_err());
    assert!(kernels.download(tile.view(), &mut [0.0; 8]).is_err());
    assert!(volume.part(60..65).is_err());
    assert!(kernels.activate(volume.view(), 63, 21, 3, Activation::Softmax).is_err());
    assert!(kernels.activate(volume.view(), 32, 11, 3, Activation::Softmax).is_err());
    let rule = kernels.rule(&Rule::Argmax { labels: vec![0, 1] }).unwrap();
    let labels = kernels.buffer::<u8>(16).unwrap();
    assert!(kernels.decide(volume.view(), 64, 3, &rule, labels.view()).is_err());
    let rule = kernels.rule(&Rule::Regions { threshold: 0.5, order: vec![(4, 1)] }).unwrap();
    assert!(kernels.decide(volume.view(), 64, 4, &rule, labels.view()).is_err());
}
