//! Where OpenVINO is looked for, and in which order.

use crate::error::{Code, Error, Result};
use crate::quote::shown;
use crate::shared_library;
use openvino_c::{Library, OpenError};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A library, and which of the places it came from.
pub struct Found {
    pub library: Library,
    pub place: &'static str,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = &self.library;
        write!(f, "OpenVINO {}: {}, {}", library.version(), shown(library.path()), self.place)
    }
}

/// The environment variable that names the library, or its folder, for programs that do not.
const VARIABLE: &str = "PLANRT_OPENVINO";

/// The library with the C interface. Behind the name there is a number that each release changes.
const NAME: &str = "libopenvino_c.so";

/// Looks at the path given, else at the one in the environment, else for a library that the process has loaded already,
/// else on the loader's path. A path that was named is the only place looked at: falling back would run another OpenVINO
/// than the one asked for.
pub fn find(path: Option<&Path>) -> Result<Found> {
    if let Some(path) = path {
        return named(path, "the path given");
    }
    if let Some(path) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        return named(Path::new(&path), VARIABLE);
    }
    if let Some(file) = in_process() {
        return named(&file, "beside what is in the process");
    }
    let mut unusable = Vec::new();
    for name in names() {
        match open(Path::new(&name)) {
            Ok(library) => return Ok(Found { library, place: "the loader's path" }),
            Err(OpenError::NotFound { .. }) => {}
            Err(error) => unusable.push(error.to_string()),
        }
    }
    Err(Error::new(
        Code::NoOpenVino,
        format!(
            "no OpenVINO: not named by the application or by {VARIABLE}, not in the process, and on the loader's path there \
             is no {NAME}. Install OpenVINO 2025.1 or later, or name the folder that it is in, or that of the Python \
             environment that has it"
        ),
    )
    .with_detail(unusable.join("\n")))
}

/// The names under which the loader may know it, the newest first; last the one of development files, which says nothing
/// of what it points to.
fn names() -> impl Iterator<Item = String> {
    const YEARS: std::ops::Range<u32> = 25..36;
    let releases = YEARS.rev().flat_map(|year| (0..7).rev().map(move |release| (year, release)));
    let all = releases.flat_map(|(year, release)| (0..4).rev().map(move |patch| (year, release, patch)));
    all.map(|(year, release, patch)| format!("{NAME}.{year}{release}{patch}")).chain([NAME.to_owned()])
}

/// The library of an OpenVINO that is in the process, whose C interface may not be.
fn in_process() -> Option<PathBuf> {
    let maps = fs::read("/proc/self/maps").ok()?;
    let paths = maps.split(|byte| *byte == b'\n').filter_map(|line| {
        let start = line.iter().position(|byte| *byte == b'/')?;
        Some(Path::new(OsStr::from_bytes(&line[start..])))
    });
    let is_core = |path: &&Path| {
        let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
        name.starts_with(b"libopenvino.so") || name.starts_with(NAME.as_bytes())
    };
    // Its C interface lies beside it.
    paths.filter(is_core).find_map(|path| in_folder(path.parent()?))
}

/// The newest library in a folder.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.file_name()));
    let number = |name: &OsStr| {
        let rest = name.as_bytes().strip_prefix(NAME.as_bytes())?;
        if rest.is_empty() {
            return Some(0);
        }
        std::str::from_utf8(rest.strip_prefix(b".")?).ok()?.replace('.', "").parse::<u32>().ok()
    };
    let found = files.filter_map(|name| Some((number(&name)?, name))).max();
    found.map(|(_, name)| folder.join(name))
}

/// The library somewhere in a folder: in the folder itself, where OpenVINO's archives have it, or in the packages of a
/// Python environment.
fn below(folder: &Path) -> Option<PathBuf> {
    let packages = ["lib", "lib64"].into_iter().flat_map(|lib| {
        let pythons = fs::read_dir(folder.join(lib)).into_iter().flatten().flatten();
        let mut pythons: Vec<_> =
            pythons.filter(|entry| entry.file_name().as_bytes().starts_with(b"python3")).map(|e| e.path()).collect();
        pythons.sort();
        pythons
    });
    let packages = packages.map(|python| python.join("site-packages/openvino/libs"));
    let usual = ["", "libs", "lib", "openvino/libs", "runtime/lib/intel64", "runtime/lib/aarch64"];
    usual.into_iter().map(|place| folder.join(place)).chain(packages).find_map(|place| in_folder(&place))
}

fn named(path: &Path, place: &'static str) -> Result<Found> {
    let file = if path.is_dir() {
        below(path).ok_or_else(|| {
            let message = format!(
                "{place} is the folder {}, which holds no {NAME}: neither itself, nor as an archive of OpenVINO or a \
                 Python environment does",
                shown(path)
            );
            Error::new(Code::NoOpenVino, message)
        })?
    } else {
        path.to_owned()
    };
    open(&file)
        .map(|library| Found { library, place })
        .map_err(|error| Error::new(Code::NoOpenVino, format!("{error} ({place})")))
}

fn open(name: &Path) -> std::result::Result<Library, OpenError> {
    shared_library::check(name).map_err(|reason| OpenError::NotLoadable { name: name.to_owned(), reason })?;
    if name.is_absolute()
        && let Some(core) = shared_library::needed(name).iter().find(|needed| needed.starts_with("libopenvino.so"))
        && let Some(folder) = name.parent()
    {
        // It is loaded along.
        let core = folder.join(core);
        shared_library::check(&core).map_err(|reason| OpenError::NotLoadable { name: name.to_owned(), reason })?;
    }
    // SAFETY: the library is OpenVINO's by its name, or the application or its user says so; loading runs its initializers.
    unsafe { Library::open(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_it_in_the_usual_places() {
        let root = std::env::temp_dir().join(format!("planrt-openvino-{}", std::process::id()));
        let libs = root.join("lib/python3.11/site-packages/openvino/libs");
        fs::create_dir_all(&libs).unwrap();
        assert_eq!(below(&root), None);
        for name in ["libopenvino_c.so.2541", "libopenvino_c.so.2641", "libopenvino_c.so", "libopenvino_c.so.txt"] {
            fs::write(libs.join(name), "").unwrap();
        }
        let newest = libs.join("libopenvino_c.so.2641");
        for folder in [&root, &libs, &root.join("lib/python3.11/site-packages"), &libs.join("..")] {
            assert_eq!(below(folder).unwrap().canonicalize().unwrap(), newest.canonicalize().unwrap());
        }
        let error = named(&newest, "a test").err().unwrap();
        assert_eq!(error.code(), Code::NoOpenVino);
        assert!(error.message().contains("cannot be loaded"), "{error}");
        fs::remove_dir_all(&root).unwrap();
        assert!(named(&root, "a test").err().unwrap().message().contains("not found"));
    }

    #[test]
    fn names_are_those_of_releases() {
        let all: Vec<_> = names().collect();
        let place = |name: &str| all.iter().position(|other| other == name).unwrap();
        assert!(place("libopenvino_c.so.2641") < place("libopenvino_c.so.2510"));
        assert_eq!(place("libopenvino_c.so"), all.len() - 1);
    }
}
