//! What the first bytes of a plan say, so that a plan that cannot run is refused with a reason before TensorRT sees it.
//!
//! All numbers are little-endian. Up to TensorRT 8.5, as read off plans of 8.5.3 built for an H100:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | the tag, "ptrt" |
//! | 16..24 | u64: how many bytes follow these 24 |
//! | 24..44 | u8 four times, each after [`VALUE_U8`]: TensorRT's major, minor, patch and build version |
//! | 44..52 | [`GROUPS`] |
//! | 52..68 | i32 twice, each after [`VALUE_I32`]: the compute capability's major and minor |
//!
//! Then come the rest of the device's properties, clocks first. Since 8.6 such a plan lies in a container, with which
//! these plans and those of TensorRT-RTX begin:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | the tag, "ftrt", or "vtrt" for TensorRT-RTX |
//! | 4..8 | u32: 0, the container's layout |
//! | 16..24 | u64: the size of the whole, seen in plans of RTX 1.7.1 |
//! | 24..28 | u8 four times: major, minor, patch and build version |
//!
//! NVIDIA's trtexec reads the version there (`--getPlanVersionOnly`). Where the values are not as in these tables,
//! nothing is concluded from them.

use crate::cuda::DeviceInfo;
use crate::error::{Code, Error, Result};
use std::fmt;
use tensorrt_sys::{Generation, Version};

/// A plan's bytes, and what they say of themselves.
pub struct Plan<'a> {
    pub data: &'a [u8],
    pub origin: Origin,
}

/// What built a plan, and for which GPU, as far as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Built by TensorRT-RTX.
    pub is_rtx: bool,
    /// Major, minor, patch, build.
    pub version: Option<[u8; 4]>,
    pub compute_capability: Option<(i32, i32)>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_rtx { "TensorRT-RTX" } else { "TensorRT" })?;
        match self.version {
            Some([major, minor, patch, _]) => write!(f, " {major}.{minor}.{patch}")?,
            None => f.write_str(" of an unknown version")?,
        }
        match self.compute_capability {
            Some((major, minor)) => write!(f, " for compute capability {major}.{minor}"),
            None => Ok(()),
        }
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
        let cut_short = |what: String| {
            let size = data.len();
            Err(Error::new(Code::InvalidModel, format!("the plan is cut short: it has {size} bytes, {what}")))
        };
        let Some((header, values)) = data.split_first_chunk::<HEADER>() else {
            return cut_short("less than its header".to_owned());
        };
        let size = u64::from_le_bytes(header[16..].try_into().unwrap_or_default());
        let (origin, size) = match &header[..4] {
            b"vtrt" => (Origin::of_container(header, values), size),
            b"ftrt" => (Origin::of_container(header, values), 0),
            // Only where the values are where 8.5 has them is the size, too.
            _ if values.starts_with(&VALUE_U8[..values.len().min(VALUE_U8.len())]) => {
                (Origin::of_values(values), size.saturating_add(HEADER as u64))
            }
            _ => (Origin::of_values(values), 0),
        };
        if (data.len() as u64) < size {
            return cut_short(format!("and its header names {size}; copy it again"));
        }
        Ok(Self { data, origin })
    }
}

impl Origin {
    fn of_container(header: &[u8; HEADER], values: &[u8]) -> Self {
        let is_known = header[4..8] == [0; 4];
        let version = values.first_chunk().copied().filter(|version| is_known && version[0] != 0);
        Self { is_rtx: header.starts_with(b"vtrt"), version, compute_capability: None }
    }

    fn of_values(values: &[u8]) -> Self {
        let (version, compute_capability) = read_values(values).unzip();
        Self { is_rtx: false, version, compute_capability }
    }
}

/// The version and the compute capability.
fn read_values(mut values: &[u8]) -> Option<([u8; 4], (i32, i32))> {
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
    Some((version, (numbers[0], numbers[1])))
}

/// Both sides of a mismatch, before what to do about it.
pub fn both_sides(plan: &Plan<'_>, library: Version, device: &DeviceInfo) -> String {
    let DeviceInfo { name, compute_capability: (major, minor), .. } = device;
    format!("the plan was built by {}, found is {library} on {name}, compute capability {major}.{minor}", plan.origin)
}

/// What planrt can say without TensorRT: a plan of the other product, or from before plans could be made compatible
/// (TensorRT 8.6) for another minor or GPU, never runs.
pub fn check(plan: &Plan<'_>, library: Version, device: &DeviceInfo) -> Result<()> {
    let refuse = |advice: String| {
        let both = both_sides(plan, library, device);
        Err(Error::new(Code::IncompatibleModel, format!("{both}; {advice}")))
    };
    let origin = &plan.origin;
    if origin.is_rtx != (library.generation == Generation::Rtx) {
        let product = if origin.is_rtx { "TensorRT-RTX" } else { "TensorRT" };
        return refuse(format!("build it again with {library}, or run it with {product}"));
    }
    let (Some([major, minor, ..]), Some(compute_capability)) = (origin.version, origin.compute_capability) else {
        return Ok(());
    };
    if (major, minor) >= (8, 6) {
        return Ok(());
    }
    if (u16::from(major), u16::from(minor)) != (library.major, library.minor) {
        return refuse(format!("build it again with {library}, or install TensorRT {major}.{minor}"));
    }
    if compute_capability != device.compute_capability {
        return refuse("build it again on such a device".to_owned());
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
        let origin = Origin { is_rtx: false, version: Some([8, 5, 3, 1]), compute_capability: Some((9, 0)) };
        assert_eq!(plan.origin, origin);
        assert_eq!(origin.to_string(), "TensorRT 8.5.3 for compute capability 9.0");
    }

    /// How a plan of RTX 1.7.1 or of 10.16.1 begins.
    fn container(tag: &[u8; 4], version: [u8; 4], payload: usize) -> Vec<u8> {
        let mut data = tag.to_vec();
        data.extend([0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        data.extend((payload as u64 + 28).to_le_bytes());
        data.extend(version);
        data.resize(data.len() + payload, 0xa5);
        data
    }

    #[test]
    fn a_container_is_read() {
        let origin = |data: &[u8]| Plan::parse(data).unwrap().origin.to_string();
        assert_eq!(origin(&container(b"vtrt", [1, 7, 1, 116], 100)), "TensorRT-RTX 1.7.1");
        assert_eq!(origin(&container(b"ftrt", [10, 16, 1, 11], 100)), "TensorRT 10.16.1");
        let mut other_layout = container(b"ftrt", [10, 16, 1, 11], 100);
        other_layout[4] = 1;
        assert_eq!(origin(&other_layout), "TensorRT of an unknown version");
        assert_eq!(origin(b"ptrt and then bytes unlike those of any plan"), "TensorRT of an unknown version");
    }

    #[test]
    fn every_cut_is_noticed() {
        for data in [plan([8, 5, 3, 1], (9, 0), 100), container(b"vtrt", [1, 7, 1, 116], 100)] {
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
    }

    #[test]
    fn mismatches_name_both_sides() {
        let device = DeviceInfo { ordinal: 0, name: "H100".into(), compute_capability: (9, 0), total_memory: 1 << 30 };
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
        let data = container(b"vtrt", [1, 7, 1, 116], 100);
        let error = check(&Plan::parse(&data).unwrap(), version(110_400), &device).unwrap_err();
        assert!(error.message().contains("RTX 1.7.1") && error.message().contains("TensorRT 11.4.0"), "{error}");
        let data = container(b"ftrt", [10, 16, 1, 11], 100);
        // It may be version-compatible: that is TensorRT's to say.
        assert!(check(&Plan::parse(&data).unwrap(), version(110_400), &device).is_ok());
    }
}
