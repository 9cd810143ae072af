//! The same computations on a CUDA device: twins of `tiles`, `sweep`, `decide` and `resample`, over memory there.
//!
//! `kernels.cu` is their source, `kernels.ptx` what `make kernels` makes of it; `kernels` launches them.

mod buffer;
mod kernels;
mod sweep;
#[cfg(test)]
mod tests;

pub use buffer::{Buffer, View};
pub use kernels::{Kernels, Samples};
pub use sweep::DeviceSweep;
