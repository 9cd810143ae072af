//! What a build has to know of an ONNX model beside what TensorRT's parser tells: read off the protobuf message, of which
//! only the parts named here are looked at (the numbers are onnx.proto's).

use super::protobuf::{Field, Fields, text};
use crate::error::{Code, Error, Result};
use crate::quote::{quoted, shown};
use std::path::{Component, Path};

/// How many graphs lie within one another at most.
const DEEPEST: usize = 64;

pub struct Node {
    pub name: String,
    pub operator: String,
    /// The name of its first output.
    pub output: String,
}

#[derive(Default)]
pub struct Model {
    pub nodes: Vec<Node>,
    /// The files that weights are in, beside the model's own, and how many bytes each has at least.
    weight_files: Vec<(String, u64)>,
    /// The inputs that have extents with names, and these.
    pub inputs: Vec<Input>,
}

pub struct Input {
    pub name: String,
    /// The name of each extent; empty where it has none.
    pub extents: Vec<String>,
}

impl Model {
    pub fn read(data: &[u8]) -> Result<Self> {
        let mut model = Self::default();
        let mut has_graph = false;
        for field in Fields(data) {
            match field? {
                (7, Field::Bytes(graph)) => {
                    has_graph = true;
                    let nodes = model.read_graph(graph, 0)?;
                    model.nodes.extend(nodes);
                }
                (25, Field::Bytes(function)) => model.read_function(function)?,
                _ => {}
            }
        }
        match has_graph {
            true => Ok(model),
            false => Err(Error::new(Code::InvalidModel, "this is no ONNX model: it has no graph")),
        }
    }

    /// A GraphProto's nodes; its weights are noted, and those of the graphs within it.
    fn read_graph(&mut self, graph: &[u8], depth: usize) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        for field in Fields(graph) {
            match field? {
                (1, Field::Bytes(node)) => {
                    nodes.push(Node::read(node)?);
                    self.read_attributes(node, depth)?;
                }
                (5, Field::Bytes(tensor)) => self.read_weights(tensor)?,
                (11, Field::Bytes(input)) if depth == 0 => self.inputs.push(Input::read(input)?),
                (15, Field::Bytes(sparse)) => self.read_each(sparse, &[1, 2])?,
                _ => {}
            }
        }
        Ok(nodes)
    }

    /// A FunctionProto, whose nodes may have weights.
    fn read_function(&mut self, function: &[u8]) -> Result<()> {
        for field in Fields(function) {
            if let (7, Field::Bytes(node)) = field? {
                self.read_attributes(node, 0)?;
            }
        }
        Ok(())
    }

    /// The tensors and graphs in a NodeProto's attributes.
    fn read_attributes(&mut self, node: &[u8], depth: usize) -> Result<()> {
        if depth > DEEPEST {
            return Err(Error::new(Code::InvalidModel, "the model's graphs lie too deep in one another"));
        }
        for field in Fields(node) {
            let (5, Field::Bytes(attribute)) = field? else { continue };
            for field in Fields(attribute) {
                match field? {
                    (5 | 10, Field::Bytes(tensor)) => self.read_weights(tensor)?,
                    (6 | 11, Field::Bytes(graph)) => _ = self.read_graph(graph, depth + 1)?,
                    (22 | 23, Field::Bytes(sparse)) => self.read_each(sparse, &[1, 2])?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The tensors in these fields of a message.
    fn read_each(&mut self, message: &[u8], numbers: &[u64]) -> Result<()> {
        for field in Fields(message) {
            match field? {
                (number, Field::Bytes(tensor)) if numbers.contains(&number) => self.read_weights(tensor)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A TensorProto: where its data are external (data_location, 14), external_data (13) has their "location".
    fn read_weights(&mut self, tensor: &[u8]) -> Result<()> {
        let (mut is_external, mut file, mut offset, mut length) = (false, None, 0, 0);
        for field in Fields(tensor) {
            match field? {
                (14, Field::Number(location)) => is_external = location == 1,
                (13, Field::Bytes(entry)) => {
                    let (mut key, mut value) = (&[][..], &[][..]);
                    for field in Fields(entry) {
                        match field? {
                            (1, Field::Bytes(bytes)) => key = bytes,
                            (2, Field::Bytes(bytes)) => value = bytes,
                            _ => {}
                        }
                    }
                    let number = || text(value).trim().parse::<u64>().unwrap_or(0);
                    match key {
                        b"location" => file = Some(text(value)),
                        b"offset" => offset = number(),
                        b"length" => length = number(),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        let Some(file) = file.filter(|_| is_external) else { return Ok(()) };
        let end = offset.saturating_add(length);
        match self.weight_files.iter_mut().find(|(known, _)| *known == file) {
            Some((_, size)) => *size = end.max(*size),
            None => self.weight_files.push((file, end)),
        }
        Ok(())
    }

    /// Whether all files that weights are in are there, in the folder of `path` or below.
    pub fn check_weights(&self, path: Option<&Path>) -> Result<()> {
        for (file, size) in &self.weight_files {
            let name = shown(Path::new(file)).to_string();
            let Some(path) = path else {
                let message = format!(
                    "the model keeps weights in the file {name}: say in which folder with \
                     planrt_build_options_set_weights_folder"
                );
                return Err(Error::new(Code::InvalidArgument, message));
            };
            if !Path::new(file).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                let message = format!("the model keeps weights in {name}, which leads out of its folder");
                return Err(Error::new(Code::InvalidModel, message));
            }
            let metadata = std::fs::metadata(path.with_file_name(file)).ok().filter(std::fs::Metadata::is_file);
            let Some(metadata) = metadata else {
                let message = format!("the model keeps weights in the file {name}, which is not beside it");
                return Err(Error::new(Code::NotFound, message));
            };
            if metadata.len() < *size {
                let message = format!(
                    "the model keeps weights in the file {name}, which is cut short: it has {} bytes, and weights end at \
                     {size}; copy it again",
                    metadata.len()
                );
                return Err(Error::new(Code::InvalidModel, message));
            }
        }
        Ok(())
    }

    /// The files that weights are in, as the model names them.
    pub fn weight_files(&self) -> impl Iterator<Item = &String> {
        self.weight_files.iter().map(|(file, _)| file)
    }

    pub fn has(&self, operator: &str) -> bool {
        self.nodes.iter().any(|node| node.operator == operator)
    }

    /// A node for people: `node 3 "conv_1" (Conv)`.
    pub fn describe(&self, index: usize) -> String {
        match self.nodes.get(index) {
            Some(Node { name, operator, output }) if name.is_empty() => {
                format!("node {index} ({operator}, which computes {})", quoted(output))
            }
            Some(Node { name, operator, .. }) => format!("node {index} {} ({operator})", quoted(name)),
            None => format!("node {index}"),
        }
    }
}

impl Input {
    /// A ValueInfoProto; of its type (2) the tensor's (1) shape (2), whose extents (1) may be parameters (2).
    fn read(message: &[u8]) -> Result<Self> {
        let mut input = Self { name: String::new(), extents: Vec::new() };
        for field in Fields(message) {
            match field? {
                (1, Field::Bytes(name)) => input.name = text(name),
                (2, Field::Bytes(of)) => input.extents = Self::extents(of)?,
                _ => {}
            }
        }
        Ok(input)
    }

    fn extents(of_type: &[u8]) -> Result<Vec<String>> {
        let mut extents = Vec::new();
        let Some(tensor) = part(of_type, 1)? else { return Ok(extents) };
        let Some(shape) = part(tensor, 2)? else { return Ok(extents) };
        for field in Fields(shape) {
            if let (1, Field::Bytes(extent)) = field? {
                extents.push(part(extent, 2)?.map(text).unwrap_or_default());
            }
        }
        Ok(extents)
    }
}

/// The last field of that number, if it is a message or text.
fn part(message: &[u8], wanted: u64) -> Result<Option<&[u8]>> {
    let mut found = None;
    for field in Fields(message) {
        if let (number, Field::Bytes(bytes)) = field?
            && number == wanted
        {
            found = Some(bytes);
        }
    }
    Ok(found)
}

impl Node {
    fn read(message: &[u8]) -> Result<Self> {
        let mut node = Self { name: String::new(), operator: String::new(), output: String::new() };
        for field in Fields(message) {
            match field? {
                (2, Field::Bytes(output)) if node.output.is_empty() => node.output = text(output),
                (3, Field::Bytes(name)) => node.name = text(name),
                (4, Field::Bytes(operator)) => node.operator = text(operator),
                _ => {}
            }
        }
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut message = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        message.extend(bytes);
        message
    }

    fn model() -> Vec<u8> {
        let conv = [field(1, b"x"), field(2, b"y"), field(3, b"conv_1"), field(4, b"Conv")].concat();
        let relu = [field(2, b"z"), field(4, b"Relu")].concat();
        let entry = [field(1, b"location"), field(2, b"weights.bin")].concat();
        let weights = [field(13, &entry), vec![14 << 3, 1]].concat();
        let graph = [field(1, &conv), field(1, &relu), field(5, &weights)].concat();
        [vec![8, 7], field(7, &graph)].concat()
    }

    #[test]
    fn nodes_and_weight_files_are_read() {
        let model = Model::read(&model()).unwrap();
        assert_eq!(model.describe(0), "node 0 \"conv_1\" (Conv)");
        assert_eq!(model.describe(1), "node 1 (Relu, which computes \"z\")");
        assert!(model.has("Relu") && !model.has("InstanceNormalization"));
        assert_eq!(model.check_weights(None).unwrap_err().code(), Code::InvalidArgument);
        let error = model.check_weights(Some(Path::new("/no/such/model.onnx"))).unwrap_err();
        assert!(error.code() == Code::NotFound && error.message().contains("weights.bin"), "{error}");
    }

    #[test]
    fn weight_files_of_constants_and_branches_are_found() {
        let entry = [field(1, b"location"), field(2, b"weights.bin")].concat();
        let length = [field(1, b"length"), field(2, b"4096")].concat();
        let tensor = [field(13, &entry), field(13, &length), vec![14 << 3, 1]].concat();
        let constant = [field(2, b"c"), field(4, b"Constant"), field(5, &field(5, &tensor))].concat();
        let branch = field(6, &field(1, &constant));
        let choice = [field(2, b"y"), field(4, b"If"), field(5, &branch)].concat();
        for node in [constant, choice] {
            let model = Model::read(&field(7, &field(1, &node))).unwrap();
            assert_eq!(model.nodes.len(), 1);
            assert_eq!(model.check_weights(None).unwrap_err().code(), Code::InvalidArgument);
            let folder = std::env::temp_dir().join(format!("planrt-weights-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("weights.bin"), [0; 4095]).unwrap();
            let error = model.check_weights(Some(&folder.join("model.onnx"))).unwrap_err();
            assert!(error.code() == Code::InvalidModel && error.message().contains("cut short"), "{error}");
            std::fs::write(folder.join("weights.bin"), [0; 4096]).unwrap();
            model.check_weights(Some(&folder.join("model.onnx"))).unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }

    #[test]
    fn a_cut_is_noticed_and_nothing_panics() {
        let model = model();
        for size in 0..model.len() {
            let read = Model::read(&model[..size]);
            assert!(read.is_err(), "cut at {size}");
        }
        let mut damaged = model.clone();
        for i in 0..damaged.len() {
            damaged[i] ^= 0xff;
            let _ = Model::read(&damaged);
            damaged[i] ^= 0xff;
        }
    }
}
