//! Where TensorRT is looked for, and in which order.

use crate::error::{Code, Error, Result};
use crate::quote::shown;
use crate::shared_library;
use std::fmt;
use std::path::{Path, PathBuf};
use tensorrt_sys::{CANDIDATES, Library, OpenError};

/// A library, and which of the places it came from.
pub struct Found {
    pub library: Library,
    pub place: &'static str,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = &self.library;
        write!(f, "{} ({}): {}, {}", library.version(), library.flavor(), shown(library.path()), self.place)
    }
}

/// The environment variable that names the library for programs that do not.
const VARIABLE: &str = "PLANRT_TENSORRT";

/// Looks at the path given, else at the one in the environment, else for a library that the process has loaded already,
/// else on the loader's path. A path that was named is the only place looked at: falling back would run another TensorRT
/// than the one asked for.
pub fn find(path: Option<&Path>) -> Result<Found> {
    if let Some(path) = path {
        return named(path, "the path given");
    }
    if let Some(path) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        return named(Path::new(&path), VARIABLE);
    }
    let mut unusable = Vec::new();
    for name in CANDIDATES {
        match Library::attach(name) {
            Ok(Some(library)) => return Ok(Found { library, place: "already in the process" }),
            Ok(None) => {}
            Err(error) => unusable.push(error.to_string()),
        }
    }
    for name in CANDIDATES {
        match open(Path::new(name)) {
            Ok(library) => return Ok(Found { library, place: "the loader's path" }),
            Err(OpenError::NotFound { .. }) => {}
            Err(error) => unusable.push(error.to_string()),
        }
    }
    Err(Error::new(
        Code::NoTensorRt,
        format!(
            "no TensorRT: not named by the application or by {VARIABLE}, not in the process, and on the loader's path there \
             is none of {}. Install TensorRT 8.5 or later, or name the folder that it is in",
            CANDIDATES.join(", ")
        ),
    )
    .with_detail(unusable.join("\n")))
}

/// Every TensorRT that can be found on this machine, and why those that cannot be used cannot; for the doctor. The one
/// that [`find`] takes is the first.
pub fn every_library(path: Option<&Path>) -> Vec<Result<Found>> {
    let mut all: Vec<Result<Found>> = Vec::new();
    let mut add = |found: Result<Found>| {
        let path = found.as_ref().ok().map(|f| f.library.path().to_owned());
        let known = all.iter().flatten().any(|f| Some(f.library.path()) == path.as_deref());
        if path.is_none() || !known {
            all.push(found);
        }
    };
    let is_named = path.is_some() || std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty());
    let taken = find(path);
    if taken.is_ok() || is_named {
        add(taken);
    }
    if let Some(folder) = path.filter(|path| path.is_dir()) {
        in_folder(folder).for_each(|file| add(named(&file, "the folder given")));
    }
    for name in CANDIDATES {
        if let Ok(Some(library)) = Library::attach(name) {
            add(Ok(Found { library, place: "already in the process" }));
        }
        match open(Path::new(name)) {
            Ok(library) => add(Ok(Found { library, place: "the loader's path" })),
            Err(OpenError::NotFound { .. }) => {}
            Err(error) => add(Err(Error::new(Code::NoTensorRt, error.to_string()))),
        }
    }
    all
}

/// What a folder has of TensorRT, first the one that is to be preferred.
fn in_folder(folder: &Path) -> impl Iterator<Item = PathBuf> {
    CANDIDATES.iter().map(|name| folder.join(name)).filter(|file| file.exists())
}

fn named(path: &Path, place: &'static str) -> Result<Found> {
    let file = if path.is_dir() {
        in_folder(path).next().ok_or_else(|| {
            Error::new(
                Code::NoTensorRt,
                format!("{place} is the folder {}, which holds none of {}", shown(path), CANDIDATES.join(", ")),
            )
        })?
    } else {
        path.to_owned()
    };
    open(&file)
        .map(|library| Found { library, place })
        .map_err(|error| Error::new(Code::NoTensorRt, format!("{error} ({place})")))
}

fn open(name: &Path) -> std::result::Result<Library, OpenError> {
    shared_library::check(name).map_err(|reason| OpenError::NotLoadable { name: name.to_owned(), reason })?;
    // SAFETY: the library is TensorRT by its name, or the application or its user says so; loading runs its initializers.
    unsafe { Library::open(name) }
}
