//! What the first bytes of a plan say, so that a plan that cannot run is refused with a reason before TensorRT sees it.
//!
//! The layout was read off plans of TensorRT 8.5.3 built for an H100, little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | the tag, "ptrt" |
//! | 16..24 | u64: how many bytes follow these 24 |
//! | 24..44 | u8 four times, each after [`VALUE_U8`]: TensorRT's major, minor, patch and build version |
//! | 44..52 | [`GROUPS`] |
//! | 52..68 | i32 twice, each after [`VALUE_I32`]: the compute capability's major and minor |
//!
//! Then come the rest of the device's properties, clocks first. Later versions keep the tag; where their values lie
//! elsewhere, nothing is concluded from them.

use crate::cuda::DeviceInfo;
use crate::error::{Code, Error, Result};
use std::fmt;
use tensorrt_sys::{Generation, Version};

/// A plan's bytes, and what they say of themselves.
pub struct Plan<'a> {
    pub data: &'a [u8],
    pub origin: Option<Origin>,
    /// Built by TensorRT-RTX, by its tag.
    pub is_rtx: bool,
}

/// What built a plan, and for which GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Major, minor, patch, build.
    pub version: [u8; 4],
    pub compute_capability: (i32, i32),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch, _] = self.version;
        let (cc_major, cc_minor) = self.compute_capability;
        write!(f, "TensorRT {major}.{minor}.{patch} for compute capability {cc_major}.{cc_minor}")
    }
}

const HEADER: usize = 24;
const VALUE_U8: [u8; 4] = [0x02, 0x80, 0x01, 0x00];
const VALUE_I32: [u8; 4] = [0x07, 0x80, 0x01, 0x00];
/// What opens the group of the device's properties.
const GROUPS: [u8; 8] = [0x12, 0x80, 0x01, 0x00, 0x10, 0x80, 0x01, 0x00];

impl<'a> Plan<'a> {
    /// Reads the header; an error where the plan is cut short.
    pub fn parse(data: &'a [u8]) -> Result<Self> {
        let is_rtx = data.starts_with(b"vtrt");
        let origin = Origin::read(data.get(HEADER..).unwrap_or_default());
        if data.len() < HEADER {
            return Err(Error::new(
                Code::InvalidModel,
                format!("the plan is cut short: it has {} bytes, less than its header", data.len()),
            ));
        }
        // Only where the values are where 8.5 has them is the size, too.
        if data.starts_with(b"ptrt") && data[HEADER..].starts_with(&VALUE_U8[..VALUE_U8.len().min(data.len() - HEADER)])
        {
            let size = u64::from_le_bytes(data[16..24].try_into().unwrap_or_default()).saturating_add(HEADER as u64);
            if (data.len() as u64) < size {
                return Err(Error::new(
                    Code::InvalidModel,
                    format!(
                        "the plan is cut short: it has {} bytes of the {size} that its header names; copy it again",
                        data.len()
                    ),
                ));
            }
        }
        Ok(Self { data, origin, is_rtx })
    }
}

impl Origin {
    fn read(mut values: &[u8]) -> Option<Self> {
        let mut version = [0; 4];
        for part in &mut version {
            values = values.strip_prefix(&VALUE_U8)?;
            (*part, values) = values.split_first().map(|(first, rest)| (*first, rest))?;
        }
        values = values.strip_prefix(&GROUPS)?;
        let mut numbers = [0; 2];
        for number in &mut numbers {
            let (first, rest) = values.strip_prefix(&VALUE_I32)?.split_first_chunk::<4>()?;
            *number = i32::from_le_bytes(*first);
            values = rest;
        }
        Some(Self { version, compute_capability: (numbers[0], numbers[1]) })
    }
}

/// What planrt can say without TensorRT: a plan of another major, or from before plans could be made compatible
/// (TensorRT 8.6) for another minor or GPU, never runs.
pub fn check(plan: &Plan<'_>, library: Version, device: &DeviceInfo) -> Result<()> {
    let refuse = |why: String| Err(Error::new(Code::IncompatibleModel, why));
    let is_rtx = library.generation == Generation::Rtx;
    if plan.is_rtx != is_rtx {
        let by = if plan.is_rtx { "TensorRT-RTX" } else { "TensorRT" };
        return refuse(format!(
            "the plan was built by {by}, found is {library}; build it again with the library that runs it"
        ));
    }
    let Some(origin) = plan.origin else { return Ok(()) };
    let [major, minor, ..] = origin.version;
    if is_rtx || (major, minor) >= (8, 6) {
        return Ok(());
    }
    let (cc_major, cc_minor) = device.compute_capability;
    if (u16::from(major), u16::from(minor)) != (library.major, library.minor) {
        return refuse(format!(
            "the plan was built by {origin}, found is {library} on compute capability {cc_major}.{cc_minor}; build it again with \
             {library}, or install TensorRT {major}.{minor}"
        ));
    }
    if origin.compute_capability != device.compute_capability {
        return refuse(format!(
            "the plan was built by {origin}, the device is {} with compute capability {cc_major}.{cc_minor}; build it again on \
             such a device",
            device.name
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(version: [u8; 4], cc: (i32, i32), payload: usize) -> Vec<u8> {
        let mut data = b"ptrt\0\0\0\0".to_vec();
        data.extend(232u64.to_le_bytes());
        let mut values = Vec::new();
        for part in version {
            values.extend(VALUE_U8);
            values.push(part);
        }
        values.extend(GROUPS);
        for part in [cc.0, cc.1] {
            values.extend(VALUE_I32);
            values.extend(part.to_le_bytes());
        }
        values.resize(values.len() + payload, 0xa5);
        data.extend((values.len() as u64).to_le_bytes());
        data.extend(values);
        data
    }

    #[test]
    fn a_header_is_read() {
        let data = plan([8, 5, 3, 1], (9, 0), 1000);
        let plan = Plan::parse(&data).unwrap();
        assert_eq!(plan.origin, Some(Origin { version: [8, 5, 3, 1], compute_capability: (9, 0) }));
        assert!(!plan.is_rtx);
    }

    #[test]
    fn every_cut_is_noticed() {
        let data = plan([8, 5, 3, 1], (9, 0), 100);
        for size in 4..data.len() {
            match Plan::parse(&data[..size]) {
                Err(error) => {
                    assert_eq!(error.code(), Code::InvalidModel);
                    assert!(error.message().contains("cut short"), "{error}");
                }
                Ok(_) => panic!("cut at {size} of {}", data.len()),
            }
        }
    }

    #[test]
    fn mismatches_name_both_sides() {
        let device = DeviceInfo {
            ordinal: 0,
            name: "H100".into(),
            compute_capability: (9, 0),
            multiprocessors: 132,
            total_memory: 1 << 30,
        };
        let version = |reported| Version::decode(reported).unwrap();
        let data = plan([8, 5, 3, 1], (9, 0), 100);
        let good = Plan::parse(&data).unwrap();
        assert!(check(&good, version(8503), &device).is_ok());
        // Patches share a format or not: TensorRT itself knows.
        assert!(check(&good, version(8501), &device).is_ok());
        for found in [8601, 101_601, 110_400] {
            let error = check(&good, version(found), &device).unwrap_err();
            assert_eq!(error.code(), Code::IncompatibleModel);
            assert!(
                error.message().contains("8.5.3") && error.message().contains(&version(found).to_string()),
                "{error}"
            );
        }
        let data = plan([8, 5, 3, 1], (8, 6), 100);
        let error = check(&Plan::parse(&data).unwrap(), version(8503), &device).unwrap_err();
        assert!(error.message().contains("8.6") && error.message().contains("9.0"), "{error}");
    }
}
