//! Segmenting volumes with the models of a folder.

pub mod description;
mod json;
mod monai;
mod nnunet;
mod recipe_json;
#[cfg(test)]
mod test_folder;
