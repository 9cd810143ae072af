//! TensorRT's binary interface, 8.5 to 11 and RTX, called through tables at run time.
//!
//! TensorRT has no C interface: its public classes are inline wrappers round virtual calls. NVIDIA
//! only appends to those virtual tables inside a major version, so a program can load whichever
//! TensorRT it finds when it starts and call it through the right table, with no header and no SDK.
//! This crate is those tables and the calls, as data and as methods; what to do with them is for
//! others to decide. It is for Linux on x86-64 and aarch64.
//!
//! ```no_run
//! use tensorrt_sys::{ExecutionContextAllocationStrategy, Library, Logger};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // SAFETY: the name is TensorRT's.
//! let library = unsafe { Library::open("libnvinfer.so.10") }?;
//! let runtime = library.create_runtime(Logger::new()).ok_or("no runtime")?;
//! let plan = std::fs::read("model.plan")?;
//! // SAFETY: the plan is our own.
//! let engine = unsafe { runtime.deserialize_cuda_engine(&plan) }.ok_or("no engine")?;
//! let context = engine
//!     .create_execution_context(ExecutionContextAllocationStrategy::Static)?
//!     .ok_or("no context")?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//! - [`Library`]: a TensorRT in the process. [`Version`], [`Generation`]: which one it is.
//! - [`Runtime`], [`Engine`], [`Context`], [`Inspector`], [`HostMemory`], [`PluginRegistry`]: the
//!   objects. Each deletes its TensorRT object when it is dropped and keeps the one that made it,
//!   so any order of dropping is right.
//! - [`Builder`], [`BuilderConfig`], [`Network`], [`Parser`]: from an ONNX model to a plan.
//! - [`Refitter`], [`ParserRefitter`]: other weights for an engine.
//! - [`Logger`], [`ProgressMonitor`]: what TensorRT calls.
//! - [`methods`]: the tables.
//!
//! # Methods that not every version has
//! return [`Absent`], or [`Error`] where they could also return a number without a name; both say
//! which versions have it. Such a method is never called.

#![warn(missing_docs)]

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("the tables are those of TensorRT for Linux on x86-64 and aarch64");

mod builder;
mod builder_flag;
mod context;
mod dims;
mod engine;
mod enums;
mod error;
mod host_memory;
mod inspector;
mod interface;
mod library;
mod logger;
mod method;
mod network;
mod object;
mod parser;
mod plugin_library;
mod plugin_registry;
mod profiler;
mod progress;
mod refitter;
mod runtime;
mod tables;
mod version;

pub use builder::{Builder, BuilderConfig, OptimizationProfile};
pub use builder_flag::{BuilderFlag, TacticSource};
pub use context::{Context, ShapeInference};
pub use dims::Dims;
pub use engine::Engine;
pub use enums::{
    DataType, EngineCapability, EngineStat, EngineValidity, ExecutionContextAllocationStrategy,
    HardwareCompatibilityLevel, LayerInformationFormat, MemoryPoolType, OnnxParserFlag, OptProfileSelector,
    ProfilingVerbosity, Severity, TensorFormat, TensorIoMode, TensorLocation, Unknown, WeightsRole,
};
pub use error::Error;
pub use host_memory::HostMemory;
pub use inspector::Inspector;
pub use library::{CANDIDATES, Flavor, Library, OpenError};
pub use logger::{Logger, Sink};
pub use method::{Absent, Row, Slot};
pub use network::{Layer, Network, Tensor};
pub use parser::{Parser, ParserError, ParserLibrary, ParserRefitter};
pub use plugin_library::{PluginLibrary, has_cudnn};
pub use plugin_registry::{PluginLibraryHandle, PluginRegistry};
pub use profiler::Profiler;
pub use progress::{Progress, ProgressMonitor};
pub use refitter::{LayerWeights, Refitter};
pub use runtime::Runtime;
pub use tables::methods;
pub use version::{Generation, Version};

/// A `cudaStream_t`.
pub type Stream = *mut std::ffi::c_void;
/// A `cudaEvent_t`.
pub type Event = *mut std::ffi::c_void;

/// Which objects may be shared between threads is part of the interface.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn moved<T: Send>() {}
    shared::<Library>();
    shared::<Runtime>();
    shared::<Engine>();
    shared::<HostMemory>();
    shared::<PluginRegistry>();
    shared::<Logger>();
    moved::<Context>();
    moved::<Inspector>();
    moved::<Builder>();
    moved::<BuilderConfig>();
    moved::<Parser>();
    moved::<Refitter>();
    moved::<ParserRefitter>();
    shared::<Profiler>();
    shared::<ProgressMonitor>();
};
