//! The same computations on a CUDA device: twins of `tiles`, `sweep`, `decide` and `resample`, over memory there.
//!
//! `kernels.cu` is their source, `kernels.ptx` what `make kernels` makes of it; `kernels` launches them.

mod buffer;
mod download;
mod kernels;
mod resample;
mod slabs;
mod sweep;
#[cfg(test)]
mod tests;
mod upload;

pub use buffer::{Buffer, Element, Piece, View, in_room};
pub use download::Download;
pub use kernels::{Constants, DeviceHead, DeviceRule, Kernels, Label, Samples, Slab};
pub use resample::{DeviceWay, bytes as resampling_bytes, can as can_resample};
pub use slabs::{Coming, Slabs, Source, slab_bytes};
pub use sweep::{DeviceSweep, Planes};
pub use upload::{bytes as upload_bytes, upload};
