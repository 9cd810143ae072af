//! Files held against their hashes: by as many threads as there are, and once a process as long as a file stays as it is.

use super::passport::{FILE, File, Hash, hex};
use crate::error::{Code, Error, Result};
use crate::model;
use crate::process::fork::PerProcess;
use crate::process::thread;
use crate::quote::shown;
use crate::sync::Mutex;
use memmap2::Mmap;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Maps every file of a folder; an error names the first that is missing, leads out, or is not what its hash says.
pub fn verify(folder: &Path, files: &[File]) -> Result<Vec<Mmap>> {
    let failed = |error: std::io::Error| Error::new(Code::Io, format!("{} cannot be read: {error}", shown(folder)));
    let root = folder.canonicalize().map_err(failed)?;
    let most = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<Mmap>)>> = Mutex::new(Vec::with_capacity(files.len()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(number) else { break };
            let result = check(folder, &root, file);
            results.lock().push((number, result));
        }
    };
    std::thread::scope(|scope| {
        for number in 1..most {
            // What no thread is found for, this one does.
            let _ = thread::spawn_scoped(scope, format!("planrt hash {number}"), work);
        }
        work();
    });
    let mut results = std::mem::take(&mut *results.lock());
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

fn check(folder: &Path, root: &Path, file: &File) -> Result<Mmap> {
    let path = folder.join(&file.path);
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let message = format!("{} is missing: the folder's {FILE} names it; get the folder anew", shown(&path));
            Error::new(Code::NotFound, message)
        }
        _ => Error::new(Code::Io, format!("{} cannot be read: {error}", shown(&path))),
    };
    let real = path.canonicalize().map_err(failed)?;
    check_inside(root, &path, &real)?;
    let data = model::map_file(&real)?;
    let found = known_or_computed(&real, &data).map_err(failed)?;
    match found == file.hash {
        true => Ok(data),
        false => Err(Error::new(
            Code::InvalidModel,
            format!(
                "{} was changed: its SHA-256 is {}, the folder's {FILE} has {}; get the folder anew",
                shown(&path),
                hex(&found),
                hex(&file.hash)
            ),
        )),
    }
}

/// An error where a path, which really is another one, leads out of the folder.
pub fn check_inside(root: &Path, path: &Path, real: &Path) -> Result<()> {
    if real.starts_with(root) {
        return Ok(());
    }
    let (path, real) = (shown(path), shown(real));
    let message = format!("{path} is a link that leads out of the folder, to {real}; put the file itself there");
    Err(Error::new(Code::InvalidModel, message))
}

/// A file as it is: where it lies and when it was written.
#[derive(PartialEq, Eq, Hash)]
struct State {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

static KNOWN: PerProcess<Mutex<HashMap<State, Hash>>> = PerProcess::new();
const MOST_KNOWN: usize = 1024;
/// A file may be written again without its times telling, if that is soon after.
const SETTLED_SECONDS: i64 = 3;

fn known_or_computed(path: &Path, data: &Mmap) -> std::io::Result<Hash> {
    let metadata = std::fs::metadata(path)?;
    let state = State {
        path: path.to_owned(),
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    };
    if let Some(hash) = KNOWN.get().lock().get(&state) {
        return Ok(*hash);
    }
    let hash: Hash = Sha256::digest(data).into();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    if state.changed.0.max(state.modified.0).saturating_add(SETTLED_SECONDS) < now {
        let mut known = KNOWN.get().lock();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(state, hash);
    }
    Ok(hash)
}
