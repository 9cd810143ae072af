//! An ONNX model on OpenVINO.

use super::library::Library;
use super::prepared::{Mode, Prepared};
use super::{checks, failed, instance};
use crate::backend::cpu::model::{Facts, Source};
use crate::backend::cpu::rewrite;
use crate::backend::host_context::HostContext;
use crate::backend::instance_group::{InstanceGroup, InstanceGroupOptions};
use crate::backend::{Context, Engine};
use crate::engine::{Backend, Description, TensorInfo};
use crate::error::{Code, Error, Result};
use crate::model::Origin;
use crate::process::memory;
use crate::process::thread::Held;
use crate::sync::Mutex;
use crate::tensor::{ElementType, Shape};
use openvino_c::{Model, Port};
use prost::Message;
use std::ffi::CStr;
use std::path::Path;
use std::sync::Arc;
use std::thread;

pub struct OpenVinoEngine {
    pub(super) facts: Facts,
    /// Where OpenVINO has each input.
    pub(super) places: Vec<Option<usize>>,
    pub(super) library: Arc<Library>,
    pub(super) threads: usize,
    /// Its inputs' shapes change from one compilation to the next.
    model: Mutex<Model>,
    /// Used last at the end.
    prepared: Mutex<Vec<Arc<Prepared>>>,
    shape_cache: usize,
}

impl OpenVinoEngine {
    /// Loads the bytes of an ONNX file; its weights may lie in other files of the folder, if there is one.
    pub fn load(
        library: &Arc<Library>,
        data: &[u8],
        folder: Option<&Path>,
        threads: usize,
        shape_cache: usize,
    ) -> Result<Arc<dyn Engine>> {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, Into::into),
            threads => threads,
        };
        let count = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        let device = format!("CPU with OpenVINO {}, {count}", library.version());
        let origin = Origin { file: None, folder };
        let mut source =
            Source::read(data, origin, None, Backend::OpenVino, &device, rewrite::write_out, checks::check)?;
        if let Some(graph) = &mut source.proto.graph {
            // Shapes that writers noted, which are not looked at here either.
            graph.value_info.clear();
        }
        source.describe_inputs()?;
        let model = read(library, &source)?;
        let ports = |ports: std::result::Result<Vec<Port>, openvino_c::Error>| {
            ports.map_err(|error| {
                failed(Code::OpenVino, "OpenVINO does not tell what the model takes and gives", &error)
            })
        };
        let (inputs, outputs) = (ports(model.inputs())?, ports(model.outputs())?);
        let open = |port: &Port| match &port.shape {
            Some(extents) => Shape::new(&vec![-1; extents.len()]),
            None => {
                let message = "the ONNX model does not say the shape of an output, and OpenVINO does not find it";
                Err(Error::new(Code::Unsupported, message))
            }
        };
        let found = match source.has_ranks() {
            true => Vec::new(),
            false => outputs.iter().map(open).collect::<Result<_>>()?,
        };
        source.describe_outputs(&found)?;
        source.proto = Default::default();
        let facts = source.facts;
        let places = places(&facts, &inputs)?;
        check_ports(&facts, &places, &inputs, &outputs)?;
        let engine = Arc::new(Self {
            facts,
            places,
            library: library.clone(),
            threads,
            model: Mutex::new(model),
            prepared: Mutex::default(),
            shape_cache: shape_cache.max(1),
        });
        if let Some(shapes) = engine.facts.only_shapes() {
            // What will be asked for is known, so what OpenVINO cannot run is told now and not at the first run.
            engine.prepare(&shapes, Mode::Single)?;
        }
        Ok(engine)
    }

    /// The model compiled for these shapes.
    pub(super) fn prepare(&self, shapes: &[Shape], mode: Mode) -> Result<Arc<Prepared>> {
        if let Some(prepared) = self.kept(shapes, mode) {
            return Ok(prepared);
        }
        // One at a time.
        let mut model = self.model.lock();
        if let Some(prepared) = self.kept(shapes, mode) {
            return Ok(prepared);
        }
        memory::require("the model made ready for these shapes", self.facts.size.saturating_mul(2))?;
        let placed = self.places.iter().zip(shapes);
        let extents: Vec<(usize, &[i64])> = placed.filter_map(|(place, shape)| Some(((*place)?, &**shape))).collect();
        {
            let _held = Held::signals();
            model.reshape(&extents).map_err(|error| self.refuses(shapes, &error))?;
        }
        let declared: Vec<_> = self.facts.outputs().map(|output| output.shape).collect();
        let prepared = Prepared::new(&self.library, &model, shapes, mode, self.threads, &declared)?;
        if let Some((info, shape)) =
            self.facts.outputs().zip(&prepared.outputs).find(|(info, shape)| !fits(info, shape.as_ref()))
        {
            let shape = shape.map_or_else(String::new, |shape| shape.to_string());
            let message = format!("output {} would be {shape}, where the model says {}", info.quoted(), info.shape);
            return Err(Error::new(Code::InvalidModel, message));
        }
        let prepared = Arc::new(prepared);
        let mut kept = self.prepared.lock();
        kept.push(prepared.clone());
        // So many of each mode: a batch of some shapes needs two.
        if kept.iter().filter(|other| other.mode == mode).count() > self.shape_cache
            && let Some(oldest) = kept.iter().position(|other| other.mode == mode)
        {
            kept.remove(oldest);
        }
        Ok(prepared)
    }

    fn kept(&self, shapes: &[Shape], mode: Mode) -> Option<Arc<Prepared>> {
        let mut kept = self.prepared.lock();
        let place = kept.iter().position(|prepared| prepared.mode == mode && prepared.shapes == shapes)?;
        let prepared = kept.remove(place);
        kept.push(prepared.clone());
        Some(prepared)
    }

    fn refuses(&self, shapes: &[Shape], error: &openvino_c::Error) -> Error {
        let inputs = self.facts.inputs().zip(shapes).map(|(input, shape)| format!("{} {shape}", input.quoted()));
        let inputs = inputs.collect::<Vec<_>>().join(", ");
        let message = format!(
            "the model does not run with {inputs}: its layers do not fit together, or OpenVINO lacks something"
        );
        failed(Code::Shape, message, error)
    }
}

/// Whether an output of that shape is as the model says.
fn fits(info: &TensorInfo, shape: Option<&Shape>) -> bool {
    shape.is_none_or(|shape| {
        shape.len() == info.shape.len() && shape.iter().zip(info.shape.iter()).all(|(is, said)| *said < 0 || is == said)
    })
}

/// OpenVINO's model of what was read and checked.
fn read(library: &Library, source: &Source) -> Result<Model> {
    /// What a reader of ONNX's messages takes.
    const MOST: usize = i32::MAX as usize;
    let size = source.proto.encoded_len();
    if size > MOST {
        return Err(Error::new(
            Code::Unsupported,
            format!("the model has {} MiB with its weights; OpenVINO is given models up to 2 GiB here", size >> 20),
        ));
    }
    // Encoded, copied, and OpenVINO's tensors of it.
    memory::require("loading the model", (size as u64).saturating_mul(3))?;
    let data = source.proto.encode_to_vec();
    let _held = Held::signals();
    library.core.read_model(&data).map_err(|error| {
        failed(Code::Unsupported, format!("OpenVINO {} does not take this ONNX model", library.version()), &error)
    })
}

/// Where OpenVINO has each of the model's inputs: at its place, or nowhere, if nothing of what it computes needs it.
fn places(facts: &Facts, inputs: &[Port]) -> Result<Vec<Option<usize>>> {
    if inputs.len() == facts.inputs().count() {
        return Ok((0..inputs.len()).map(Some).collect());
    }
    let place = |info: &TensorInfo| inputs.iter().position(|port| port.name.as_deref() == Some(info.name()));
    let places: Vec<_> = facts.inputs().map(place).collect();
    match places.iter().flatten().count() == inputs.len() {
        true => Ok(places),
        false => Err(Error::new(
            Code::Unsupported,
            format!("the model has {} inputs, and OpenVINO calls some of its {} otherwise", places.len(), inputs.len()),
        )),
    }
}

/// Holds inputs and outputs as OpenVINO has them against what the model says: outputs go by their places.
fn check_ports(facts: &Facts, places: &[Option<usize>], inputs: &[Port], outputs: &[Port]) -> Result<()> {
    let unsupported = |message: String| Err(Error::new(Code::Unsupported, message));
    let named = facts.outputs().count();
    if outputs.len() != named {
        return unsupported(format!("the model has {named} outputs, OpenVINO finds {}", outputs.len()));
    }
    let inputs = places.iter().map(|place| place.and_then(|place| inputs.get(place)));
    for (info, port) in facts.description.tensors.iter().zip(inputs.chain(outputs.iter().map(Some))) {
        if info.element_type == ElementType::Float64 {
            let name = info.quoted();
            return unsupported(format!("{name} is float64, which OpenVINO computes as float32"));
        }
        let Some(port) = port else { continue };
        if port.element_type != Some(type_of(info.element_type)) {
            let (name, is) = (info.quoted(), info.element_type);
            return unsupported(format!("{name} is {is}, and OpenVINO takes it as {:?}", port.element_type));
        }
    }
    Ok(())
}

/// OpenVINO's name for a type.
pub(super) fn type_of(element_type: ElementType) -> openvino_c::ElementType {
    use openvino_c::ElementType as Theirs;
    match element_type {
        ElementType::Float32 => Theirs::F32,
        ElementType::Float16 => Theirs::F16,
        ElementType::BFloat16 => Theirs::Bf16,
        ElementType::Int8 => Theirs::I8,
        ElementType::Uint8 => Theirs::U8,
        ElementType::Int32 => Theirs::I32,
        ElementType::Int64 => Theirs::I64,
        ElementType::Bool => Theirs::Boolean,
        ElementType::Int16 => Theirs::I16,
        ElementType::Uint16 => Theirs::U16,
        ElementType::Float64 => Theirs::F64,
    }
}

impl Engine for OpenVinoEngine {
    fn description(&self) -> &Description {
        &self.facts.description
    }

    fn layers_json(&self) -> Result<String> {
        Ok(self.facts.layers_json.clone())
    }

    fn metadata(&self) -> serde_json::Value {
        self.facts.metadata.clone()
    }

    fn dimension_name(&self, tensor: usize, axis: usize) -> Option<&CStr> {
        self.facts.dimension_names.get(tensor)?.get(axis)?.as_deref()
    }

    fn new_context(self: Arc<Self>) -> Result<Box<dyn Context>> {
        Ok(Box::new(HostContext::new(self)))
    }

    fn instance_group(self: Arc<Self>, size: &InstanceGroupOptions) -> Result<InstanceGroup> {
        instance::instance_group(&self, size)
    }
}
