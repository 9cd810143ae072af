//! Scans in files: NIfTI-1 read and written, and pictures of what was found in one.

mod gzip;
pub mod nifti;
pub mod overlay;

use crate::error::{Code, Error, Result};
use crate::process::memory;
use crate::tensor::ElementType;
use crate::volume::grid::Grid;

/// Voxels and geometry of a file.
#[derive(Clone, Debug)]
pub struct Scan {
    pub grid: Grid,
    pub channels: usize,
    pub element_type: ElementType,
    /// `[channel, z, y, x]` without gaps.
    pub voxels: Vec<u8>,
    /// A value counts as `value · slope + intercept`.
    pub slope: f64,
    pub intercept: f64,
    /// What a reader should know of the file beside its content; empty where there is nothing.
    pub note: String,
    /// The file's header: what is written for this scan lies where it lies.
    header: nifti::Header,
}

impl Scan {
    /// A value as it counts, by its place in memory: of the first channel up to its voxels.
    fn value(&self, place: usize) -> f32 {
        let size = self.element_type.size();
        let bytes = &self.voxels[place * size..][..size];
        let two = || [bytes[0], bytes[1]];
        let four = || [bytes[0], bytes[1], bytes[2], bytes[3]];
        let value: f64 = match self.element_type {
            ElementType::Int8 => i8::from_ne_bytes([bytes[0]]).into(),
            ElementType::Int16 => i16::from_ne_bytes(two()).into(),
            ElementType::Uint16 => u16::from_ne_bytes(two()).into(),
            ElementType::Int32 => i32::from_ne_bytes(four()).into(),
            ElementType::Float32 => f32::from_ne_bytes(four()).into(),
            _ => bytes[0].into(),
        };
        (value * self.slope + self.intercept) as f32
    }

    /// The channels of several scans of one grid, in order.
    pub fn join(scans: &[&Self]) -> Result<Self> {
        let Some((first, others)) = scans.split_first() else {
            return Err(Error::new(Code::InvalidArgument, "no scan to join"));
        };
        for (i, other) in others.iter().enumerate() {
            let (a, b) = (&first.grid, &other.grid);
            if a.extents != b.extents {
                return Err(Error::new(
                    Code::Shape,
                    format!("scan {} has {:?} voxels along z, y and x, and scan 0 {:?}", i + 1, b.extents, a.extents),
                ));
            }
            let smallest = a.spacing_mm.into_iter().fold(f64::MAX, f64::min);
            let far = |grid: &Grid| -> Vec<f64> {
                let lengths = (0..3).map(|axis| grid.spacing_mm[axis] * grid.extents[axis] as f64);
                let turns = grid.direction.as_flattened().iter().map(|cosine| cosine * smallest);
                lengths.chain(grid.origin_mm).chain(turns).collect()
            };
            if far(a).iter().zip(far(b)).any(|(a, b)| (a - b).abs() > 0.05 * smallest) {
                return Err(Error::new(
                    Code::InvalidArgument,
                    format!("scan {} lies elsewhere than scan 0: resample it onto that grid", i + 1),
                ));
            }
        }
        let kind = |scan: &Self| (scan.element_type, scan.slope, scan.intercept);
        let is_alike = others.iter().all(|other| kind(other) == kind(first));
        let size = |scan: &&Self| if is_alike { scan.voxels.len() } else { scan.count() * size_of::<f32>() };
        let total = scans.iter().map(size).sum::<usize>();
        memory::require("the scan", total as u64)?;
        let mut voxels = Vec::new();
        let out_of_memory = |_| Error::new(Code::OutOfMemory, "the host has no memory for the scan");
        voxels.try_reserve_exact(total).map_err(out_of_memory)?;
        for scan in scans {
            match is_alike {
                true => voxels.extend_from_slice(&scan.voxels),
                false => (0..scan.count()).for_each(|i| voxels.extend_from_slice(&scan.value(i).to_ne_bytes())),
            }
        }
        let (element_type, slope, intercept) = if is_alike { kind(first) } else { (ElementType::Float32, 1.0, 0.0) };
        Ok(Self {
            grid: first.grid.clone(),
            channels: scans.iter().map(|scan| scan.channels).sum(),
            element_type,
            voxels,
            slope,
            intercept,
            note: first.note.clone(),
            header: first.header.clone(),
        })
    }

    /// Voxels of all channels.
    fn count(&self) -> usize {
        self.voxels.len() / self.element_type.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_joined_on_one_grid() {
        let mut ct = nifti::tests::scan_of_zeros([2, 2, 2]);
        ct.voxels = (0..8).collect();
        let twice = Scan::join(&[&ct, &ct]).unwrap();
        assert_eq!((twice.channels, twice.element_type), (2, ElementType::Uint8));
        assert_eq!(twice.voxels, [&ct.voxels[..], &ct.voxels[..]].concat());
        let pet = Scan { slope: 0.5, intercept: 1.0, ..ct.clone() };
        let both = Scan::join(&[&ct, &pet]).unwrap();
        assert_eq!((both.element_type, both.slope, both.voxels.len()), (ElementType::Float32, 1.0, 64));
        assert_eq!((both.value(7), both.value(15)), (7.0, 4.5));
        let smaller = nifti::tests::scan_of_zeros([2, 2, 1]);
        assert_eq!(Scan::join(&[&ct, &smaller]).unwrap_err().code(), Code::Shape);
        let changes: [fn(&mut Grid); 3] =
            [|grid| grid.origin_mm[0] += 1.0, |grid| grid.direction[0][0] = 1.0, |grid| grid.spacing_mm[1] *= 1.5];
        for change in changes {
            let mut moved = ct.clone();
            change(&mut moved.grid);
            assert!(Scan::join(&[&ct, &moved]).unwrap_err().message().contains("scan 1 lies elsewhere"));
        }
        assert!(Scan::join(&[]).is_err());
    }
}
