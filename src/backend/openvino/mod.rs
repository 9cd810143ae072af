//! OpenVINO, loaded at run time where the application asks for it: runs ONNX models on the CPU, faster than the CPU engine, with
//! numbers of its own.
//!
//! A model is read and checked by planrt first, as for the CPU engine: OpenVINO gets it whole, with the weights in it, and sees no
//! file. It is compiled for each shape that is asked for (`prepared`), and a few of these are kept. A batch is run item by
//! item where items are independent, over OpenVINO's streams, so that any batch is of shapes that are ready.

mod checks;
mod context;
mod engine;
mod find;
mod instance;
mod library;
mod prepared;

use crate::error::{Code, Error};

pub use engine::OpenVinoEngine;
pub use library::Library;

/// The error for what OpenVINO refused or failed at.
fn failed(code: Code, message: impl Into<String>, error: &openvino_c::Error) -> Error {
    let text = error.to_string();
    let short = ["bad_alloc", "allocate memory", "out of memory"].iter().any(|words| text.contains(words));
    let (code, message) = match short {
        true => (Code::OutOfMemory, "there is too little free memory for this".to_owned()),
        false => (code, message.into()),
    };
    Error::new(code, message).with_detail(text)
}
