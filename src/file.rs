//! Files that are there whole or not at all.

use crate::error::{Code, Error, Result};
use crate::quote::shown;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
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
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{number}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = File::create_new(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    });
    written.map_err(|error| {
        // If it was never made, there is nothing to remove.
        let _ = fs::remove_file(&part);
        failed(error)
    })
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
        fs::remove_dir_all(&folder).unwrap();
    }
}
