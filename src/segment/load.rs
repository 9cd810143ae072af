//! From a model folder to a segmenter: its own models, or those of folders in it.

use super::description::{self, Description, Folds, Models};
use super::segmenter::{Options, Segmenter};
use crate::error::{Code, Error, Result};
use crate::folder::Folder;
use crate::log::Level;
use crate::process::stack::with_room;
use crate::quote::shown;
use crate::runtime::{EngineOptions, Runtime};
use std::path::{Path, PathBuf};

/// The segmenter that a folder describes. The options are about its models; the coarse one is as its own folder says.
pub fn load(runtime: &Runtime, folder: &Path, engine: &EngineOptions, options: &Options) -> Result<Segmenter> {
    let mut options = options.clone();
    options.description.prefers_plans = runtime.device().is_ok();
    with_room(|| Loader { runtime, engine }.load(folder, options, true))
}

struct Loader<'a> {
    runtime: &'a Runtime,
    engine: &'a EngineOptions,
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
                    true => Folder::open(model)?.load(self.runtime, self.engine),
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
