//! What OpenVINO says when a call fails.

use std::fmt;

/// `ov_status_e`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub i32);

impl Status {
    pub(crate) const OK: Self = Self(0);
    /// The run has not ended.
    pub const RESULT_NOT_READY: Self = Self(-9);
    pub(crate) const INVALID_C_PARAM: Self = Self(-14);
    /// The run was cancelled.
    pub const INFER_CANCELLED: Self = Self(-13);
}

/// A call that failed.
#[derive(Clone, Debug)]
pub struct Error {
    /// What it returned.
    pub status: Status,
    /// What OpenVINO says; often with places in its sources.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.trim() {
            "" => write!(f, "OpenVINO fails with status {} and does not say why", self.status.0),
            message => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}
