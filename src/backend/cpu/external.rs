//! Weights in files beside the model, as torch writes them: read from the model's own folder and no other.

use super::holds;
use super::weights::{Opened, Weights};
use crate::error::{Code, Error, Result};
use crate::model::fingerprint;
use crate::process::memory;
use crate::quote::{quoted, shown};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// What was read from files beside the model.
#[derive(Default)]
pub struct Beside {
    pub bytes: u64,
    /// The fingerprint of each weight.
    pub prints: Vec<u64>,
}

/// Puts what lies in other files into the graph's tensors, but for what is held apart, if anything is to be. The files are
/// those of `folder`; there are none for a model that was given as bytes.
pub fn read(graph: &mut GraphProto, folder: Option<&Path>, apart: Option<&mut Weights>) -> Result<Beside> {
    let mut files = Files { folder, opened: HashMap::new(), read: Beside::default() };
    let mut apart = apart;
    for tensor in &mut graph.initializer {
        files.read_tensor(tensor, apart.as_deref_mut())?;
    }
    graph.node.iter_mut().try_for_each(|node| files.read_node(node))?;
    Ok(files.read)
}

struct Files<'a> {
    folder: Option<&'a Path>,
    opened: HashMap<String, Arc<Opened>>,
    read: Beside,
}

impl Files<'_> {
    fn read_graph(&mut self, graph: &mut GraphProto) -> Result<()> {
        for tensor in &mut graph.initializer {
            self.read_tensor(tensor, None)?;
        }
        graph.node.iter_mut().try_for_each(|node| self.read_node(node))
    }

    fn read_node(&mut self, node: &mut NodeProto) -> Result<()> {
        for attribute in &mut node.attribute {
            for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
                self.read_tensor(tensor, None)?;
            }
            for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                self.read_graph(graph)?;
            }
        }
        Ok(())
    }

    fn read_tensor(&mut self, tensor: &mut TensorProto, apart: Option<&mut Weights>) -> Result<()> {
        let is_held = apart.as_deref().is_some_and(|apart| apart.has(tensor));
        if tensor.data_location != Some(DataLocation::External as i32) || is_held {
            return Ok(());
        }
        let name = quoted(&tensor.name).to_string();
        let place = Place::of(tensor)
            .map_err(|why| Error::new(Code::InvalidModel, format!("the ONNX model is damaged: weight {name} {why}")))?;
        let Some(folder) = self.folder else {
            return Err(Error::new(
                Code::Unsupported,
                format!(
                    "weight {name} lies in {}, a file beside the ONNX model; a model that is given as bytes has none: load \
                     it from its file, or save it as one file (onnx.save_model(model, path, save_as_external_data=False))",
                    quoted(&place.location)
                ),
            ));
        };
        let within = |error: Error| error.within(format_args!("weight {name}"));
        let file = match self.opened.entry(place.location.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let path = beside(folder, &place.location).map_err(within)?;
                entry.insert(Arc::new(Opened::open(&path).map_err(within)?))
            }
        };
        let (offset, length) = (place.offset as u64, place.length as u64);
        if offset.checked_add(length).is_none_or(|end| end > file.size) {
            return Err(Error::new(
                Code::InvalidModel,
                format!(
                    "weight {name} takes {length} bytes from {offset} of {} on, which has {}: the file is cut short, or of \
                     another model",
                    quoted(&place.location),
                    file.size
                ),
            ));
        }
        self.read.bytes += length;
        if let Some(apart) = apart
            && let Some(print) = apart.hold_file(tensor, file, offset, place.length).map_err(within)?
        {
            self.read.prints.push(print);
            return Ok(());
        }
        // As for the model's own bytes: what is read here, and tract's tensors of it.
        memory::require("loading the model's weights", length.saturating_mul(3))?;
        let mut bytes = vec![0; place.length];
        file.read(&mut bytes, offset).map_err(within)?;
        self.read.prints.push(fingerprint(&bytes));
        tensor.raw_data = bytes;
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(())
    }
}

/// Where a tensor says that its elements are.
struct Place {
    location: String,
    offset: usize,
    length: usize,
}

impl Place {
    fn of(tensor: &TensorProto) -> std::result::Result<Self, String> {
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
        let number = |key: &str| {
            let parse =
                |text: &String| text.parse::<usize>().map_err(|_| format!("has {} for its {key}", quoted(text)));
            entry(key).map(parse).transpose()
        };
        let location = entry("location").ok_or("lies in another file and does not say in which")?.clone();
        let takes =
            holds::bytes(tensor).ok_or("lies in another file and has a type or a shape that cannot be there")?;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?.unwrap_or(takes));
        match length == takes {
            true => Ok(Self { location, offset, length }),
            false => Err(format!("has {length} bytes in {}, and {takes} by its shape and type", quoted(&location))),
        }
    }
}

/// The path of a file of that folder or one below it, wherever links lead.
fn beside(folder: &Path, location: &str) -> Result<PathBuf> {
    let refuse = |why: &str| {
        Err(Error::new(
            Code::InvalidModel,
            format!("the file {} {why}: weights are read from the model's own folder only", quoted(location)),
        ))
    };
    let relative = Path::new(location);
    if location.is_empty() || location.contains('\0') {
        return refuse("has no name that a file could have");
    }
    if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return refuse("is not below the model");
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let path = folder.join(relative);
    let real = |path: &Path| {
        path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::new(
                Code::NotFound,
                format!("no file {}; it belongs to the model and is to lie beside it", shown(path)),
            ),
            _ => Error::new(Code::Io, format!("{} cannot be read: {error}", shown(path))),
        })
    };
    let path = real(&path)?;
    match path.starts_with(real(folder)?) {
        true => Ok(path),
        false => refuse("is a link that leads out"),
    }
}
