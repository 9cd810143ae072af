//! Model folders: a model as it is delivered. One folder holds an ONNX model, plans of it for GPUs and TensorRTs, small test vectors,
//! and a passport that has the hash of each ([`passport`]).

mod built;
mod features;
mod hashes;
pub mod parts;
mod passport;
mod self_test;

use crate::backend::Engine;
use crate::build::onnx;
use crate::error::{Code, Error, Result};
use crate::log::Level;
use crate::model::{self, Format, Origin};
use crate::process::stack::with_room;
use crate::quote::{quoted, shown};
use crate::runtime::{EngineOptions, Runtime};
use crate::volume::head::{Folded, Head};
use memmap2::Mmap;
use parts::Parts;
use passport::Passport;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use built::Request as BuildRequest;
pub use features::{Features, head_of_file};
pub use passport::{FILE as PASSPORT, RECIPE};
pub use self_test::Outcome;

/// What a model keeps in other files.
#[derive(Default)]
struct Weights {
    /// Where they lie, if there are any.
    folder: Option<PathBuf>,
    hashes: Vec<passport::Hash>,
}

/// A folder whose every file is as its passport says.
pub struct Folder {
    root: PathBuf,
    passport: Passport,
    /// What was hashed is what is loaded: one mapping for each of the passport's files.
    maps: Vec<Mmap>,
}

impl Folder {
    /// Reads the passport and holds every file against it.
    pub fn open(root: &Path) -> Result<Self> {
        // JSON in JSON goes deep.
        with_room(|| {
            let root = real(root);
            let passport = Passport::read(&root)?;
            let maps = hashes::verify(&root, &passport.files)?;
            let folder = Self { root, passport, maps };
            folder.check_formats()?;
            Ok(folder)
        })
    }

    /// An error where a plan is an ONNX model, which would run on the CPU without anybody allowing it, or the other way round.
    fn check_formats(&self) -> Result<()> {
        let plans = self.passport.plans.iter().map(|plan| (&plan.file, Format::Plan));
        for (file, said) in plans.chain(self.passport.onnx.iter().map(|file| (file, Format::Onnx))) {
            // What is neither says so when it is loaded.
            if model::recognize(self.data(file)?).is_ok_and(|format| format != said) {
                let message = match said {
                    Format::Plan => "among the passport's \"plans\", and is an ONNX model: name it as \"onnx\"",
                    Format::Onnx => "the passport's \"onnx\", and is a plan: name it among \"plans\"",
                };
                let message = format!("{} is {message}", shown(&self.root.join(file)));
                return Err(Error::new(Code::InvalidModel, message));
            }
        }
        Ok(())
    }

    pub fn name(&self) -> &str {
        &self.passport.name
    }

    pub fn file_count(&self) -> usize {
        self.maps.len()
    }

    /// The plans' files, in the order in which they are tried: first those for a GPU of the runtime's name.
    pub fn plans(&self, runtime: &Runtime) -> Vec<&str> {
        let mut plans: Vec<_> = self.passport.plans.iter().collect();
        if plans.len() > 1
            && let Ok(device) = runtime.device()
        {
            plans.sort_by_key(|plan| plan.device.as_deref() != Some(device.info.name.as_str()));
        }
        plans.into_iter().map(|plan| plan.file.as_str()).collect()
    }

    pub fn onnx(&self) -> Option<&str> {
        self.passport.onnx.as_deref()
    }

    /// The folders in it that its recipe names, each with what the passport says of its own.
    pub fn parts(&self) -> impl Iterator<Item = PathBuf> {
        self.passport.parts.folders().map(|folder| self.root.join(folder))
    }

    /// Whether it has no model of its own, but those of folders in it.
    pub fn is_ensemble(&self) -> bool {
        !self.passport.has_model()
    }

    /// An error where folders in it are used whose passports this one has no hash of.
    pub fn check_parts(&self, parts: &Parts) -> Result<()> {
        let passports = parts.folders().map(|folder| format!("{folder}/{PASSPORT}"));
        for file in passports {
            if !self.passport.has_file(&file) {
                let message =
                    format!("the passport of {} has no file {}, which is used", shown(&self.root), quoted(&file));
                return Err(Error::new(Code::InvalidModel, message));
            }
        }
        Ok(())
    }

    /// The convolution that was folded out of its models, if one was.
    fn folded(&self) -> Result<Option<Folded>> {
        let Some(passport::Head { file, features, channels, input, output }) = &self.passport.head else {
            return Ok(None);
        };
        let head = Head::read(*features, *channels, self.data(file)?)
            .map_err(|error| error.within(shown(&self.root.join(file))))?;
        Ok(Some(Folded { head: Arc::new(head), input: input.clone(), output: output.clone() }))
    }

    /// The model in one of the passport's files.
    pub fn load_file(&self, runtime: &Runtime, file: &str, options: &EngineOptions) -> Result<Arc<dyn Engine>> {
        let load = || {
            let (folder, path) = (self.weights(file)?.folder, self.root.join(file));
            let origin = Origin { file: Some(&path), folder: folder.as_deref() };
            runtime.load(self.data(file)?, origin, options)
        };
        load().map_err(|error| error.within(shown(&self.root.join(file))))
    }

    /// An error where the folder's models give features, for who takes what they give for the whole model's.
    pub fn check_whole(&self) -> Result<()> {
        let Some(passport::Head { features, channels, input, output, .. }) = &self.passport.head else {
            return Ok(());
        };
        let message = format!(
            "{}: its models give {features} features for each voxel, {}, of which the folder's head makes the model's {channels} channels, {}: \
             load it with planrt_segmenter_load, which does that, or allow features where the application computes the head itself \
             (planrt_engine_options_set_features_allowed)",
            shown(&self.root),
            quoted(input),
            quoted(output)
        );
        Err(Error::new(Code::Unsupported, message))
    }

    /// What a model of the passport's keeps in other files, each of which has to be one of the passport's too.
    fn weights(&self, file: &str) -> Result<Weights> {
        let data = self.data(file)?;
        let mut weights = Weights::default();
        if model::recognize(data)? == Format::Plan {
            return Ok(weights);
        }
        let path = Path::new(file);
        for named in onnx::Model::read(data)?.weight_files() {
            let beside = path.with_file_name(named);
            let same = |entry: &&passport::File| Path::new(&entry.path).components().eq(beside.components());
            let Some(entry) = self.passport.files.iter().find(same) else {
                let message = format!(
                    "the model keeps weights in {}, which is not among the files of the passport",
                    quoted(&beside.to_string_lossy())
                );
                return Err(Error::new(Code::InvalidModel, message));
            };
            weights.hashes.push(entry.hash);
        }
        weights.folder = (!weights.hashes.is_empty()).then(|| self.root.join(path).with_file_name(""));
        Ok(weights)
    }

    /// The first plan that runs here; else one that is built here, where that is asked for; else, where that is allowed or there is
    /// nothing else, the ONNX model on the CPU.
    pub fn load(&self, runtime: &Runtime, options: &EngineOptions) -> Result<Arc<dyn Engine>> {
        let engine = with_room(|| self.load_here(runtime, options))?;
        Ok(match self.folded()? {
            Some(folded) => Arc::new(Features { engine, folded }),
            None => engine,
        })
    }

    fn load_here(&self, runtime: &Runtime, options: &EngineOptions) -> Result<Arc<dyn Engine>> {
        if !self.passport.has_model() {
            let message = format!(
                "{} is an ensemble of the models in {}: planrt_segmenter_load loads all of them, and no single engine is the whole",
                shown(&self.root),
                quoted(&self.passport.parts.ensemble.join(", "))
            );
            return Err(Error::new(Code::Unsupported, message));
        }
        let mut refused = Vec::new();
        for file in self.plans(runtime) {
            match self.load_file(runtime, file, options) {
                Ok(engine) => return Ok(engine),
                Err(error) if is_about_the_plan(error.code()) => {
                    runtime.log().write(Level::Info, &format!("{} is not taken: {error}", quoted(file)));
                    refused.push((file, error));
                }
                Err(error) => return Err(error),
            }
        }
        if let (Some(request), Some(onnx)) = (&options.build, self.onnx()) {
            match self.load_built(runtime, onnx, request, options) {
                Ok(engine) => return Ok(engine),
                Err(error) if is_about_the_plan(error.code()) => refused.push(("a plan built here", error)),
                Err(error) => return Err(error),
            }
        }
        let on_cpu = options.cpu_allowed || refused.is_empty();
        match self.onnx() {
            Some(file) if on_cpu => {
                if !refused.is_empty() {
                    let name = shown(&self.root);
                    let message = format!("no plan of {name} runs here; its ONNX model runs on the CPU");
                    runtime.log().write(Level::Warning, &message);
                }
                self.load_file(runtime, file, options)
            }
            onnx => Err(self.no_plan(&refused, onnx.is_some())),
        }
    }

    /// None of the plans runs: one error that says of each why not.
    fn no_plan(&self, refused: &[(&str, Error)], has_onnx: bool) -> Error {
        let alike = |(first, rest): (&(&str, Error), &[(&str, Error)])| {
            let code = first.1.code();
            rest.iter().all(|(_, error)| error.code() == code).then_some(code)
        };
        let code = refused.split_first().and_then(alike).unwrap_or(Code::IncompatibleModel);
        let advice = match has_onnx {
            true => "allow its ONNX model on the CPU, or build a plan of it here",
            false => "build one here; the folder has no ONNX model",
        };
        let reasons: Vec<_> = refused.iter().map(|(_, error)| error.to_string()).collect();
        let message = match refused.len() {
            1 => "its plan does not run here".to_owned(),
            _ => "none of its plans runs here".to_owned(),
        };
        Error::new(code, format!("{}: {message}; {advice}. {}", shown(&self.root), reasons.join("; ")))
    }

    fn data(&self, file: &str) -> Result<&Mmap> {
        self.entry(file).map(|(_, data)| data)
    }

    /// What the passport says of a file, and what the file holds.
    fn entry(&self, file: &str) -> Result<(&passport::File, &Mmap)> {
        let mut entries = self.passport.files.iter().zip(&self.maps);
        entries.find(|(entry, _)| Path::new(&entry.path) == Path::new(file)).ok_or_else(|| {
            Error::new(Code::NotFound, format!("the passport of {} has no file {}", shown(&self.root), quoted(file)))
        })
    }
}

/// A folder without the links that lead to it: one of these may be made to lead to another version meanwhile, as updates do, and what is
/// read is of one folder. A folder that is not there stays as it was named.
pub fn real(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

/// Whether another plan may fare better, or the CPU.
fn is_about_the_plan(code: Code) -> bool {
    use Code::{IncompatibleModel, InvalidModel, MissingPlugin, NoCuda, NoTensorRt, TensorRt, Unsupported};
    matches!(code, IncompatibleModel | InvalidModel | MissingPlugin | NoCuda | NoTensorRt | TensorRt | Unsupported)
}

#[cfg(test)]
mod tests;
