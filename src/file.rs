//! Files that are there whole or not at all.

use crate::error::{Code, Error, Result};
use crate::quote::shown;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Writes a file: under another name first, which takes the place of the old file when all is on the disk. A device or
/// pipe is written to as it is.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: io::Error| {
        Error::new(Code::Io, format!("{} cannot be written: {error}; nothing is left of it", shown(path)))
    };
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let message = format!("{} is a directory; name the file to write", shown(path));
            return Err(Error::new(Code::Io, message));
        }
        Ok(metadata) if !metadata.is_file() => {
            return OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(bytes))
                .map_err(failed);
        }
        _ => {}
    }
    // A link stays, and what it leads to is written.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (part, mut file) = new_beside(path).map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&part, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&part);
        failed(error)
    })
}

/// A new file in a file's folder. A name that is taken is another process's, which may be at work on it, or was left behind by one
/// that was killed: in containers all have the same number.
fn new_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Short, since what is written may have the longest name that there can be.
        let part = path.with_file_name(format!("planrt-{}-{number}.part", std::process::id()));
        match File::create_new(&part) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((part, created?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = std::env::temp_dir().join(format!("planrt-write-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("a.plan");
        write(&file, b"first").unwrap();
        write(&file, b"second").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"second");
        std::os::unix::fs::symlink(&file, folder.join("link")).unwrap();
        write(&folder.join("link"), b"third").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"third");
        for bad in [folder.clone(), folder.join("no/such/a.plan"), "/dev/full".into()] {
            assert_eq!(write(&bad, b"plan").unwrap_err().code(), Code::Io, "{}", bad.display());
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        // The longest name that a file can have.
        write(&folder.join("n".repeat(255)), b"plan").unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_another_process_writes_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("planrt-write-other-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // As many names as this process may come to while other tests write.
        for number in 0..500 {
            fs::write(folder.join(format!("planrt-{}-{number}.part", std::process::id())), b"theirs").unwrap();
        }
        write(&folder.join("a.plan"), b"ours").unwrap();
        assert_eq!(fs::read(folder.join("a.plan")).unwrap(), b"ours");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 501);
        fs::remove_dir_all(&folder).unwrap();
    }
}
