//! What the dynamic loader does not look at before it maps a library: whether the file is all there. What is missing at the
//! end of one that was cut short kills the process (SIGBUS) when the loader reads it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Looks at the file that the loader would take for a path, or for a name that it searches for. An error, for people, if
/// loading it would end the process; everything else the loader says itself.
pub fn check(name: impl AsRef<OsStr>) -> Result<(), String> {
    let name = name.as_ref();
    let file = if name.as_bytes().contains(&b'/') { Some(PathBuf::from(name)) } else { search(name) };
    match file {
        Some(file) if is_cut_short(&file) => {
            Err(format!("{} is cut short: it has less bytes than its headers name", crate::quote::shown(&file)))
        }
        _ => Ok(()),
    }
}

/// Where the loader finds a name: in the folders that the environment named when the process began, in its cache, or where
/// libraries lie anyway.
fn search(name: &OsStr) -> Option<PathBuf> {
    let environment = std::fs::read("/proc/self/environ").unwrap_or_default();
    let named = environment.split(|byte| *byte == 0).find_map(|line| line.strip_prefix(b"LD_LIBRARY_PATH="));
    let folders = named.unwrap_or_default().split(|byte| matches!(byte, b':' | b';')).map(|folder| match folder {
        b"" => Path::new("."),
        folder => Path::new(OsStr::from_bytes(folder)),
    });
    let folders = folders.filter(|_| named.is_some());
    let files = folders.map(|folder| folder.join(name)).chain(in_cache(name));
    let usual = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(|folder| Path::new(folder).join(name));
    files.chain(usual).find(|file| is_for_us(file))
}

/// What `/etc/ld.so.cache` says of a name (glibc's `struct cache_file_new`).
fn in_cache(name: &OsStr) -> Vec<PathBuf> {
    const HEADER: usize = 48;
    const ENTRY: usize = 24;
    let cache = std::fs::read("/etc/ld.so.cache").unwrap_or_default();
    if !cache.starts_with(b"glibc-ld.so.cache1.1") {
        return Vec::new();
    }
    let number = |at: usize| number::<4>(&cache, at).map(|bytes| u32::from_ne_bytes(bytes) as usize);
    let text = |at: usize| cache.get(at..)?.split(|byte| *byte == 0).next();
    let entry = |i: usize| {
        let at = HEADER + i * ENTRY;
        let (key, path) = (text(number(at + 4)?)?, text(number(at + 8)?)?);
        (key == name.as_bytes()).then(|| PathBuf::from(OsStr::from_bytes(path)))
    };
    (0..number(20).unwrap_or(0).min(cache.len() / ENTRY)).filter_map(entry).collect()
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

const HEADER: usize = 64;

/// The loader passes over files for other machines, and stops at what is no ELF file at all.
fn is_for_us(file: &Path) -> bool {
    let mut head = [0; 5];
    let read = File::open(file).and_then(|file| file.read_exact_at(&mut head, 0));
    match read {
        Ok(()) => !head.starts_with(b"\x7fELF") || head[4] == 2,
        Err(_) => file.exists(),
    }
}

/// Whether a 64-bit ELF file ends before what its program headers have the loader map.
fn is_cut_short(file: &Path) -> bool {
    const LOAD: u32 = 1;
    let Ok(file) = File::open(file) else { return false };
    let Ok(length) = file.metadata().map(|metadata| metadata.len()) else { return false };
    let mut header = [0; HEADER];
    if file.read_exact_at(&mut header, 0).is_err() || !header.starts_with(b"\x7fELF\x02") {
        return false;
    }
    let offset = number(&header, 32).map_or(0, u64::from_ne_bytes);
    let [size, count] = [54, 56].map(|at| number(&header, at).map_or(0, u16::from_ne_bytes));
    let mut table = vec![0; usize::from(size) * usize::from(count)];
    if file.read_exact_at(&mut table, offset).is_err() {
        return true;
    }
    table.chunks_exact(usize::from(size).max(1)).any(|entry| {
        let kind = number(entry, 0).map(u32::from_ne_bytes);
        let [start, bytes] = [8, 32].map(|at| number(entry, at).map_or(0, u64::from_ne_bytes));
        kind == Some(LOAD) && start.saturating_add(bytes) > length
    })
}

/// The names of the libraries that a 64-bit ELF file needs; none where it cannot be read. For OpenVINO, which comes with the CPU engine.
#[cfg(feature = "cpu")]
pub fn needed(file: &Path) -> Vec<String> {
    File::open(file).ok().and_then(|file| names_needed(&file)).unwrap_or_default()
}

#[cfg(feature = "cpu")]
fn names_needed(file: &File) -> Option<Vec<String>> {
    const LOAD: u32 = 1;
    const DYNAMIC: u32 = 2;
    const NEEDED: u64 = 1;
    const STRINGS: u64 = 5;
    const STRINGS_SIZE: u64 = 10;
    let length = file.metadata().ok()?.len();
    let read = |offset: u64, bytes: u64| {
        let end = offset.checked_add(bytes)?;
        let mut data = vec![0; usize::try_from(bytes).ok().filter(|_| end <= length)?];
        file.read_exact_at(&mut data, offset).ok()?;
        Some(data)
    };
    let header = read(0, HEADER as u64)?;
    if !header.starts_with(b"\x7fELF\x02") {
        return None;
    }
    let word = |data: &[u8], at: usize| number(data, at).map(u64::from_ne_bytes);
    let [size, count] = [54, 56].map(|at| number(&header, at).map_or(0, u16::from_ne_bytes));
    let table = read(word(&header, 32)?, u64::from(size) * u64::from(count))?;
    let segments: Vec<_> = table
        .chunks_exact(usize::from(size).max(1))
        .filter_map(|entry| {
            let kind = number(entry, 0).map(u32::from_ne_bytes)?;
            Some((kind, word(entry, 8)?, word(entry, 16)?, word(entry, 32)?))
        })
        .collect();
    let (_, offset, _, bytes) = *segments.iter().find(|(kind, ..)| *kind == DYNAMIC)?;
    let dynamic = read(offset, bytes)?;
    let entries: Vec<_> = dynamic
        .chunks_exact(16)
        .map_while(|entry| Some((word(entry, 0)?, word(entry, 8)?)))
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let value = |wanted: u64| entries.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
    let address = value(STRINGS)?;
    let (_, offset, start, _) = *segments
        .iter()
        .find(|(kind, _, start, bytes)| *kind == LOAD && (*start..start.saturating_add(*bytes)).contains(&address))?;
    let strings = read(offset.checked_add(address - start)?, value(STRINGS_SIZE)?)?;
    let name = |at: u64| {
        let text = strings.get(usize::try_from(at).ok()?..)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    entries.iter().filter(|(tag, _)| *tag == NEEDED).map(|(_, at)| name(*at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_cut_short_is_told_from_a_whole_one() {
        let whole = search(OsStr::new("libc.so.6")).unwrap();
        assert!(check("libc.so.6").is_ok() && check(&whole).is_ok());
        let data = std::fs::read(&whole).unwrap();
        let file = std::env::temp_dir().join(format!("planrt-cut-short-{}.so", std::process::id()));
        for length in [4096, data.len() / 2] {
            std::fs::write(&file, &data[..length]).unwrap();
            assert!(check(&file).unwrap_err().contains(&file.display().to_string()));
        }
        // These the loader refuses by itself.
        for other in [&b""[..], b"a text", &data[..20]] {
            std::fs::write(&file, other).unwrap();
            assert!(check(&file).is_ok());
        }
        std::fs::remove_file(&file).unwrap();
        assert!(check("/nowhere/libcuda.so.1").is_ok() && check("libnowhere.so.1").is_ok());
    }

    #[test]
    #[cfg(feature = "cpu")]
    fn what_a_library_needs_is_read_from_it() {
        let own = std::env::current_exe().unwrap();
        assert!(needed(&own).iter().any(|name| name == "libc.so.6"), "{:?}", needed(&own));
        let data = std::fs::read(&own).unwrap();
        let file = std::env::temp_dir().join(format!("planrt-needed-{}", std::process::id()));
        for part in [&b""[..], b"a text", &data[..20], &data[..200]] {
            std::fs::write(&file, part).unwrap();
            assert!(needed(&file).is_empty());
        }
        std::fs::remove_file(&file).unwrap();
        assert!(needed(Path::new("/nowhere.so")).is_empty());
    }
}
