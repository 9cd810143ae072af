//! Segmenting volumes with the models of a folder: a [`Segmenter`] has a session for each fold and a recipe, a [`Job`] is one volume
//! on its way.
//!
//! `description` reads what a folder says, and `load` makes a segmenter of it. `segmenter` plans a job and runs it on a thread of its
//! own: `model` brings the volume through one model, whose tiles `stream` gives to the sessions (`network`) and takes back in order, over
//! a `place` where they are cut out and blended: host memory, or a GPU's (`device`), of several the one whose `turn` it is; `result` makes
//! labels of them; `ensemble` averages several models, `coarse` finds the box that is worth a large one, `meter` counts the tiles of all of them.
//! `lent`, `labels` and `scores` are the caller's memory, which must not be `shared` by two of them.

mod coarse;
pub mod description;
mod device;
mod ensemble;
mod job;
mod joining;
mod labels;
#[allow(unsafe_code)] // memory that callers lend
mod lent;
mod load;
mod meter;
mod model;
mod monai;
#[allow(unsafe_code)] // lends tiles to sessions
mod network;
mod nnunet;
mod place;
pub mod recipe_json;
mod result;
mod scores;
mod segmenter;
mod shared;
mod stream;
#[cfg(test)]
pub mod test_folder;
mod turn;

pub use job::{Budget, Job, Order, Treatment, Volume};
pub use labels::LabelMap;
pub use lent::{Lent, LentMut};
pub use load::load;
pub use scores::{Going, Plane, ScoreMap, ScoresAsked, Target};
pub use segmenter::{Estimate, Info, Options, Segmenter};
