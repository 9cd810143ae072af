//! From a model folder to a segmenter: its own models, or those of folders in it.

use super::description::{self, Description, Folds, Models};
use super::segmenter::{Options, Segmenter};
use crate::error::{Code, Error, Result};
use crate::folder::{self, Folder};
use crate::log::Level;
use crate::process::stack::with_room;
use crate::quote::shown;
use crate::runtime::{EngineOptions, Runtime};
use std::path::{Path, PathBuf};

/// The segmenter that a folder describes. The options are about its models; the coarse one is as its own folder says.
pub fn load(runtime: &Runtime, folder: &Path, engine: &EngineOptions, options: &Options) -> Result<Segmenter> {
    let mut options = options.clone();
    options.description.prefers_plans = runtime.device().is_ok();
    let root = &folder::real(folder);
    with_room(|| Loader { runtime, engine, root }.load(root, options, true))
}

struct Loader<'a> {
    runtime: &'a Runtime,
    engine: &'a EngineOptions,
    root: &'a Path,
}

impl Loader<'_> {
    /// Folders are within one another, so that this ends.
    fn load(&self, folder: &Path, mut options: Options, may_be_ensemble: bool) -> Result<Segmenter> {
        let Description { models, coarse } = description::read(folder, &options.description)?;
        if let Some((place, margin_mm)) = coarse {
            if options.coarse.is_some() {
                let message = format!("{} has a coarse model of its own, and takes no other one", shown(folder));
                return Err(Error::new(Code::InvalidArgument, message));
            }
            let own = Options {
                session: options.session.clone(),
                threads: options.threads,
                description: description::Options {
                    prefers_plans: options.description.prefers_plans,
                    ..description::Options::default()
                },
                ..Options::default()
            };
            options.coarse = Some(self.part(&place, own, true)?.as_coarse(margin_mm)?);
        }
        match models {
            Models::Folds(recipe, Folds { models, left_out }) => {
                for fold in &left_out {
                    let message =
                        format!("{} holds no model, and is left out: the labels are the other folds'", shown(fold));
                    self.runtime.log().write(Level::Warning, &message);
                }
                let load = |model: &PathBuf| match model.is_dir() {
                    true => Folder::open(model)?.load(self.runtime, &self.options_for(model)),
                    false => self.runtime.load_file(model, self.engine),
                };
                let engines = models.iter().map(load).collect::<Result<Vec<_>>>()?;
                Segmenter::new(&engines, *recipe, &options)
            }
            Models::Ensemble(_) if !may_be_ensemble => {
                let message =
                    format!("{} is an ensemble within one: name its models in the other one's", shown(folder));
                Err(Error::new(Code::Unsupported, message))
            }
            Models::Ensemble(folders) => {
                let own = Options { coarse: None, ..options.clone() };
                let segmenters =
                    folders.iter().map(|folder| self.part(folder, own.clone(), false)).collect::<Result<Vec<_>>>()?;
                Segmenter::ensemble(&segmenters.iter().collect::<Vec<_>>(), &options)
                    .map_err(|error| error.within(shown(folder)))
            }
        }
    }

    /// The options for a model folder: a plan that is built of one in the root has its name in its own, so that each finds its own again.
    fn options_for(&self, model: &Path) -> EngineOptions {
        let mut engine = self.engine.clone();
        if let Some(request) = &mut engine.build
            && let Ok(inner) = model.strip_prefix(self.root)
        {
            let parts: Vec<_> = inner.iter().collect();
            let (stem, extension) = (request.path.file_stem(), request.path.extension());
            let mut name = stem.unwrap_or_default().to_owned();
            for part in parts.into_iter().chain(extension) {
                name.push(".");
                name.push(part);
            }
            request.path.set_file_name(name);
        }
        engine
    }

    /// A folder in another one, whose errors say which it is.
    fn part(&self, folder: &Path, options: Options, may_be_ensemble: bool) -> Result<Segmenter> {
        self.load(folder, options, may_be_ensemble).map_err(|error| {
            match error.message().contains(&*folder.to_string_lossy()) {
                true => error,
                false => error.within(shown(folder)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::BuildRequest;

    #[test]
    fn each_folder_has_a_plan_of_its_own() {
        let request = |path: &str| BuildRequest { options: Default::default(), path: path.into() };
        let runtime = Runtime::new(crate::runtime::Options::default());
        for (path, model, expected) in [
            ("/plans/seg.plan", "/models/seg", "/plans/seg.plan"),
            ("/plans/seg.plan", "/models/seg/fold_1", "/plans/seg.fold_1.plan"),
            ("seg", "/models/seg/a/fold_1", "seg.a.fold_1"),
        ] {
            let engine = EngineOptions { build: Some(request(path)), ..EngineOptions::default() };
            let loader = Loader { runtime: &runtime, engine: &engine, root: Path::new("/models/seg") };
            assert_eq!(loader.options_for(Path::new(model)).build.unwrap().path, Path::new(expected));
        }
    }
}
