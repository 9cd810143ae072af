//! Which OpenVINO it is.

use std::fmt;

/// An OpenVINO's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The year.
    pub major: u32,
    /// The release in that year.
    pub minor: u32,
    /// The patch.
    pub patch: u32,
}

impl Version {
    /// The earliest whose interface this crate knows.
    pub const FIRST: Self = Self { major: 2025, minor: 1, patch: 0 };

    /// Reads a build number, "2026.4.1-22982-…".
    pub fn parse(build: &str) -> Option<Self> {
        let mut parts = build.split('-').next()?.split('.').map(|part| part.parse().ok());
        let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
        Some(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_numbers_are_read() {
        let parsed = Version::parse("2026.4.1-22982-59a2f3b4e5d-releases/2026/4").unwrap();
        assert_eq!(parsed.to_string(), "2026.4.1");
        assert!(parsed > Version::FIRST && Version::parse("2025.0.0-1").unwrap() < Version::FIRST);
        assert_eq!(Version::parse("2025.1").unwrap(), Version::FIRST);
        assert!(["", "custom", "2025", "2025.x.1"].iter().all(|build| Version::parse(build).is_none()));
    }
}
