//! Which TensorRT a library is.

use std::fmt;

/// A line of TensorRT releases that share one virtual table order.
///
/// NVIDIA only appends methods inside a generation and reorders them between generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Generation {
    /// TensorRT 8.5 and 8.6.
    V8,
    /// TensorRT 10.
    V10,
    /// TensorRT 11.
    V11,
    /// TensorRT-RTX, from 1.5. (1.3 and 1.4 have an order of their own.)
    Rtx,
}

impl Generation {
    /// Every generation, in the order of a [`Row`](crate::Row)'s columns.
    pub const ALL: [Generation; 4] = [Self::V8, Self::V10, Self::V11, Self::Rtx];

    /// The lowest supported version.
    pub const fn first(self) -> Version {
        let (major, minor) = match self {
            Self::V8 => (8, 5),
            Self::V10 => (10, 0),
            Self::V11 => (11, 0),
            Self::Rtx => (1, 5),
        };
        Version { generation: self, major, minor, patch: 0 }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V8 => "TensorRT 8",
            Self::V10 => "TensorRT 10",
            Self::V11 => "TensorRT 11",
            Self::Rtx => "TensorRT-RTX 1",
        })
    }
}

/// A version of TensorRT or of TensorRT-RTX, as `getInferLibVersion()` reports it.
///
/// Versions order within a generation; across generations the order is the generations'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// The table that applies.
    pub generation: Generation,
    /// 8, 10 or 11; 1 for TensorRT-RTX.
    pub major: u16,
    /// The 5 of 8.5.3.
    pub minor: u16,
    /// The 3 of 8.5.3.
    pub patch: u16,
}

impl Version {
    /// What [`decode`](Self::decode) accepts, in words.
    pub const SUPPORTED: &str = "TensorRT 8.5 to 8.6, 10 and 11, and TensorRT-RTX from 1.5";

    /// Reads the number that `getInferLibVersion()` returns; `None` where no table applies.
    ///
    /// Up to 8.6 the number is `major * 1000 + minor * 100 + patch`, since 10 it is
    /// `major * 10000 + minor * 100 + patch`. TensorRT-RTX counts like the latter from major 1,
    /// so the three ranges (8xxx, 1xxxx, 1xxxxx) cannot be mistaken for one another.
    pub const fn decode(reported: i32) -> Option<Self> {
        let (generation, thousands) = match reported {
            8_500..9_000 => (Generation::V8, 1_000),
            10_500..20_000 => (Generation::Rtx, 10_000),
            100_000..110_000 => (Generation::V10, 10_000),
            110_000..120_000 => (Generation::V11, 10_000),
            _ => return None,
        };
        Some(Self {
            generation,
            major: (reported / thousands) as u16,
            minor: (reported % thousands / 100) as u16,
            patch: (reported % 100) as u16,
        })
    }

    /// The number that `getInferLibVersion()` returned.
    pub const fn encode(self) -> i32 {
        let thousands = match self.generation {
            Generation::V8 => 1_000,
            _ => 10_000,
        };
        self.major as i32 * thousands + self.minor as i32 * 100 + self.patch as i32
    }

    /// Whether this is `minor.patch` of its generation, or later.
    pub(crate) const fn reaches(self, minor: u16, patch: u16) -> bool {
        self.minor > minor || (self.minor == minor && self.patch >= patch)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = match self.generation {
            Generation::Rtx => "TensorRT-RTX",
            _ => "TensorRT",
        };
        write!(f, "{product} {}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_numbering() {
        for (reported, text, generation) in [
            (8503, "TensorRT 8.5.3", Generation::V8),
            (8601, "TensorRT 8.6.1", Generation::V8),
            (100_001, "TensorRT 10.0.1", Generation::V10),
            (101_601, "TensorRT 10.16.1", Generation::V10),
            (110_400, "TensorRT 11.4.0", Generation::V11),
            (10_701, "TensorRT-RTX 1.7.1", Generation::Rtx),
        ] {
            let version = Version::decode(reported).unwrap();
            assert_eq!(version.to_string(), text);
            assert_eq!(version.generation, generation);
            assert_eq!(version.encode(), reported);
            assert!(version >= generation.first());
        }
    }

    #[test]
    fn refuses_what_no_table_covers() {
        for reported in [i32::MIN, -1, 0, 7234, 8403, 9000, 10_300, 10_400, 20_000, 90_000, 120_000, i32::MAX] {
            assert_eq!(Version::decode(reported), None, "{reported}");
        }
    }

    #[test]
    fn lowest_versions_decode_to_themselves() {
        for generation in Generation::ALL {
            let first = generation.first();
            assert_eq!(Version::decode(first.encode()), Some(first));
        }
    }
}
