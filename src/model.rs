//! Where a model comes from and what kind of file it is, recognized by content.

use crate::error::{Code, Error, Result};
use foldhash::quality::FixedState;
use memmap2::Mmap;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::ErrorKind;
use std::path::Path;

/// What the bytes of a model are, as far as its first ones tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A serialized TensorRT engine.
    Plan,
    /// A protobuf message that may be an ONNX model.
    Onnx,
}

/// Where a model's bytes are from.
#[derive(Clone, Copy, Default)]
pub struct Origin<'a> {
    /// The file that they are of: the large part of it may be read again when it is needed.
    pub file: Option<&'a Path>,
    /// The folder in which the model may have more files.
    pub folder: Option<&'a Path>,
}

/// Maps a file: a plan goes to TensorRT without a copy of it in this process's own memory.
pub fn map_file(path: &Path) -> Result<Mmap> {
    let file = open_file(path)?;
    // SAFETY: as with every mapping, another process that shortens the file meanwhile would fault this one; model files
    // are replaced, not edited in place, and a copy would cost the memory that mapping saves.
    unsafe { Mmap::map(&file) }.map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    let shown = crate::quote::shown(path);
    match error.kind() {
        ErrorKind::NotFound => Error::new(Code::NotFound, format!("no file {shown}")),
        _ => Error::new(Code::Io, format!("{shown} cannot be read: {error}")),
    }
}

/// Opens a regular file.
pub fn open_file(path: &Path) -> Result<File> {
    let shown = crate::quote::shown(path);
    let metadata = std::fs::metadata(path).map_err(|error| failed(path, &error))?;
    if metadata.is_dir() {
        return Err(Error::new(
            Code::Io,
            format!("{shown} is a directory; name the model file in it, or load it as a model folder"),
        ));
    }
    if !metadata.is_file() {
        return Err(Error::new(Code::Io, format!("{shown} is not a regular file")));
    }
    File::open(path).map_err(|error| failed(path, &error))
}

/// A number that files with other bytes do not have, unless somebody is out for it.
pub fn fingerprint(data: &[u8]) -> u64 {
    let mut print = Fingerprint::default();
    data.chunks(Fingerprint::PIECE).for_each(|piece| print.write(piece));
    print.finish()
}

/// That number of a file that is read piece by piece.
pub struct Fingerprint(<FixedState as BuildHasher>::Hasher);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(FixedState::default().build_hasher())
    }
}

impl Fingerprint {
    /// Bytes of every piece but the last.
    pub(crate) const PIECE: usize = 1 << 20;

    pub fn write(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    pub fn finish(&self) -> u64 {
        self.0.finish()
    }
}

/// The fingerprint of two parts together.
#[cfg(feature = "cpu")] // for models with weights beside them
pub fn joined(first: u64, second: u64) -> u64 {
    fingerprint(&[first.to_le_bytes(), second.to_le_bytes()].concat())
}

/// Tells a plan from an ONNX model, and both from what is neither.
pub fn recognize(data: &[u8]) -> Result<Format> {
    let invalid = |message: &str| Err(Error::new(Code::InvalidModel, message));
    if data.is_empty() {
        return invalid("the model is empty (0 bytes)");
    }
    // "ptrt" for TensorRT up to 8.5, "ftrt" for later ones, "vtrt" for TensorRT-RTX.
    if data.len() >= 4 && &data[1..4] == b"trt" {
        return Ok(Format::Plan);
    }
    let head = &data[..data.len().min(256)];
    if head.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~')) {
        return invalid("this is text, neither a TensorRT plan nor an ONNX model");
    }
    // The tags of onnx.ModelProto's fields (onnx.proto): ir_version 1, producer 2 and 3, domain 4, model_version 5,
    // doc_string 6, graph 7, opset_import 8, metadata_props 14. A message may begin with any of them.
    if matches!(data[0], 0x08 | 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42 | 0x72) {
        return Ok(Format::Onnx);
    }
    invalid("this is neither a TensorRT plan (they begin with \"ptrt\", \"ftrt\" or \"vtrt\") nor an ONNX model")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognized_by_content() {
        assert_eq!(recognize(b"ptrt\0\0\0\0").unwrap(), Format::Plan);
        assert_eq!(recognize(b"vtrt\0\0\0\0").unwrap(), Format::Plan);
        assert_eq!(recognize(b"\x08\x07\x12\x04test").unwrap(), Format::Onnx);
        for (data, word) in [(&b""[..], "empty"), (b"Hello, plan\n", "text"), (b"\x7fELF\x02\x01", "neither")] {
            let error = recognize(data).unwrap_err();
            assert_eq!(error.code(), Code::InvalidModel);
            assert!(error.message().contains(word), "{error}");
        }
    }

    #[test]
    fn other_bytes_have_another_fingerprint() {
        let mut data = vec![0u8; 100_000];
        let whole = fingerprint(&data);
        assert_eq!(whole, fingerprint(&vec![0u8; 100_000]));
        assert_ne!(whole, fingerprint(&data[1..]));
        for place in [0, 50_001, 99_999] {
            data[place] ^= 1;
            assert_ne!(whole, fingerprint(&data));
            data[place] ^= 1;
        }
    }

    #[test]
    fn a_directory_and_a_missing_file_are_told_apart() {
        assert_eq!(map_file(Path::new("/")).unwrap_err().code(), Code::Io);
        assert_eq!(map_file(Path::new("/no/such/file")).unwrap_err().code(), Code::NotFound);
        assert!(map_file(Path::new("/dev/zero")).unwrap_err().message().contains("not a regular file"));
    }
}
