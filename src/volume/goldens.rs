//! Held against nnU-Net's own functions and MONAI's formulas: `tests/volumes/make_preparation.py` made what is expected.

use super::grid::Layout;
use super::image::{Description, View};
use super::prepare::tests::recipe;
use super::recipe::{Direction, Intensity, Interpolation, Recipe, Resampling, ResamplingGeometry, ZScore};
use super::resample::{Frame, PlaneResampler, Way};
use super::work::Work;
use super::work::tests::PLAIN;
use super::{Scan, grid::Grid, prepare};
use crate::tensor::ElementType;
use serde_json::Value;
use std::fs;
use std::path::Path;

struct Goldens {
    cases: Value,
    values: Vec<f32>,
}

impl Goldens {
    fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/volumes");
        let cases = serde_json::from_str(&fs::read_to_string(folder.join("preparation.json")).unwrap()).unwrap();
        let bytes = fs::read(folder.join("preparation.f32")).unwrap();
        let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Self { cases, values }
    }

    /// Within 1e-5 of the largest value, or exact.
    fn compare(&self, case: &Value, values: &[f32], exact: bool) {
        let at = case["at"].as_u64().unwrap() as usize;
        let extents: Vec<usize> =
            case["result"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let wanted = &self.values[at..at + extents.iter().product::<usize>()];
        assert_eq!(values.len(), wanted.len(), "{case}");
        let most = wanted.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let tolerance = if exact { 0.0 } else { 1e-5 * most };
        for (i, (value, wanted)) in values.iter().zip(wanted).enumerate() {
            assert!((value - wanted).abs() <= tolerance, "{}: {value} for {wanted} at {i}", case["name"]);
        }
    }
}

fn three<T>(value: &Value, one: impl Fn(&Value) -> Option<T>) -> [T; 3] {
    [0, 1, 2].map(|i| one(&value[i]).unwrap())
}

fn extents(value: &Value) -> [usize; 3] {
    three(value, Value::as_u64).map(|extent| extent as usize)
}

/// As `scan` in the generator.
fn scan(channels: usize, [nz, ny, nx]: [usize; 3], border: usize) -> Vec<i16> {
    let voxels = nz * ny * nx;
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) % 3000) as i16 - 1000
    };
    let mut values: Vec<i16> = (0..channels * voxels).map(|_| next()).collect();
    for i in 0..if border > 0 { voxels } else { 0 } {
        let (z, y, x) = (i / (ny * nx), i / nx % ny, i % nx);
        let inside = |place: usize, extent: usize| (border..extent - border).contains(&place);
        let outside = !(inside(z, nz) && inside(y, ny) && inside(x, nx)) || y == border;
        if outside || (0..channels).any(|channel| values[channel * voxels + i] < -400) {
            (0..channels).for_each(|channel| values[channel * voxels + i] = 0);
        }
    }
    values
}

fn resampling(case: &Value) -> Resampling {
    let edges = case["geometry"] == "edges";
    Resampling {
        spacing_mm: three(&case["target_mm"], Value::as_f64),
        geometry: if edges { ResamplingGeometry::Edges } else { ResamplingGeometry::Centres },
        data: if case["order"] == 3 { Interpolation::Cubic } else { Interpolation::Linear },
        result: Interpolation::Linear,
        separate_axis_above: case["separate"].as_bool().unwrap().then_some(3.0),
    }
}

fn intensity(value: &Value) -> Intensity {
    let number = |name: &str| value[name].as_f64().unwrap();
    let pair = |name: &str| (value[name][0].as_f64().unwrap(), value[name][1].as_f64().unwrap());
    match value["kind"].as_str().unwrap() {
        "unchanged" => Intensity::Unchanged,
        "ct" => Intensity::Ct {
            low: number("low"),
            high: number("high"),
            mean: number("mean"),
            deviation: number("deviation"),
        },
        "whole" => Intensity::ZScore(ZScore::Whole),
        "filled_mask" => Intensity::ZScore(ZScore::FilledMask),
        "monai_whole" => Intensity::ZScore(ZScore::MonaiWhole),
        "monai_nonzero" => Intensity::ZScore(ZScore::MonaiNonzero),
        "zero_to_one" => Intensity::ZeroToOne,
        "rgb" => Intensity::Rgb,
        "range" => Intensity::Range { from: pair("from"), to: pair("to"), clip: value["clip"].as_bool().unwrap() },
        other => panic!("{other}"),
    }
}

#[test]
fn scans_are_prepared_as_the_references_do() {
    let goldens = Goldens::read();
    for case in goldens.cases["there"].as_array().unwrap() {
        let channels = case["channels"].as_u64().unwrap() as usize;
        let intensities: Vec<Intensity> = case["intensities"].as_array().unwrap().iter().map(intensity).collect();
        let way = Recipe {
            transpose: extents(&case["transpose"]),
            crop_to_nonzero: case["crop"].as_bool().unwrap(),
            resampling: Some(resampling(case)),
            normalize_after_resampling: case["geometry"] == "centres",
            intensities,
            ..recipe(channels)
        };
        let grid = Grid {
            extents: extents(&case["extents"]),
            spacing_mm: three(&case["spacing_mm"], Value::as_f64),
            origin_mm: [0.0; 3],
            direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        };
        let border = case["border"].as_u64().unwrap() as usize;
        let memory: Vec<u8> =
            scan(channels, grid.extents, border).iter().flat_map(|value| value.to_ne_bytes()).collect();
        let description = Description::dense(ElementType::Int16, channels, grid.extents).unwrap();
        let view = View::new(&memory, &description).unwrap();
        let scan = Scan { grid: &grid, view, any_direction: false };
        let prepared = prepare(&way, &scan, &PLAIN).unwrap();
        assert_eq!(prepared.back.extents(), extents(&case["crop_extents"]), "{}", case["name"]);
        let start = extents(&case["crop_start"]);
        let turned = Layout::dense(grid.extents);
        let mut first = [0; 3];
        (0..3).for_each(|axis| first[way.transpose[axis]] = start[axis]);
        assert_eq!(prepared.back.place(&turned).first, turned.place(first));
        // What is only chosen, or computed in float32 in the reference's order, is the same to the bit.
        let exact = matches!(case["name"].as_str(), Some("ct" | "rgb" | "zero to one" | "same extents"));
        goldens.compare(case, &prepared.data, exact);
        for threads in [1, 5] {
            let again = prepare(&way, &scan, &Work { threads, ..PLAIN }).unwrap();
            assert!(again.data == prepared.data, "{} with {threads} threads", case["name"]);
        }
    }
}

#[test]
fn results_come_back_as_the_references_bring_them() {
    let goldens = Goldens::read();
    for case in goldens.cases["back"].as_array().unwrap() {
        let classes = case["classes"].as_u64().unwrap() as usize;
        let [nz, ny, nx] = extents(&case["model_extents"]);
        let model: Vec<f32> = scan(classes, [nz, ny, nx], 0).into_iter().map(f32::from).collect();
        let [mz, my, mx] = extents(&case["extents"]);
        let spacing = three(&case["spacing_mm"], Value::as_f64);
        let way = Way::back([nz, ny, nx], [mz, my, mx], &Frame::perpendicular(spacing), &resampling(case)).unwrap();
        let mut resampler = PlaneResampler::new(&way, classes).unwrap();
        let mut result = vec![0.0; classes * mz * my * mx];
        let mut row = vec![0.0; classes * mx];
        let mut given = 0;
        for z in 0..nz {
            assert_eq!(resampler.next(), z);
            let of = |class: usize| &model[(class * nz + z) * ny * nx..][..ny * nx];
            resampler.push(&(0..classes).flat_map(of).copied().collect::<Vec<_>>(), &PLAIN).unwrap();
            for plane in resampler.ready() {
                assert_eq!(plane, given);
                given += 1;
                for y in 0..my {
                    resampler.row(plane, y, &mut row);
                    for (class, row) in row.chunks(mx).enumerate() {
                        result[((class * mz + plane) * my + y) * mx..][..mx].copy_from_slice(row);
                    }
                }
            }
        }
        assert_eq!(given, mz, "{}", case["name"]);
        assert!(resampler.push(&vec![0.0; classes * ny * nx], &PLAIN).is_err());
        goldens.compare(case, &result, false);
    }
}

#[test]
fn the_closest_axes_are_those_of_nibabel() {
    for case in Goldens::read().cases["orientations"].as_array().unwrap() {
        let direction = three(&case["direction"], |row| Some(three(row, Value::as_f64)));
        let grid = Grid { extents: [1; 3], spacing_mm: [5.0, 0.8, 0.7], origin_mm: [0.0; 3], direction };
        grid.check(true).unwrap();
        let letters: String = grid
            .directions()
            .iter()
            .map(|direction| match direction {
                Direction::Right => 'R',
                Direction::Left => 'L',
                Direction::Anterior => 'A',
                Direction::Posterior => 'P',
                Direction::Superior => 'S',
                Direction::Inferior => 'I',
            })
            .collect();
        assert_eq!(letters, case["directions"].as_str().unwrap(), "{direction:?}");
    }
}
