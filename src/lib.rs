//! planrt: runs TensorRT plans and ONNX models inside C and C++ applications.
//!
//! The interface is C: `include/planrt.h`, generated from [`ffi`]. `docs/design.md` says where things belong and why.
//! `unsafe` is denied but where foreign code or callers' memory is handled; the modules that may use it say so here.

#![deny(unsafe_code)]

#[allow(unsafe_code)] // TensorRT, and memory that callers lend
pub mod backend;
mod buffer;
pub mod build;
#[allow(unsafe_code)] // passes on what the caller vouches for: the memory it lends
mod context;
#[allow(unsafe_code)] // the CUDA driver
pub mod cuda;
mod doctor;
pub mod engine;
pub mod error;
#[allow(unsafe_code)] // the C interface
#[deny(missing_docs)] // they become the header's
pub mod ffi;
mod file;
#[allow(unsafe_code)] // runs contexts over memory of its own
mod folder;
mod json;
#[allow(unsafe_code)] // calls the application's callback
pub mod log;
#[allow(unsafe_code)] // runs on memory of its own
mod measure;
#[allow(unsafe_code)] // maps model files
mod model;
#[allow(unsafe_code)] // calls NVIDIA's tools
mod nvtx;
mod panic;
#[allow(unsafe_code)] // registers and threads as the C library has them
mod process;
mod quote;
mod runtime;
pub mod scan;
mod schedule;
pub mod segment;
mod shared_library;
mod sync;
#[allow(unsafe_code)] // converts elements in callers' memory
pub mod tensor;
pub mod volume;
