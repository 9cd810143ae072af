//! Which kind of description a model folder has, and where its models are.

use super::{monai, nnunet, recipe_json};
use crate::error::{Code, Error, Result};
use crate::folder;
use crate::json::{self, Node, invalid};
use crate::process::stack::with_room;
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

/// planrt's own description in a model folder: a file of this name, or a passport's member.
const RECIPE: &str = "recipe.json";
const RECIPE_KEY: &str = "recipe";

/// What is done to a volume, and the models that do it, one a fold: a file, or a folder whose passport says which of its plans runs
/// where.
pub fn read(folder: &Path, options: &Options) -> Result<(Recipe, Vec<PathBuf>)> {
    // JSON in JSON goes deep.
    with_room(|| read_here(folder, options))
}

fn read_here(folder: &Path, options: &Options) -> Result<(Recipe, Vec<PathBuf>)> {
    if !folder.is_dir() {
        return Err(Error::new(Code::NotFound, format!("there is no model folder at {}", shown(folder))));
    }
    let own = folder.join(RECIPE);
    let recipe = if own.is_file() {
        without_configurations(folder, options)?;
        let value = json::read(&own)?;
        mirrored(recipe_json::read(&Node::new(&value, &own))?, options)
    } else if let Some(recipe) = passports(folder)? {
        without_configurations(folder, options)?;
        mirrored(recipe, options)
    } else if folder.join(nnunet::PLANS).is_file() {
        nnunet::read(folder, options)?
    } else if let Some(file) = monai::find(folder) {
        without_configurations(folder, options)?;
        monai::read(&file, options)?
    } else {
        return Err(invalid(format!(
            "{} does not say how a volume is segmented: it has no {RECIPE}, no passport with a \"{RECIPE_KEY}\", no nnU-Net's {} and no MONAI bundle's configs/inference.json",
            shown(folder),
            nnunet::PLANS
        )));
    };
    Ok((recipe, models(folder, options.prefers_plans)?))
}

/// An error where one of several configurations is asked for: only nnU-Net's descriptions have them.
fn without_configurations(folder: &Path, options: &Options) -> Result<()> {
    match &options.configuration {
        None => Ok(()),
        Some(name) => Err(Error::new(
            Code::InvalidArgument,
            format!(
                "the configuration {} is asked for, and {} is no nnU-Net: only those have several",
                quoted(name),
                shown(folder)
            ),
        )),
    }
}

fn mirrored(mut recipe: Recipe, options: &Options) -> Recipe {
    recipe.tiling.mirrored = options.mirrored.unwrap_or(recipe.tiling.mirrored);
    recipe
}

fn has_passport(folder: &Path) -> bool {
    folder.join(folder::PASSPORT).is_file()
}

/// The recipe in a folder's passport, where there is one.
fn passports(folder: &Path) -> Result<Option<Recipe>> {
    if !has_passport(folder) {
        return Ok(None);
    }
    let file = folder.join(folder::PASSPORT);
    let value = json::read(&file)?;
    Node::new(&value, &file).find(RECIPE_KEY)?.map(|recipe| recipe_json::read(&recipe)).transpose()
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
fn models(folder: &Path, prefers_plans: bool) -> Result<Vec<PathBuf>> {
    if has_passport(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    // Bundles have theirs in a folder.
    let places = [folder.to_owned(), folder.join("models")];
    for place in places.iter().filter(|place| place.is_dir()) {
        let mut found = BTreeMap::new();
        for path in entries(place)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name.starts_with("fold_") && has_passport(&path) {
                found.insert(path.clone(), path);
            } else if path.is_dir() && name.starts_with("fold_") {
                let models: Vec<_> = entries(&path)?.into_iter().filter(|path| is_plan(path).is_some()).collect();
                let mut stems: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
                for model in models {
                    take(&mut stems, model.with_extension(""), model, prefers_plans);
                }
                if stems.len() > 1 {
                    return Err(several(&path, stems.values()));
                }
                stems.into_values().for_each(|model| take(&mut found, path.clone(), model, prefers_plans));
            } else if !path.is_dir() && is_plan(&path).is_some() {
                // A link that leads nowhere would be a fold less.
                if !path.is_file() {
                    return Err(Error::new(
                        Code::Io,
                        format!("{} is no file, by its name it is a model", shown(&path)),
                    ));
                }
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

#[cfg(test)]
mod tests {
    use super::super::test_folder::TestFolder;
    use super::*;

    const LEAST: &[u8] = br#"{"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}}"#;

    fn models(files: &[&str], prefers_plans: bool) -> Result<Vec<String>> {
        let folder = TestFolder::new("model");
        folder.write("recipe.json", LEAST);
        files.iter().for_each(|name| folder.write(name, b""));
        let (_, models) = read(folder.path(), &Options { prefers_plans, ..Options::default() })?;
        let relative = |path: &PathBuf| path.strip_prefix(folder.path()).unwrap().to_string_lossy().into_owned();
        Ok(models.iter().map(relative).collect())
    }

    #[test]
    fn one_model_a_fold() {
        assert_eq!(models(&["model.onnx", "notes.txt"], true).unwrap(), ["model.onnx"]);
        let both = ["model.onnx", "model.plan"];
        assert_eq!(models(&both, true).unwrap(), ["model.plan"]);
        assert_eq!(models(&both, false).unwrap(), ["model.onnx"]);
        let folds = ["fold_0.onnx", "fold_1.engine", "fold_1.onnx", "other.onnx"];
        assert_eq!(models(&folds, true).unwrap(), ["fold_0.onnx", "fold_1.engine"]);
        let folders = ["fold_0/model.onnx", "fold_0/model.plan", "fold_0/checkpoint_final.pth", "fold_1/model.onnx"];
        assert_eq!(models(&folders, true).unwrap(), ["fold_0/model.plan", "fold_1/model.onnx"]);
        assert_eq!(models(&folders, false).unwrap(), ["fold_0/model.onnx", "fold_1/model.onnx"]);
        assert_eq!(models(&["models/model.onnx", "models/model.pt"], false).unwrap(), ["models/model.onnx"]);
    }

    #[test]
    fn no_model_or_several_are_errors() {
        for files in [&[][..], &["model.pt"], &["fold_0/checkpoint_final.pth"]] {
            assert_eq!(models(files, true).unwrap_err().code(), Code::NotFound);
        }
        for files in [&["a.onnx", "b.onnx"][..], &["fold_0/a.onnx", "fold_0/b.plan"]] {
            let error = models(files, true).unwrap_err();
            assert!(error.message().contains("several") && error.message().contains("a.onnx"), "{error}");
        }
    }

    #[test]
    fn a_fold_that_leads_nowhere_is_not_left_out() {
        let folder = TestFolder::new("model");
        folder.write("recipe.json", LEAST);
        folder.write("fold_0.onnx", b"");
        std::os::unix::fs::symlink("/none/fold_1.onnx", folder.path().join("fold_1.onnx")).unwrap();
        let error = read(folder.path(), &Options::default()).unwrap_err();
        assert!(error.code() == Code::Io && error.message().contains("fold_1.onnx"), "{error}");
    }

    #[test]
    fn a_passport_says_what_is_done_and_what_runs() {
        let folder = TestFolder::new("model");
        let recipe = std::str::from_utf8(LEAST).unwrap();
        folder.write(folder::PASSPORT, format!("{{\"planrt_folder\": 1, \"recipe\": {recipe}}}").as_bytes());
        folder.write("model.onnx", b"");
        let (recipe, models) = read(folder.path(), &Options::default()).unwrap();
        assert_eq!((recipe.tiling.patch, &models[..]), ([8, 8, 8], &[folder.path().to_owned()][..]));
        folder.write(folder::PASSPORT, br#"{"planrt_folder": 1, "recipe": {"planrt_recipe": 1, "colour": 1}}"#);
        let error = read(folder.path(), &Options::default()).unwrap_err();
        assert!(error.message().contains("\"recipe\": \"colour\" is not known"), "{error}");
        // One for each fold.
        let folder = TestFolder::new("model");
        folder.write("recipe.json", LEAST);
        ["fold_0/planrt.json", "fold_1/planrt.json"].iter().for_each(|passport| folder.write(passport, b"{}"));
        let (_, models) = read(folder.path(), &Options::default()).unwrap();
        assert_eq!(models, ["fold_0", "fold_1"].map(|fold| folder.path().join(fold)));
    }

    #[test]
    fn a_configuration_is_an_nnunets() {
        let recipe = std::str::from_utf8(LEAST).unwrap();
        let passport = format!("{{\"planrt_folder\": 1, \"recipe\": {recipe}}}");
        let bundle = example("spleen_ct_segmentation/configs/inference.json");
        let options = Options { configuration: Some("3d_fullres".to_owned()), ..Options::default() };
        for (name, content) in
            [("recipe.json", recipe), (folder::PASSPORT, passport.as_str()), ("inference.json", bundle.as_str())]
        {
            let folder = TestFolder::new("model");
            folder.write(name, content.as_bytes());
            folder.write("model.onnx", b"");
            assert!(read(folder.path(), &Options::default()).is_ok(), "{name}");
            let error = read(folder.path(), &options).unwrap_err();
            assert!(error.code() == Code::InvalidArgument && error.message().contains("3d_fullres"), "{name}: {error}");
        }
    }

    /// Whatever stands in a description, it is read or refused: nothing panics.
    #[test]
    fn anything_may_stand_anywhere() {
        use serde_json::{Value, json};
        let examples = [
            ("recipe.json", vec![("recipe.json", std::str::from_utf8(LEAST).unwrap().to_owned())]),
            ("plans.json", nnunet_files()),
            ("dataset.json", nnunet_files()),
            ("inference.json", vec![("inference.json", example("spleen_ct_segmentation/configs/inference.json"))]),
        ];
        let values = [
            json!(null),
            json!(-1),
            json!(1e300),
            json!("@x"),
            json!("$"),
            json!([]),
            json!({}),
            json!([[0]]),
            json!(true),
        ];
        for (changed, files) in examples {
            let folder = TestFolder::new("model");
            files.iter().for_each(|(name, content)| folder.write(name, content.as_bytes()));
            folder.write("model.onnx", b"");
            assert!(read(folder.path(), &Options::default()).is_ok(), "{changed}");
            let (_, content) = files.iter().find(|(name, _)| *name == changed).unwrap();
            let whole: Value = serde_json::from_str(content).unwrap();
            for place in places(&whole, String::new()) {
                for value in &values {
                    let mut damaged = whole.clone();
                    *damaged.pointer_mut(&place).unwrap() = value.clone();
                    folder.write(changed, damaged.to_string().as_bytes());
                    if let Err(error) = read(folder.path(), &Options::default()) {
                        assert!(!error.message().is_empty());
                    }
                }
            }
        }
    }

    fn example(path: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/descriptions/");
        std::fs::read_to_string(format!("{folder}{path}")).unwrap()
    }

    fn nnunet_files() -> Vec<(&'static str, String)> {
        ["plans.json", "dataset.json"]
            .map(|name| (name, example(&format!("nnUNetTrainer__nnUNetPlans__3d_fullres/{name}"))))
            .to_vec()
    }

    /// Pointers to everything in a value.
    fn places(value: &serde_json::Value, here: String) -> Vec<String> {
        let below: Vec<_> = match value {
            serde_json::Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
            serde_json::Value::Array(items) => {
                items.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect()
            }
            _ => Vec::new(),
        };
        let below =
            below.into_iter().flat_map(|(key, value)| places(value, format!("{here}/{}", key.replace('/', "~1"))));
        let below: Vec<_> = below.collect();
        std::iter::once(here).chain(below).collect()
    }

    #[test]
    fn a_folder_without_a_description_is_an_error() {
        let folder = TestFolder::new("model");
        folder.write("model.onnx", b"");
        let error = |path: &Path| read(path, &Options::default()).unwrap_err();
        assert!(error(folder.path()).message().contains("plans.json"));
        assert_eq!(error(&folder.path().join("model.onnx")).code(), Code::NotFound);
        for damaged in [&b"{"[..], b"", b"[]", b"\xff", b"{\"planrt_recipe\": 1e400}"] {
            folder.write("recipe.json", damaged);
            assert_eq!(error(folder.path()).code(), Code::InvalidModel);
        }
    }
}
