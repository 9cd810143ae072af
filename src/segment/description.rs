//! Which kind of description a model folder has, and where its models are.

use super::json::{self, Node, invalid};
use super::recipe_json;
use crate::error::{Code, Error, Result};
use crate::quote::{quoted, shown};
use crate::volume::recipe::Recipe;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the files of a folder leave open.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether a plan is taken where there are a plan and an ONNX file of the same name, and not the latter.
    pub prefers_plans: bool,
    /// Of an nnU-Net's configurations the one that the models are, as `3d_fullres`.
    pub configuration: Option<String>,
    /// The axes that the model may be mirrored over; those that nnU-Net's trainers allow by default, if it is an nnU-Net.
    pub mirrored: Option<[bool; 3]>,
}

/// planrt's own description in a model folder.
const RECIPE: &str = "recipe.json";

/// What is done to a volume, and the files of the models that do it: one a fold.
pub fn read(folder: &Path, options: &Options) -> Result<(Recipe, Vec<PathBuf>)> {
    if !folder.is_dir() {
        return Err(Error::new(Code::NotFound, format!("there is no model folder at {}", shown(folder))));
    }
    let recipe = folder.join(RECIPE);
    if !recipe.is_file() {
        return Err(invalid(format!("{} does not say how a volume is segmented: it has no {RECIPE}", shown(folder))));
    }
    let value = json::read(&recipe)?;
    let root = Node::new(&value, &recipe);
    let mut read = recipe_json::read(&root)?;
    read.tiling.mirrored = options.mirrored.unwrap_or(read.tiling.mirrored);
    Ok((read, models(folder, &[folder], options.prefers_plans)?))
}

/// Whether a file's name says that it is a model, and if so, whether a plan.
fn is_plan(path: &Path) -> Option<bool> {
    match path.extension()?.to_str()? {
        "plan" | "engine" => Some(true),
        "onnx" => Some(false),
        _ => None,
    }
}

/// The models in the first of the places that has any: `fold_*.onnx` or `fold_*/*.onnx`, in order, else the only one.
fn models(folder: &Path, places: &[&Path], prefers_plans: bool) -> Result<Vec<PathBuf>> {
    for place in places.iter().filter(|place| place.is_dir()) {
        let mut found = BTreeMap::new();
        for path in entries(place)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name.starts_with("fold_") {
                let models: Vec<_> = entries(&path)?.into_iter().filter(|path| is_plan(path).is_some()).collect();
                let mut stems: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
                for model in models {
                    take(&mut stems, model.with_extension(""), model, prefers_plans);
                }
                if stems.len() > 1 {
                    return Err(several(&path, stems.values()));
                }
                stems.into_values().for_each(|model| take(&mut found, path.clone(), model, prefers_plans));
            } else if path.is_file() && is_plan(&path).is_some() {
                take(&mut found, path.with_extension(""), path, prefers_plans);
            }
        }
        let is_fold = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("fold_"));
        let folds: Vec<_> = found.iter().filter(|(stem, _)| is_fold(stem)).map(|(_, path)| path.clone()).collect();
        match (folds.len(), found.len()) {
            (0, 0) => continue,
            (0, 1) => return Ok(found.into_values().collect()),
            (0, _) => return Err(several(place, found.values())),
            _ => return Ok(folds),
        }
    }
    Err(Error::new(
        Code::NotFound,
        format!("{} holds no model: model.plan, model.onnx, or fold_0.onnx and so on are looked for", shown(folder)),
    ))
}

/// Of models of one name a plan or an ONNX file, as is asked for.
fn take(found: &mut BTreeMap<PathBuf, PathBuf>, stem: PathBuf, path: PathBuf, prefers_plans: bool) {
    let is_better = |path: &Path| is_plan(path) == Some(prefers_plans);
    match found.get(&stem) {
        Some(there) if is_better(there) || !is_better(&path) => {}
        _ => {
            found.insert(stem, path);
        }
    }
}

fn several<'a>(place: &Path, models: impl Iterator<Item = &'a PathBuf>) -> Error {
    let names: Vec<_> = models.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy()).collect();
    invalid(format!(
        "{} holds several models, {}: which one is meant? Folds are to be called fold_0, fold_1 and so on",
        shown(place),
        quoted(&names.join(", "))
    ))
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |error: std::io::Error| Error::new(Code::Io, format!("{} cannot be read: {error}", shown(folder)));
    let mut found = std::fs::read_dir(folder)
        .map_err(wrong)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(wrong))
        .collect::<Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}
