//! OpenVINO's C interface (`libopenvino_c`), 2025.1 and later, loaded at run time.
//!
//! A program loads whichever OpenVINO it finds and calls it with no header and no SDK. This crate is the interface as data,
//! loading it, and its objects with their calls; what to do with them is for others to decide. It is for Linux.
//!
//! Before 2025.1 the numbers of element types were others, so earlier versions are refused.
//!
//! ```no_run
//! use openvino_c::{Core, Library};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The file is OpenVINO's.
//! let library = unsafe { Library::open("/opt/openvino/libopenvino_c.so.2641") }?;
//! let core = Core::new(&library)?;
//! let model = core.read_model(&std::fs::read("model.onnx")?)?;
//! let compiled = core.compile_model(&model, c"CPU", &[(c"NUM_STREAMS", c"1")])?;
//! let mut request = compiled.create_infer_request()?;
//! request.start_async()?;
//! request.wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! Texts of errors are kept by OpenVINO in one place for the whole process: where two threads fail at once, one may get the
//! text of the other's.

#![warn(missing_docs)]

mod core;
mod error;
mod functions;
mod library;
mod model;
mod request;
mod tensor;
mod version;

pub use core::Core;
pub use error::{Error, Status};
pub use library::{Library, OpenError};
pub use model::{CompiledModel, Dimension, Model, Port};
pub use request::{InferRequest, LayerTime};
pub use tensor::{ElementType, Tensor};
pub use version::Version;

/// Which objects may be shared between threads is part of the interface.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn moved<T: Send>() {}
    shared::<Library>();
    shared::<Core>();
    shared::<CompiledModel>();
    moved::<Model>();
    moved::<InferRequest>();
    moved::<Tensor>();
};
