//! Why a method that only some versions have did not give a value.

use crate::enums::Unknown;
use crate::method::Absent;
use std::fmt;

/// Why a method that only some versions have did not give a value of an enumeration.
#[derive(Clone, Copy, Debug)]
pub enum Error {
    /// The loaded TensorRT has no such method.
    Absent(Absent),
    /// It returned a number that has no name here.
    Unknown(Unknown),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(absent) => absent.fmt(f),
            Self::Unknown(unknown) => unknown.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<Absent> for Error {
    fn from(absent: Absent) -> Self {
        Self::Absent(absent)
    }
}

impl From<Unknown> for Error {
    fn from(unknown: Unknown) -> Self {
        Self::Unknown(unknown)
    }
}
