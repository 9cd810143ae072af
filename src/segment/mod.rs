//! Segmenting volumes with the models of a folder.

pub mod description;
mod json;
mod recipe_json;
