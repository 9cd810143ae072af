//! Large weights of a model, which are not read with the rest of it, but when a plan is made.
//!
//! A plan has its weights in the order in which its layers read them. Beside that the model's own would be a copy that nobody
//! looks at. So large weights stay in the file that they are in and are read again for each plan; what is read then is held
//! against its fingerprint. Those of a model in memory, and such as come to little, are kept.

use super::guard;
use super::holds;
use super::widen::narrow;
use crate::build::protobuf::{Field, Fields, Message};
use crate::error::{Code, Error, Result};
use crate::model::{Fingerprint, fingerprint, open_file};
use crate::process::memory;
use crate::quote::{quoted, shown};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, StringStringEntryProto, TensorProto, TypeProto, ValueInfoProto, type_proto};
use tract_onnx::prelude::*;

/// Bytes of a weight from which on it is held apart.
const LARGE: usize = 64 << 10;

/// Bytes of all weights up to which they are kept: files need not stay for so little.
pub(super) const LITTLE: u64 = 16 << 20;

/// What a tensor says in the place of where it lies, if it is held apart.
const HELD: &str = "held";

/// The weights that are held apart, in the order in which they were found.
#[derive(Default)]
pub struct Weights(Vec<Weight>);

/// One of them.
#[derive(Clone)]
pub struct Weight {
    name: String,
    /// The type and shape that it has where it lies.
    stored: DataType,
    dims: TVec<usize>,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Memory(Arc<Tensor>),
    File { file: Arc<Opened>, offset: u64, print: u64 },
}

impl Weights {
    /// Gives a tensor of the model the bytes that were left out of it: holds it apart with them, in the file if there is one.
    pub fn hold(
        &mut self,
        tensor: &mut TensorProto,
        data: &[u8],
        bytes: &Range<usize>,
        file: Option<&Arc<Opened>>,
    ) -> Result<()> {
        let stored = large(tensor, bytes.len()).filter(|_| tensor.data_location.unwrap_or(0) == 0);
        let (offset, bytes) = (bytes.start as u64, &data[bytes.clone()]);
        let Some((stored, dims)) = stored else {
            tensor.raw_data = bytes.to_vec();
            return Ok(());
        };
        let place = match file {
            Some(file) => Place::File { file: file.clone(), offset, print: fingerprint(bytes) },
            None => Place::Memory(made(&tensor.name, stored, &dims, |to| {
                to.copy_from_slice(bytes);
                Ok(())
            })?),
        };
        self.add(tensor, stored, dims, place);
        Ok(())
    }

    /// Holds a tensor apart whose bytes lie in a file, if it is one that can be, and returns their fingerprint.
    pub fn hold_file(
        &mut self,
        tensor: &mut TensorProto,
        file: &Arc<Opened>,
        offset: u64,
        length: usize,
    ) -> Result<Option<u64>> {
        let Some((stored, dims)) = large(tensor, length) else { return Ok(None) };
        let print = file.fingerprint(offset, length as u64)?;
        self.add(tensor, stored, dims, Place::File { file: file.clone(), offset, print });
        Ok(Some(print))
    }

    /// Whether a tensor is one of these. A file may have one that looks like it.
    pub fn has(&self, tensor: &TensorProto) -> bool {
        held(tensor).and_then(|place| self.0.get(place)).is_some_and(|weight| weight.name == tensor.name)
    }

    fn add(&mut self, tensor: &mut TensorProto, stored: DataType, dims: TVec<usize>, place: Place) {
        let entry = StringStringEntryProto { key: HELD.to_owned(), value: self.0.len().to_string() };
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = vec![entry];
        self.0.push(Weight { name: tensor.name.clone(), stored, dims, place });
    }

    /// Reads those in files if all of them come to little.
    pub fn settle(&mut self) -> Result<()> {
        let in_files = |weight: &&mut Weight| matches!(weight.place, Place::File { .. });
        let bytes: u64 = self.0.iter_mut().filter(in_files).map(|weight| weight.bytes()).sum();
        if bytes <= LITTLE {
            for weight in self.0.iter_mut().filter(in_files) {
                weight.place = Place::Memory(weight.value()?);
            }
        }
        Ok(())
    }

    /// Makes inputs of those that the graph has, behind its own, and returns them in that order.
    pub fn into_inputs(self, graph: &mut GraphProto) -> Vec<Weight> {
        let mut inputs = Vec::new();
        graph.initializer.retain(|tensor| {
            let Some(weight) = held(tensor).and_then(|place| self.0.get(place)) else { return true };
            let kind = type_proto::Tensor { elem_type: tensor.data_type, shape: None };
            graph.input.push(ValueInfoProto {
                name: tensor.name.clone(),
                r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(kind)), ..TypeProto::default() }),
                ..ValueInfoProto::default()
            });
            inputs.push(weight.clone());
            false
        });
        inputs
    }
}

/// Which of the weights that are held apart a tensor is.
pub fn held(tensor: &TensorProto) -> Option<usize> {
    let [entry] = &tensor.external_data[..] else { return None };
    let is_apart = tensor.data_location == Some(DataLocation::External as i32) && entry.key == HELD;
    entry.value.parse().ok().filter(|_| is_apart)
}

/// The type and extents of a tensor that can be held apart, if it is of so many bytes: nobody looks at what these are before
/// a plan is made.
fn large(tensor: &TensorProto, bytes: usize) -> Option<(DataType, TVec<usize>)> {
    let stored = DataType::try_from(tensor.data_type).ok()?;
    let of_numbers = matches!(stored, DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double);
    let numbers = [tensor.float_data.len(), tensor.double_data.len(), tensor.int32_data.len(), tensor.raw_data.len()];
    let empty = numbers.iter().all(|count| *count == 0);
    if bytes < LARGE || !of_numbers || !empty || holds::bytes(tensor) != Some(bytes) {
        return None;
    }
    Some((stored, tensor.dims.iter().map(|extent| *extent as usize).collect()))
}

/// The type that a model runs with a weight in.
fn runs(stored: DataType) -> DatumType {
    if stored == DataType::Double { f64::datum_type() } else { f32::datum_type() }
}

/// A weight as the model runs with it: 16-bit floating point as float32.
fn made(
    name: &str,
    stored: DataType,
    dims: &[usize],
    read: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<Arc<Tensor>> {
    let runs = runs(stored);
    let elements: usize = dims.iter().product();
    let what = format!("weight {}", quoted(name));
    memory::require(&what, (elements as u64).saturating_mul(runs.size_of() as u64))?;
    let short = || Error::new(Code::OutOfMemory, format!("there is no memory for {what}"));
    let mut tensor = guard(|| Tensor::zero_dt(runs, dims), short)?;
    let bytes = tensor.as_bytes_mut();
    match narrow(stored as i32) {
        None => read(bytes)?,
        Some(wide) => {
            let mut narrow = Vec::new();
            narrow.try_reserve_exact(2 * elements).map_err(|_| short())?;
            narrow.resize(2 * elements, 0);
            read(&mut narrow)?;
            for (to, from) in bytes.as_chunks_mut().0.iter_mut().zip(narrow.as_chunks().0) {
                *to = wide(u16::from_le_bytes(*from)).to_ne_bytes();
            }
        }
    }
    Ok(tensor.into_arc_tensor())
}

impl Weight {
    pub fn fact(&self) -> InferenceFact {
        InferenceFact::dt_shape(runs(self.stored), &self.dims[..])
    }

    /// An error if it cannot be read any more, or is another one by now.
    pub fn value(&self) -> Result<Arc<Tensor>> {
        let (file, offset, print) = match &self.place {
            Place::Memory(value) => return Ok(value.clone()),
            Place::File { file, offset, print } => (file, *offset, *print),
        };
        made(&self.name, self.stored, &self.dims, |to| {
            file.read(to, offset)?;
            if fingerprint(to) == print {
                return Ok(());
            }
            let (name, path) = (quoted(&self.name), shown(&file.path));
            let message = format!("weight {name} in {path} was changed after the model was loaded: load it anew");
            Err(Error::new(Code::Io, message))
        })
    }

    fn elements(&self) -> u64 {
        self.dims.iter().map(|extent| *extent as u64).product()
    }

    /// As the model runs with it.
    fn bytes(&self) -> u64 {
        self.elements().saturating_mul(runs(self.stored).size_of() as u64)
    }

    /// How many bytes more that is than in the model.
    pub fn widened(&self) -> u64 {
        if narrow(self.stored as i32).is_some() { self.elements().saturating_mul(2) } else { 0 }
    }
}

/// A file that weights lie in.
pub struct Opened {
    path: PathBuf,
    file: File,
    pub size: u64,
}

impl Opened {
    pub fn open(path: &Path) -> Result<Self> {
        let mut opened = Self { path: path.to_owned(), file: open_file(path)?, size: 0 };
        opened.size = opened.file.metadata().map_err(|error| opened.failed(&error))?.len();
        Ok(opened)
    }

    pub fn read(&self, to: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(to, offset).map_err(|error| self.failed(&error))
    }

    /// The fingerprint of a part of it, which is read a piece at a time.
    pub fn fingerprint(&self, offset: u64, length: u64) -> Result<u64> {
        let mut print = Fingerprint::default();
        let mut piece = vec![0; Fingerprint::PIECE];
        let mut done = 0;
        while done < length {
            let count = (length - done).min(Fingerprint::PIECE as u64);
            self.read(&mut piece[..count as usize], offset + done)?;
            print.write(&piece[..count as usize]);
            done += count;
        }
        Ok(print.finish())
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::new(Code::Io, format!("{} cannot be read: {error}", shown(&self.path)))
    }
}

/// The number of a weight among the graph's, and where its bytes lie in the model.
pub type Lies = (usize, Range<usize>);

/// A model without the bytes of its large weights, and where they lie. `None` for one that has none, or is not written as models are.
pub fn without_large(data: &[u8]) -> Option<(Vec<u8>, Vec<Lies>)> {
    let mut found = Vec::new();
    let mut graphs = 0;
    let mut model = Message::default();
    for field in Fields(data) {
        match field.ok()? {
            (7, Field::Bytes(graph)) => {
                graphs += 1;
                model.add_message(7, graph_without(graph, data, &mut found)?);
            }
            (number, field) => model.copy(number, &field),
        }
    }
    (graphs == 1 && !found.is_empty()).then(|| (model.into_bytes(), found))
}

fn graph_without(graph: &[u8], data: &[u8], found: &mut Vec<Lies>) -> Option<Message> {
    let mut slim = Message::default();
    let mut weights = 0;
    for field in Fields(graph) {
        match field.ok()? {
            (5, Field::Bytes(tensor)) => {
                match without_bytes(tensor)? {
                    Some((tensor, bytes)) => {
                        let start = bytes.as_ptr().addr() - data.as_ptr().addr();
                        found.push((weights, start..start + bytes.len()));
                        slim.add_message(5, tensor);
                    }
                    None => slim.add_bytes(5, tensor),
                }
                weights += 1;
            }
            (number, field) => slim.copy(number, &field),
        }
    }
    Some(slim)
}

/// A tensor and its bytes, where these are many.
#[allow(clippy::option_option, reason = "damaged, or small")]
fn without_bytes(tensor: &[u8]) -> Option<Option<(Message, &[u8])>> {
    let mut slim = Message::default();
    let mut large = None;
    for field in Fields(tensor) {
        match field.ok()? {
            (9, Field::Bytes(bytes)) if large.is_none() && bytes.len() >= LARGE => large = Some(bytes),
            // Where it has bytes twice the last ones count.
            (9, _) => return Some(None),
            (number, field) => slim.copy(number, &field),
        }
    }
    Some(large.map(|bytes| (slim, bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{image, model, node, options, segment, value, weight};
    use super::super::{CpuEngine, Origin};
    use super::*;
    use crate::backend::Engine;
    use prost::Message as _;
    use std::io::{Seek, SeekFrom, Write};
    use tract_onnx::pb::ModelProto;

    /// Layers whose windows have one element; the weights of two are large, 24 MB together.
    fn network() -> ModelProto {
        let ramp = |i: usize| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5;
        let weights = vec![
            weight("w0", &[2048, 2, 1, 1, 1], ramp),
            weight("w1", &[2304, 2048, 1, 1, 1], ramp),
            weight("w2", &[512, 2304, 1, 1, 1], ramp),
            weight("w3", &[2, 512, 1, 1, 1], ramp),
        ];
        let nodes = (0..4).map(|i| {
            let (from, to) = (format!("x{i}"), format!("x{}", i + 1));
            node("Conv", &[&from, &format!("w{i}")], &[&to])
        });
        let ends = |name: &str| vec![value(name, DataType::Float, &["batch", "2", "D", "H", "W"])];
        model(nodes.collect(), ends("x0"), ends("x4"), weights)
    }

    fn loaded(data: &[u8], path: Option<&Path>) -> Result<Arc<dyn Engine>> {
        CpuEngine::load_from(data, Origin { file: path, folder: path.and_then(Path::parent) }, options(2, 1))
    }

    fn run(engine: &Arc<dyn Engine>, extents: &[i64; 5]) -> Result<Vec<u8>> {
        segment(&mut *engine.clone().new_context()?, extents, image(extents))
    }

    #[test]
    fn large_weights_are_read_when_they_are_needed() {
        let proto = network();
        let data = proto.encode_to_vec();
        let folder = std::env::temp_dir().join(format!("planrt-large-weights-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("model.onnx");
        std::fs::write(&path, &data).unwrap();
        let shapes = [[1, 2, 3, 4, 5], [1, 2, 2, 2, 7]];
        let expected = shapes.map(|shape| run(&loaded(&data, None).unwrap(), &shape).unwrap());
        let engine = loaded(&data, Some(&path)).unwrap();
        assert_eq!(run(&engine, &shapes[0]).unwrap(), expected[0]);
        // The same, in a file beside it.
        let mut beside = proto;
        let mut external = Vec::new();
        for tensor in &mut beside.graph.as_mut().unwrap().initializer {
            let bytes = std::mem::take(&mut tensor.raw_data);
            let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
            tensor.data_location = Some(DataLocation::External as i32);
            tensor.external_data = vec![
                entry("location", "weights.bin".to_owned()),
                entry("offset", external.len().to_string()),
                entry("length", bytes.len().to_string()),
            ];
            external.extend(bytes);
        }
        std::fs::write(folder.join("weights.bin"), &external).unwrap();
        let other = loaded(&beside.encode_to_vec(), Some(&folder.join("beside.onnx"))).unwrap();
        assert_eq!(run(&other, &shapes[0]).unwrap(), expected[0]);
        // Whatever becomes of the name, the file is held.
        std::fs::rename(folder.join("weights.bin"), folder.join("elsewhere.bin")).unwrap();
        assert_eq!(run(&other, &shapes[1]).unwrap(), expected[1]);
        // What was changed is not taken for what was loaded; what is ready stays.
        let mut file = File::options().write(true).open(&path).unwrap();
        let at = data.len() as u64 / 2;
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[data[at as usize] ^ 1]).unwrap();
        let error = run(&engine, &shapes[1]).unwrap_err();
        assert_eq!(error.code(), Code::Io);
        assert!(error.message().contains("was changed after the model was loaded: load it anew"), "{error}");
        assert_eq!(run(&engine, &shapes[0]).unwrap(), expected[0]);
        File::options().write(true).open(folder.join("elsewhere.bin")).unwrap().set_len(1 << 20).unwrap();
        let error = run(&other, &shapes[0]).unwrap_err();
        assert_eq!(error.code(), Code::Io);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn models_are_taken_apart_as_they_are_written() {
        let proto = network();
        let data = proto.encode_to_vec();
        let (slim, large) = without_large(&data).unwrap();
        assert!(slim.len() < 32 << 10);
        assert_eq!(large.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
        let mut again = ModelProto::decode(&slim[..]).unwrap();
        for (number, bytes) in large {
            again.graph.as_mut().unwrap().initializer[number].raw_data = data[bytes].to_vec();
        }
        assert_eq!(again, proto);
        // Cut short anywhere, or without any.
        assert!(without_large(&data[..data.len() / 2]).is_none());
        assert!(without_large(&slim).is_none());
        assert!(without_large(&[&data[..], &data[..]].concat()).is_none());
    }
}
