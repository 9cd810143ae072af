//! Whole volumes: from a scan on its grid to what the network takes, and from what it gives back to a label map on the scan's
//! grid. Plain computations over memory: no session, no file, no C type. `[z, y, x]` everywhere: axis 0 is the slowest.

pub mod components;
pub mod crop;
pub mod decide;
#[allow(unsafe_code)] // launches kernels
pub mod device;
#[cfg(test)]
mod goldens;
pub mod grid;
pub mod head;
pub mod image;
pub mod intensity;
mod prepare;
pub mod recipe;
pub mod resample;
pub mod sweep;
pub mod tiles;
pub mod window;
pub mod work;

pub use prepare::{Announced, Back, Prepared, Scan, Surveyed, announce, prepare, survey};
