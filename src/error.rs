//! What goes wrong, said so that the reader knows what to do about it.

use std::fmt;

pub type Result<T> = std::result::Result<T, Error>;

/// The kind of an error, as the C interface numbers it: a number is never given a new meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    InvalidArgument = 1,
    NotFound = 2,
    Io = 3,
    InvalidModel = 4,
    IncompatibleModel = 5,
    MissingPlugin = 6,
    NoCuda = 7,
    NoTensorRt = 8,
    Unsupported = 9,
    Shape = 10,
    BufferTooSmall = 11,
    OutOfMemory = 12,
    InUse = 13,
    Cancelled = 14,
    Cuda = 15,
    TensorRt = 16,
    Poisoned = 17,
    Internal = 18,
    Deadline = 19,
    QueueFull = 20,
    ShutDown = 21,
    Forked = 22,
    DeviceLost = 23,
    SelfTest = 24,
    NoOpenVino = 25,
    OpenVino = 26,
}

/// An error: one sentence of ours, and what the libraries underneath said.
#[derive(Clone, Debug)]
pub struct Error {
    code: Code,
    message: String,
    detail: String,
    cuda_code: i32,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: String::new(), cuda_code: 0 }
    }

    /// Adds the words of the library underneath (TensorRT's last lines, tract's chain of causes).
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub fn with_cuda_code(mut self, cuda_code: i32) -> Self {
        self.cuda_code = cuda_code;
        self
    }

    /// Puts where it happened before what happened: "{context}: {message}".
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    pub fn code(&self) -> Code {
        self.code
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub fn cuda_code(&self) -> i32 {
        self.cuda_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.detail.is_empty() {
            write!(f, "\n{}", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
