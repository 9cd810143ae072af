//! Which kind of description a model folder has, and where its models are.

use super::{monai, nnunet, recipe_json};
use crate::error::{Code, Error, Result};
use crate::folder::parts::{COARSE, ENSEMBLE, Parts};
use crate::folder::{self, Folder};
use crate::json::{self, Node, invalid};
use crate::process::stack::with_room;
use crate::quote::{quoted, shown};
use crate::volume::recipe::Recipe;
use std::collections::BTreeMap;
use std::io::ErrorKind;
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

/// The description of nnU-Net's first version.
const PICKLED: &str = "plans.pkl";

/// What a folder says.
#[derive(Debug)]
pub struct Description {
    pub models: Models,
    /// The folder of the model that finds where to look, and how many millimetres around that count.
    pub coarse: Option<(PathBuf, f64)>,
}

#[derive(Debug)]
pub enum Models {
    /// What is done to a volume, and what does it, one a fold: a file, or a folder whose passport says which of its plans runs where.
    Folds(Box<Recipe>, Folds),
    /// Folders with descriptions of their own, which are averaged.
    Ensemble(Vec<PathBuf>),
}

/// The models of a folder.
#[derive(Debug, Default)]
pub struct Folds {
    pub models: Vec<PathBuf>,
    /// Folders that are folds by their names, and hold no model.
    pub left_out: Vec<PathBuf>,
}

pub fn read(folder: &Path, options: &Options) -> Result<Description> {
    // JSON in JSON goes deep.
    with_room(|| read_here(folder, options))
}

fn read_here(folder: &Path, options: &Options) -> Result<Description> {
    match folder.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            let message = format!(
                "{} is no folder: name the one that the model is in, with what says how a volume is segmented ({RECIPE}, {}, ...)",
                shown(folder),
                nnunet::PLANS
            );
            return Err(Error::new(Code::NotFound, message));
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(Error::new(Code::NotFound, format!("there is no model folder at {}", shown(folder))));
        }
        Err(error) => return Err(Error::new(Code::Io, format!("{} cannot be read: {error}", shown(folder)))),
    }
    let (own, passport) = (folder.join(RECIPE), folder.join(folder::PASSPORT));
    if is_there(&own) {
        let value = json::read(&own)?;
        return planrts(folder, &Node::new(&value, &own), options);
    }
    if is_there(&passport) {
        let value = json::read(&passport)?;
        if let Some(recipe) = Node::new(&value, &passport).find(folder::RECIPE)? {
            return planrts(folder, &recipe, options);
        }
    }
    let recipe = if is_there(&folder.join(nnunet::PLANS)) {
        nnunet::read(folder, options)?
    } else if let Some(file) = monai::find(folder) {
        without_configurations(folder, options)?;
        monai::read(&file, options)?
    } else if is_there(&folder.join(PICKLED)) {
        return Err(Error::new(
            Code::Unsupported,
            format!(
                "{} is of nnU-Net's first version: its {PICKLED} is a Python pickle, which is code that would run, and is not read; write what \
                 it says as a {RECIPE}, or train with nnU-Net's second version, which writes {}",
                shown(folder),
                nnunet::PLANS
            ),
        ));
    } else {
        return Err(invalid(format!(
            "{} does not say how a volume is segmented: it has no {RECIPE}, no passport with a \"{}\", no nnU-Net's {} and no MONAI bundle's configs/inference.json",
            shown(folder),
            folder::RECIPE,
            nnunet::PLANS
        )));
    };
    let models = Models::Folds(Box::new(recipe), models(folder, options.prefers_plans)?);
    Ok(Description { models, coarse: None })
}

/// Whether a folder says how a volume is segmented, right or wrong.
pub fn is_in(folder: &Path) -> bool {
    let passport = folder.join(folder::PASSPORT);
    let in_passport = || json::read(&passport).is_ok_and(|passport| !passport[folder::RECIPE].is_null());
    [RECIPE, nnunet::PLANS, PICKLED].iter().any(|file| is_there(&folder.join(file)))
        || monai::find(folder).is_some()
        || with_room(|| Ok(is_there(&passport) && in_passport())).unwrap_or(false)
}

/// planrt's own description: that of a model, or the folders of several.
fn planrts(folder: &Path, recipe: &Node, options: &Options) -> Result<Description> {
    let parts = Parts::read(recipe)?;
    if parts.folders().next().is_some() && has_passport(folder) {
        Folder::open(folder)?.check_parts(&parts)?;
    }
    let coarse = match &parts.coarse {
        Some(coarse) => Some((inner(folder, &coarse.folder)?, coarse.margin_mm)),
        None => None,
    };
    if !parts.ensemble.is_empty() {
        recipe.only(&[recipe_json::VERSION_KEY, ENSEMBLE, COARSE])?;
        recipe_json::check_version(recipe)?;
        let folders = parts.ensemble.iter().map(|path| inner(folder, path)).collect::<Result<_>>()?;
        return Ok(Description { models: Models::Ensemble(folders), coarse });
    }
    without_configurations(folder, options)?;
    let mut own = recipe.value.clone();
    if let Some(members) = own.as_object_mut() {
        [COARSE, ENSEMBLE].into_iter().for_each(|key| drop(members.remove(key)));
    }
    let mut recipe = recipe_json::read(&recipe.with(&own))?;
    recipe.tiling.mirrored = options.mirrored.unwrap_or(recipe.tiling.mirrored);
    let models = Models::Folds(Box::new(recipe), models(folder, options.prefers_plans)?);
    Ok(Description { models, coarse })
}

/// A folder in another one, by its path there.
fn inner(folder: &Path, path: &str) -> Result<PathBuf> {
    let place = folder.join(path);
    if !place.is_dir() {
        let message =
            format!("there is no model folder at {}, which the recipe of {} names", shown(&place), shown(folder));
        return Err(Error::new(Code::NotFound, message));
    }
    let failed = |error: std::io::Error| Error::new(Code::Io, format!("{} cannot be read: {error}", shown(&place)));
    let (real, root) = (place.canonicalize().map_err(failed)?, folder.canonicalize().map_err(failed)?);
    match real != root && real.starts_with(&root) {
        true => Ok(place),
        false => Err(invalid(format!(
            "{} is a link that leads out of the folder, to {}; put the folder itself there",
            shown(&place),
            shown(&real)
        ))),
    }
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

fn has_passport(folder: &Path) -> bool {
    is_there(&folder.join(folder::PASSPORT))
}

/// Whether there is a file of that name, be it a link that leads nowhere: what cannot be read says so, and nothing else is taken in its place.
pub(super) fn is_there(file: &Path) -> bool {
    file.symlink_metadata().is_ok()
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
fn models(folder: &Path, prefers_plans: bool) -> Result<Folds> {
    let without_folds = |model| Ok(Folds { models: vec![model], left_out: Vec::new() });
    if has_passport(folder) {
        return without_folds(folder.to_owned());
    }
    // Bundles have theirs in a folder.
    let places = [folder.to_owned(), folder.join("models")];
    for place in places.iter().filter(|place| place.is_dir()) {
        let (mut found, mut left_out) = (BTreeMap::new(), Vec::new());
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
                match stems.len() {
                    0 => left_out.push(path.clone()),
                    1 => {}
                    _ => return Err(several(&path, stems.values())),
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
        match (folds.is_empty(), found.len()) {
            (true, 0) => continue,
            (true, 1) => return without_folds(found.into_values().next().unwrap_or_default()),
            (true, _) => return Err(several(place, found.values())),
            (false, _) => return Ok(Folds { models: folds, left_out }),
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

    /// Of a folder that is one model.
    fn folds(folder: &Path, options: &Options) -> Result<(Recipe, Vec<PathBuf>)> {
        match read(folder, options)? {
            Description { models: Models::Folds(recipe, folds), coarse: None } => Ok((*recipe, folds.models)),
            other => panic!("{other:?}"),
        }
    }

    fn models(files: &[&str], prefers_plans: bool) -> Result<Vec<String>> {
        let folder = TestFolder::new("model");
        folder.write("recipe.json", LEAST);
        files.iter().for_each(|name| folder.write(name, b""));
        let (_, models) = folds(folder.path(), &Options { prefers_plans, ..Options::default() })?;
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
    fn folds_without_a_model_are_told() {
        let folder = TestFolder::new("model");
        ["fold_0/model.onnx", "fold_1/checkpoint_final.pth", "fold_2/model.onnx"]
            .iter()
            .for_each(|name| folder.write(name, b""));
        let Folds { models, left_out } = super::models(folder.path(), false).unwrap();
        assert_eq!((models.len(), left_out), (2, vec![folder.path().join("fold_1")]));
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
        let (recipe, models) = folds(folder.path(), &Options::default()).unwrap();
        assert_eq!((recipe.tiling.patch, &models[..]), ([8, 8, 8], &[folder.path().to_owned()][..]));
        folder.write(folder::PASSPORT, br#"{"planrt_folder": 1, "recipe": {"planrt_recipe": 1, "colour": 1}}"#);
        let error = read(folder.path(), &Options::default()).unwrap_err();
        assert!(error.message().contains("\"recipe\": \"colour\" is not known"), "{error}");
        // One for each fold.
        let folder = TestFolder::new("model");
        folder.write("recipe.json", LEAST);
        ["fold_0/planrt.json", "fold_1/planrt.json"].iter().for_each(|passport| folder.write(passport, b"{}"));
        let (_, models) = folds(folder.path(), &Options::default()).unwrap();
        assert_eq!(models, ["fold_0", "fold_1"].map(|fold| folder.path().join(fold)));
    }

    #[test]
    fn folders_in_the_folder() {
        let folder = TestFolder::new("model");
        ["a/x", "b/c/x", "coarse/x", "model.onnx"].iter().for_each(|name| folder.write(name, b""));
        let place = |path: &str| folder.path().join(path);
        folder.write("recipe.json", br#"{"planrt_recipe": 1, "ensemble": ["a", "b/c"]}"#);
        let Description { models, coarse } = read(folder.path(), &Options::default()).unwrap();
        assert!(
            matches!(models, Models::Ensemble(folders) if folders == [place("a"), place("b/c")]) && coarse.is_none()
        );
        let with_coarse = |recipe: &[u8]| {
            let recipe = std::str::from_utf8(recipe).unwrap();
            recipe.replacen('{', r#"{"coarse": {"folder": "coarse", "margin_mm": 12.5}, "#, 1)
        };
        folder.write("recipe.json", with_coarse(LEAST).as_bytes());
        let Description { models, coarse } = read(folder.path(), &Options::default()).unwrap();
        assert!(matches!(models, Models::Folds(recipe, _) if recipe.tiling.patch == [8; 3]));
        assert_eq!(coarse, Some((place("coarse"), 12.5)));

        std::os::unix::fs::symlink("..", folder.path().join("a/up")).unwrap();
        std::os::unix::fs::symlink("/tmp", folder.path().join("out")).unwrap();
        let coarse = |coarse: &str| format!(r#"{{"planrt_recipe": 1, "ensemble": ["a"], "coarse": {coarse}}}"#);
        let ensemble = |ensemble: &str| format!(r#"{{"planrt_recipe": 1, "ensemble": {ensemble}}}"#);
        for (recipe, named) in [
            (ensemble("[]"), "\"ensemble\": one folder at least"),
            (ensemble(r#"["a", "a"]"#), "\"ensemble[1]\": the folder is named twice"),
            (ensemble(r#"["a", "a/"]"#), "\"ensemble[1]\": the folder is named twice"),
            (ensemble(r#"["b/c", "b//./c"]"#), "\"ensemble[1]\": the folder is named twice"),
            (ensemble(r#"["a", "../a"]"#), "\"ensemble[1]\": \"../a\" leads out"),
            (ensemble(r#"["/tmp"]"#), "leads out"),
            (ensemble(r#"[""]"#), "leads out"),
            (ensemble(r#"["out"]"#), "a link that leads out"),
            (ensemble(r#"["a/up"]"#), "a link that leads out"),
            (ensemble(r#"["none"]"#), "which the recipe of"),
            (ensemble(r#"["model.onnx"]"#), "which the recipe of"),
            (ensemble(r#""a""#), "\"ensemble\": an array"),
            (ensemble(r#"["a"], "tiling": {"patch": [8, 8, 8]}"#), "\"tiling\" is not known"),
            (r#"{"ensemble": ["a"]}"#.to_owned(), "\"planrt_recipe\" is missing"),
            (coarse(r#"{"folder": "../x", "margin_mm": 1}"#), "\"coarse.folder\""),
            (coarse(r#"{"folder": "coarse"}"#), "\"margin_mm\" is missing"),
            (coarse(r#"{"folder": "coarse", "margin_mm": -1}"#), "from 0 on"),
            (coarse(r#"{"folder": "coarse", "margin_mm": 1, "colour": 1}"#), "\"colour\" is not known"),
            (coarse(r#""coarse""#), "\"coarse\": an object"),
        ] {
            folder.write("recipe.json", recipe.as_bytes());
            let error = read(folder.path(), &Options::default()).unwrap_err();
            assert!(error.message().contains(named), "{recipe}: {error}");
        }
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
        folder.write("plans.pkl", b"");
        let first = error(folder.path());
        assert!(first.code() == Code::Unsupported && first.message().contains("first version"), "{first}");
        let file = error(&folder.path().join("model.onnx"));
        assert!(file.code() == Code::NotFound && file.message().contains("is no folder: name the one"), "{file}");
        let missing = error(&folder.path().join("model.onnx").join("none"));
        assert!(
            missing.code() == Code::NotFound && missing.message().contains("there is no model folder"),
            "{missing}"
        );
        for (name, text) in
            [("recipe.json", "recipe.json"), (folder::PASSPORT, "planrt.json"), ("plans.json", "plans.json")]
        {
            let link = folder.path().join(name);
            std::os::unix::fs::symlink("nowhere", &link).unwrap();
            let dangling = error(folder.path());
            assert!(dangling.code() == Code::Io && dangling.message().contains(text), "{dangling}");
            std::fs::remove_file(link).unwrap();
        }
        for damaged in [&b"{"[..], b"", b"[]", b"\xff", b"{\"planrt_recipe\": 1e400}"] {
            folder.write("recipe.json", damaged);
            assert_eq!(error(folder.path()).code(), Code::InvalidModel);
        }
    }
}
