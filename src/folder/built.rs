//! A plan that is built here, where none of the folder's runs: kept in a file of the application's, by one process for all.

use super::Folder;
use super::passport::hex;
use crate::backend::Engine;
use crate::build::{self, Step};
use crate::error::{Code, Error, Result};
use crate::file;
use crate::json::{self, Node};
use crate::log::Level;
use crate::model;
use crate::quote::shown;
use crate::runtime::{EngineOptions, Runtime};
use memmap2::Mmap;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a plan is built where none of a folder's runs.
#[derive(Clone)]
pub struct Request {
    pub options: build::Options,
    /// Where it is kept; what it was built from stands beside it.
    pub path: PathBuf,
}

const VERSION: u64 = 1;
/// How often a process that waits for another one's build looks.
const LOCK_CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl Folder {
    /// The plan that was built here before, if it is of this model and runs; else a new one.
    pub(super) fn load_built(
        &self,
        runtime: &Runtime,
        onnx: &str,
        request: &Request,
        options: &EngineOptions,
    ) -> Result<Arc<dyn Engine>> {
        let path = &request.path;
        let (entry, model) = self.entry(onnx)?;
        let weights = self.weights(onnx)?;
        // Of the model with all that it keeps in other files.
        let mut hash = Sha256::new_with_prefix(entry.hash);
        weights.hashes.iter().for_each(|weights| hash.update(weights));
        let hash = hex(&hash.finalize().into());
        if let Some(engine) = kept(runtime, path, &hash, options) {
            return Ok(engine);
        }
        // TensorRT-RTX builds without a GPU, but nothing would run it.
        runtime.tensorrt()?;
        let _lock = lock(path, request)?;
        // Whoever had the lock has built it.
        if let Some(engine) = kept(runtime, path, &hash, options) {
            return Ok(engine);
        }
        runtime.log().write(Level::Info, &format!("a plan of {} is built here", shown(&self.root)));
        let mut settings = request.options.clone();
        settings.weights_folder = weights.folder;
        let plan = build::from_memory(runtime, model, &settings)?;
        file::write(path, &plan)?;
        let about =
            json!({ "planrt_built": VERSION, "model_sha256": hash, "plan_sha256": hex(&Sha256::digest(&plan).into()) });
        file::write(&beside(path, ".json"), about.to_string().as_bytes())?;
        runtime.load_memory(&plan, options).map_err(|error| error.within(shown(path)))
    }
}

/// The plan in the file, if it is whole, of this model, and runs here. What is wrong with it is no error: it is built anew.
fn kept(runtime: &Runtime, path: &Path, model_hash: &str, options: &EngineOptions) -> Option<Arc<dyn Engine>> {
    let plan = read(path, model_hash).ok()?;
    match runtime.load_memory(&plan, options) {
        Ok(engine) => Some(engine),
        Err(error) => {
            runtime.log().write(Level::Info, &format!("{} is built anew: {error}", shown(path)));
            None
        }
    }
}

fn read(path: &Path, model_hash: &str) -> Result<Mmap> {
    let about_path = beside(path, ".json");
    let value = json::read(&about_path)?;
    let about = Node::new(&value, &about_path);
    about.get("planrt_built")?.whole(VERSION, VERSION)?;
    let plan = model::map_file(path)?;
    let is_same = about.get("model_sha256")?.text()? == model_hash
        && about.get("plan_sha256")?.text()? == hex(&Sha256::digest(&plan).into());
    match is_same {
        true => Ok(plan),
        false => Err(about.wrong("of another model, or changed")),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// The lock that one process at a time has. The file stays: to remove it would let two processes lock two files.
fn lock(path: &Path, request: &Request) -> Result<File> {
    let lock_path = beside(path, ".lock");
    let failed = |error: std::io::Error| {
        Error::new(Code::Io, format!("{} cannot be locked: {error}; a plan is to be built there", shown(&lock_path)))
    };
    let file = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(failed)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let waiting =
            Step { phase: "waiting for another process that builds the plan", parent: None, done: 0, steps: 1 };
        if request.options.progress.as_ref().is_some_and(|hear| !hear(&waiting)) {
            return Err(Error::new(Code::Cancelled, "the build was cancelled while another process built the plan"));
        }
        std::thread::sleep(LOCK_CHECK_INTERVAL);
    }
}
