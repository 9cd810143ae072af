//! What TensorRT says: to the application's log, and in the errors that it explains.

mod lines;
mod loggers;

pub use lines::{Lines, gather, listen, withhold};
pub use loggers::Lease;

#[cfg(test)]
pub use lines::add;

use crate::error::{Code, Error};
use crate::log::Log;

/// Does something that holds locks: what TensorRT says meanwhile is told when they are let go of, since the application's
/// callback may wait for whoever wants one.
pub fn told_afterwards<R>(log: &Log, work: impl FnOnce() -> R) -> R {
    let (outcome, said) = withhold(work);
    said.tell(log);
    outcome
}

/// An error with TensorRT's lines; where these say that memory ran out, that is its code.
pub fn failed(code: Code, message: String, said: &Lines) -> Error {
    let out_of_memory = said.mention(&["out of memory", "Out of memory", "OutOfMemory"]);
    let code = if out_of_memory { Code::OutOfMemory } else { code };
    let message = if out_of_memory { format!("{message}: out of memory") } else { message };
    Error::new(code, message).with_detail(said.text())
}
