//! Each kernel against its twin, on a GPU: `cargo test --release --lib -- --ignored volume::device`.

use super::*;
use crate::cuda::{Device, Stream};
use crate::error::Error;
use crate::volume::decide::{activate, decide};
use crate::volume::image::{Description, ELEMENT_TYPES, View};
use crate::volume::intensity::{Change, Which};
use crate::volume::recipe::{
    Activation, Interpolation, Padding, Placement, Resampling, ResamplingGeometry, Rule, Tiling, Window,
};
use crate::volume::resample::{Frame, PlaneResampler, Way};
use crate::volume::sweep::{Sweep, add_mirrored, mirrorings};
use crate::volume::tiles::{Tiles, constants};
use crate::volume::window::weights;
use crate::volume::work::tests::PLAIN;
use half::{bf16, f16};
use std::collections::BTreeMap;
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
fn scans_are_read_and_changed() {
    let kernels = kernels();
    let extents = [5, 7, 9];
    let count: usize = 2 * extents.iter().product::<usize>();
    // All bits that elements can have, but for infinite ones and those that are no numbers.
    let bytes: Vec<u8> = (0..4 * count + 64).map(|i| ((i * 7919 + i / 3) % 251) as u8 & 0x7b).collect();
    let mask: Vec<bool> = (0..count / 2).map(|i| i % 3 != 1).collect();
    let on_device: Vec<u8> = mask.iter().map(|inside| u8::from(*inside)).collect();
    let on_device = kernels.upload(&on_device).unwrap();
    let changes = [
        Change::Nothing,
        Change::Ct { low: -100.0, high: 400.5, mean: 12.5, divisor: 3.7 },
        Change::Shifted { minus: 3.25, divisor: 0.3, which: Which::All },
        Change::Shifted { minus: 3.25, divisor: 0.3, which: Which::Masked },
        Change::Shifted { minus: 3.25, divisor: 0.3, which: Which::Nonzero },
        Change::Range { minus: 1.5, divisor: Some(7.0), factor: 2.5, plus: -1.0, clip: Some((-1.0, 1.5)) },
        Change::Range { minus: 1.5, divisor: None, factor: 2.5, plus: -1.0, clip: None },
    ];
    for element_type in ELEMENT_TYPES {
        let dense = Description::dense(element_type, 2, extents).unwrap();
        let size = element_type.size() as isize;
        // Channels interleaved, rows from the last to the first.
        let turned = Description {
            first: (6 * 18 * size) as usize,
            strides: [size, 7 * 18 * size, -18 * size, 2 * size],
            slope: 0.1,
            intercept: -7.0,
            ..dense
        };
        for scan in [dense, turned] {
            let view = View::new(&bytes, &scan).unwrap();
            let span = view.span().unwrap();
            assert!(span.is_aligned());
            let memory = kernels.upload(span.memory).unwrap();
            for change in changes {
                for channel in 0..2 {
                    let mut wanted = vec![0.0; count / 2];
                    view.read(channel, 0..extents[0], &mut wanted);
                    change.apply(&mut wanted, Some(&mask));
                    let found = kernels.buffer(count / 2).unwrap();
                    let inside = Some(on_device.view());
                    kernels.read(&span, memory.view(), channel, change, inside, found.view()).unwrap();
                    assert_same(&to_host(&kernels, &found), &wanted, &format!("{element_type} {change:?} {channel}"));
                }
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn channels_are_resampled_as_on_the_host() {
    use crate::volume::intensity::Planes;
    let kernels = kernels();
    let spacing_mm = [3.0, 0.7, 1.0];
    for (extents, target_mm) in [
        ([7, 40, 33], [1.0, 1.5, 1.25]),
        ([20, 5, 9], [4.0, 0.3, 1.0]),
        ([1, 1, 1], [1.0, 1.0, 2.0]),
        ([3, 200, 130], [3.0, 1.4, 0.9]),
    ] {
        for geometry in [ResamplingGeometry::Edges, ResamplingGeometry::Centres] {
            for data in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
                for separate_axis_above in [None, Some(2.0)] {
                    let resampling = Resampling {
                        spacing_mm: target_mm,
                        geometry,
                        data,
                        result: Interpolation::Linear,
                        separate_axis_above,
                    };
                    let way = Way::there(extents, &Frame::perpendicular(spacing_mm), &resampling).unwrap();
                    assert!(can_resample(&way));
                    let source = values(extents.iter().product());
                    let plane = extents[1] * extents[2];
                    let read = |planes: std::ops::Range<usize>, values: &mut [f32]| {
                        values.copy_from_slice(&source[planes.start * plane..planes.end * plane]);
                    };
                    let planes = Planes { extents, together: 1, read: &read };
                    let mut wanted = vec![0.0; way.to.iter().product()];
                    let pieces = crate::volume::work::Pieces::new(1);
                    crate::volume::resample::resample(&way, &planes, &mut wanted, &PLAIN, &pieces).unwrap();
                    let target = kernels.buffer(wanted.len()).unwrap();
                    let on_device = kernels.upload(&source).unwrap();
                    let there = DeviceWay::new(&kernels, &way).unwrap();
                    there.begin(&kernels).unwrap();
                    for planes in [0..extents[0] / 2, extents[0] / 2..extents[0]] {
                        there.bring_planes(&kernels, on_device.view(), planes, target.view()).unwrap();
                    }
                    there.finish(&kernels, on_device.view(), target.view()).unwrap();
                    let what = format!("{extents:?} to {target_mm:?}, {geometry:?}, {data:?}, {separate_axis_above:?}");
                    assert_same(&to_host(&kernels, &target), &wanted, &what);
                }
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn elements_of_16_bits_are_converted() {
    let kernels = kernels();
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    let on_device = kernels.upload(&halves).unwrap();
    let wide = kernels.buffer(halves.len()).unwrap();
    kernels.widen(on_device.view(), wide.view(), false).unwrap();
    assert_same(
        &to_host(&kernels, &wide),
        &halves.iter().map(|bits| f16::from_bits(*bits).to_f32()).collect::<Vec<_>>(),
        "float16",
    );
    kernels.widen(on_device.view(), wide.view(), true).unwrap();
    assert_same(
        &to_host(&kernels, &wide),
        &halves.iter().map(|bits| bf16::from_bits(*bits).to_f32()).collect::<Vec<_>>(),
        "bfloat16",
    );
    // Of each half what lies beside it, halfway to the next, and beyond that.
    let near = |bits: u16| {
        [-1, 0, 1, 0xfff, 0x1000, 0x1001].map(|more| (f16::from_bits(bits).to_f32().to_bits() as i64 + more) as u32)
    };
    let mut values: Vec<f32> = (1..0x7c00).flat_map(near).map(f32::from_bits).collect();
    values.extend([
        f32::INFINITY,
        f32::NEG_INFINITY,
        65519.9,
        65520.0,
        3e38,
        f32::MAX,
        -0.0,
        1e-40,
        -3e-8,
        2.9802322e-8,
    ]);
    values.extend(values.clone().iter().map(|value| -value));
    let (from, to) = (kernels.upload(&values).unwrap(), kernels.buffer(values.len()).unwrap());
    kernels.narrow(from.view(), to.view(), false).unwrap();
    assert_eq!(to_host(&kernels, &to), values.iter().map(|value| f16::from_f32(*value).to_bits()).collect::<Vec<_>>());
    kernels.narrow(from.view(), to.view(), true).unwrap();
    assert_eq!(to_host(&kernels, &to), values.iter().map(|value| bf16::from_f32(*value).to_bits()).collect::<Vec<_>>());
    let nan = kernels.upload(&[f32::NAN]).unwrap();
    let to = kernels.buffer(1).unwrap();
    kernels.narrow(nan.view(), to.view(), false).unwrap();
    assert!(f16::from_bits(to_host(&kernels, &to)[0]).is_nan());
    kernels.narrow(nan.view(), to.view(), true).unwrap();
    assert!(bf16::from_bits(to_host(&kernels, &to)[0]).is_nan());
}

#[test]
#[ignore = "needs a GPU"]
fn labels_are_counted() {
    let kernels = kernels();
    let labels: Vec<u16> = (0..200_001).map(|i| if i % 1000 < 900 { 0 } else { (i / 7 % 300) as u16 }).collect();
    let narrow: Vec<u8> = labels.iter().map(|label| *label as u8).collect();
    let counts = kernels.buffer::<u64>(300).unwrap();
    counts.clear(0..300, kernels.stream()).unwrap();
    kernels.count(kernels.upload(&labels).unwrap().view(), counts.view()).unwrap();
    kernels.count(kernels.upload(&narrow).unwrap().view(), counts.view()).unwrap();
    let mut wanted = vec![0; 300];
    labels.iter().for_each(|label| wanted[usize::from(*label)] += 1);
    narrow.iter().for_each(|label| wanted[usize::from(*label)] += 1);
    assert_eq!(to_host(&kernels, &counts), wanted);
}

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
                let on_device = kernels.upload(&volume).unwrap();
                let room = kernels.room_for_constants(&tiles, 2).unwrap();
                let first = tiles.count().div_ceil(2);
                let mut found = Vec::new();
                for numbers in [0..first, first..tiles.count()] {
                    found.extend(kernels.constants(&tiles, numbers, on_device.view(), padding, &room).unwrap());
                }
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
                let there = Arc::new(kernels.upload(&window).unwrap());
                let new = || DeviceSweep::new(&kernels, tiles.clone(), channels, &there).unwrap();
                let (mut by_planes, mut by_rows) = (new(), new());
                let mut wanted = Sweep::new(tiles.clone(), channels, window.into()).unwrap();
                let [_, height, width] = extents;
                // Planes of which rows have come, and these.
                let mut of_rows = BTreeMap::<usize, Vec<f32>>::new();
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
                    let tile = kernels.upload(&tile).unwrap();
                    let plane_of = |planes: &Planes<'_>, z| {
                        let mut plane = vec![0.0; channels * height * width];
                        kernels.download(planes.of_plane(z, plane.len())?, &mut plane)?;
                        Ok::<_, Error>(plane)
                    };
                    let mut found = Vec::new();
                    by_planes
                        .blend(&kernels, tile.view(), None, false, |planes| {
                            assert_eq!(planes.rows, 0..height);
                            for z in planes.numbers.clone() {
                                found.push((z, plane_of(&planes, z)?));
                            }
                            Ok(())
                        })
                        .unwrap();
                    by_rows
                        .blend(&kernels, tile.view(), None, true, |planes| {
                            for z in planes.numbers.clone() {
                                let plane = plane_of(&planes, z)?;
                                let kept = of_rows.entry(z).or_default();
                                let rows = planes.rows.start * width..planes.rows.end * width;
                                assert_eq!(kept.len(), rows.start * channels);
                                // Row by row, all channels of each.
                                for y in planes.rows.clone() {
                                    for channel in plane.chunks_exact(height * width) {
                                        kept.extend_from_slice(&channel[y * width..(y + 1) * width]);
                                    }
                                }
                            }
                            Ok(())
                        })
                        .unwrap();
                    for (z, wanted) in &planes {
                        let kept = of_rows.remove(z).unwrap();
                        let rows = (0..height).flat_map(|y| {
                            let row = move |channel: &[f32]| channel[y * width..(y + 1) * width].to_vec();
                            wanted.chunks_exact(height * width).flat_map(row)
                        });
                        assert_same(&kept, &rows.collect::<Vec<_>>(), &format!("{extents:?} {patch:?} rows of {z}"));
                    }
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
            if matches!(rule, Rule::Argmax { .. }) {
                let (first, some) = (1200, 701);
                let part = kernels.buffer::<u8>(planes * some).unwrap();
                kernels.decide_part(on_device.view(), stride, (voxels, first), channels, &on_it, part.view()).unwrap();
                let whole = |plane: usize| &narrow[plane * voxels + first..][..some];
                assert!(to_host(&kernels, &part) == (0..planes).map(whole).collect::<Vec<_>>().concat(), "{rule:?}");
            }
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
fn heads_are_applied_as_on_the_host() {
    let kernels = kernels();
    let (voxels, planes) = (3001, 3);
    for (features, channels) in [(1, 1), (3, 7), (32, 25), (16, 118)] {
        let head = crate::volume::head::tests::head(features, channels);
        let there = kernels.head(&head).unwrap();
        let stride = (features + 1) * voxels;
        for given in [values(planes * stride), odd_values(planes * stride)] {
            let on_device = kernels.upload(&given).unwrap();
            let argmax = Rule::Argmax { labels: (0..channels as u16).map(|label| label * 3 % 251).collect() };
            let order = (0..channels.min(5)).rev().map(|channel| (channel, channel as u16 + 7)).collect();
            for rule in [argmax, Rule::Regions { threshold: 1.0, order }] {
                let on_it = kernels.rule(&rule).unwrap();
                let (wide, narrow) =
                    (kernels.buffer::<u16>(planes * voxels).unwrap(), kernels.buffer::<u8>(planes * voxels).unwrap());
                let found = kernels.upload(&[0u32]).unwrap();
                let by = (&there, Activation::None);
                kernels.decide_by_head(on_device.view(), stride, by, &on_it, found.view(), wide.view()).unwrap();
                kernels.decide_by_head(on_device.view(), stride, by, &on_it, found.view(), narrow.view()).unwrap();
                let (wide, narrow) = (to_host(&kernels, &wide), to_host(&kernels, &narrow));
                for plane in 0..planes {
                    let mut made = vec![0.0; channels * voxels];
                    head.apply(&given[plane * stride..][..features * voxels], voxels, &mut made);
                    let mut wanted = vec![0; voxels];
                    decide(&made, &rule, &mut wanted);
                    let of_plane = plane * voxels..(plane + 1) * voxels;
                    assert!(wide[of_plane.clone()] == wanted, "{features} {channels} {rule:?}");
                    assert!(narrow[of_plane].iter().zip(&wanted).all(|(a, b)| u16::from(*a) == *b), "{rule:?}");
                }
                assert_eq!(to_host(&kernels, &found), [u32::from(given.iter().any(|value| value.is_nan()))]);
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
                let way = Way::back(model, scan, &Frame::perpendicular(spacing_mm), &resampling).unwrap();
                let size = channels * model[1] * model[2];
                let volume = odd_values(model[0] * size);
                let (samples, planes) = (kernels.samples_of(&way).unwrap(), kernels.upload(&volume).unwrap());
                let mut twin = PlaneResampler::new(&way, channels).unwrap();
                let (rule, mut decided) = (Rule::Argmax { labels: vec![3, 200, 7] }, Vec::new());
                let target = kernels.buffer(channels * scan[1] * scan[2]).unwrap();
                let mut given = 0;
                for plane in volume.chunks(size) {
                    twin.push(plane, &PLAIN).unwrap();
                    for z in twin.ready() {
                        let (pair, part) = way.planes(z);
                        let pair = pair.map(|plane| planes.part(plane * size..(plane + 1) * size).unwrap());
                        kernels.resample(&samples, pair, part, target.view()).unwrap();
                        let found = to_host(&kernels, &target);
                        let mut labels = vec![0; scan[1] * scan[2]];
                        decide(&found, &rule, &mut labels);
                        decided.extend(labels);
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
                // All planes at once that need none before the one that lies before a slab.
                let rule = kernels.rule(&rule).unwrap();
                for first in 0..model[0] {
                    // In a ring that has place for no more.
                    let places = model[0] - first;
                    let slots = (0..places).map(|slot| (first..model[0]).find(|z| z % places == slot).unwrap());
                    let ring: Vec<_> = slots.flat_map(|z| volume[z * size..(z + 1) * size].to_vec()).collect();
                    let ring = kernels.upload(&ring).unwrap();
                    let final_planes =
                        Planes { numbers: first..model[0], rows: 0..model[1], ring: ring.view(), places, stride: size };
                    let before = planes.part(first.max(1) * size - size..first.max(1) * size).unwrap();
                    let slab = Slab { planes: &final_planes, before };
                    let start = (0..scan[0]).find(|z| way.planes(*z).0[0] + 1 >= first).unwrap_or(scan[0]);
                    let (numbers, width) = (start..scan[0], scan[2]);
                    // Some rows, then the others.
                    let some = samples.rows_of(model[1] / 2 + first % 2);
                    assert_eq!((samples.rows_of(0), samples.rows_of(model[1])), (0, scan[1]));
                    for rows in [0..some, some..scan[1]] {
                        let of_plane = |z: usize| (z * scan[1] + rows.start) * width..(z * scan[1] + rows.end) * width;
                        let wanted: Vec<_> = numbers.clone().flat_map(|z| decided[of_plane(z)].to_vec()).collect();
                        let (wide, narrow) =
                            (kernels.buffer::<u16>(wanted.len()).unwrap(), kernels.buffer::<u8>(wanted.len()).unwrap());
                        let part = (numbers.clone(), rows.clone());
                        kernels.resample_and_decide(&samples, slab, part.clone(), &rule, wide.view()).unwrap();
                        kernels.resample_and_decide(&samples, slab, part, &rule, narrow.view()).unwrap();
                        assert!(to_host(&kernels, &wide) == wanted, "{way:?} {first}");
                        let narrow = to_host(&kernels, &narrow);
                        assert!(narrow.iter().zip(&wanted).all(|(a, b)| u16::from(*a) == *b), "{way:?} {first}");
                    }
                }
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
