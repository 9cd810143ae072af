//! What a model is made of and what it costs: its layers with their times, and runs as trtexec measures them.

mod bench;
mod inputs;
mod inspect;
mod rig;
mod times;

pub use bench::{Settings, bench};
pub use inputs::Given;
pub use inspect::inspect;

use serde_json::Value;

/// What was found, for programs and for people.
pub struct Findings {
    pub json: Value,
    pub text: String,
}
