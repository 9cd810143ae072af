//! What a session runs a plan with: instances, each with contexts, graphs and memory, and the admission of requests.

mod admission;
mod batch_sizes;
mod budget;
mod build;
mod engine_copies;
mod graph_context;
mod instance;

pub use build::instance_group;
