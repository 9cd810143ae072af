//! Reads an ONNX model: what it says of itself, and whether tract can take it.

use super::node::{is_standard, title};
use super::told::{Told, is_far};
use super::weights::{self, LITTLE, Opened, Weight, Weights};
use super::widen::widen;
use super::{
    batch, external, gate, guard, holds, native, normalization, numeric, order, resize, rewrite, told, transposed,
};
use crate::engine::{Backend, Description, MemoryKind, Role, TensorInfo};
use crate::error::{Code, Error, Result};
use crate::model::{Origin, fingerprint, joined};
use crate::process::memory;
use crate::quote::quoted;
use crate::tensor::{ElementType, Shape};
use prost::Message;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use tract_onnx::Onnx;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Extent;
use tract_onnx::pb::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto,
};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::tract_core::ops::konst::Const;

/// What an ONNX model says of itself, whoever runs it.
pub struct Facts {
    pub description: Description,
    pub layers_json: String,
    /// What the file says of itself, as JSON.
    pub metadata: Value,
    /// For each tensor, the name that the model gives to each open extent.
    pub dimension_names: Vec<Vec<Option<CString>>>,
    /// For each input, the name that the model gives to each open extent.
    symbols: Vec<Vec<Option<String>>>,
    /// The inputs whose values a plan is made for.
    pub told: Vec<usize>,
    /// Whether the leading extent is a batch: its items can be run one by one.
    pub batched: bool,
    /// Bytes of the ONNX file and those beside it: about those of its weights.
    pub size: u64,
    /// Whether it is the same in all inputs, by the model's own words.
    pub one_batch: bool,
}

/// An ONNX model that was read and checked, with its weights and with its functions written out.
pub struct Source {
    /// All of it; the graph has no inputs that are weights as well.
    pub proto: ModelProto,
    /// Its tensors are there once they were described.
    pub facts: Facts,
    inputs: Vec<Declared>,
    outputs: Vec<Declared>,
}

impl Source {
    /// Reads a model and, if it lies in a folder, its weights from files there; but large ones are held apart, if there is a
    /// place for them. `rewrite` may write its graph anew; `admit` says what of it is not run.
    pub fn read(
        data: &[u8],
        origin: Origin<'_>,
        mut apart: Option<&mut Weights>,
        backend: Backend,
        device: &str,
        rewrite: impl FnOnce(&mut GraphProto, &[FunctionProto], i64) -> Result<()>,
        admit: impl FnOnce(&GraphProto, i64) -> Result<()>,
    ) -> Result<Self> {
        // The messages as they are decoded, tract's tensors of them, and copies while the graph is made.
        let slim = apart.is_some().then(|| weights::without_large(data)).flatten();
        let (read, large) = slim.as_ref().map_or((data, &[][..]), |(slim, large)| (slim, large));
        memory::require("loading the model", (read.len() as u64).saturating_mul(4))?;
        let mut proto = ModelProto::decode(read).map_err(|e| invalid(data).with_detail(e.to_string()))?;
        let Some(mut graph) = proto.graph.take().filter(|_| proto.ir_version > 0 && !proto.opset_import.is_empty())
        else {
            return Err(invalid(data));
        };
        gate::check_size(&graph)?;
        let file = origin.file.filter(|_| apart.is_some() && data.len() as u64 > LITTLE);
        // Of a file that is another one by now only these bytes are left.
        let file = file.and_then(|path| Opened::open(path).ok()).filter(|file| file.size == data.len() as u64);
        let file = file.map(Arc::new);
        if let Some(apart) = apart.as_deref_mut() {
            for (number, bytes) in large {
                if let Some(tensor) = graph.initializer.get_mut(*number) {
                    apart.hold(tensor, data, bytes, file.as_ref())?;
                }
            }
        }
        let beside = external::read(&mut graph, origin.folder, apart.as_deref_mut())?;
        if let Some(apart) = apart {
            apart.settle()?;
        }
        let opset = opset(&proto)?;
        let layers_json = layers_json(&graph);
        rewrite(&mut graph, &proto.functions, opset)?;
        gate::check_size(&graph)?;
        proto.functions.clear();
        admit(&graph, opset)?;
        check(&graph)?;
        let metadata = metadata(&proto, &graph);

        let initializers: HashSet<_> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
        graph.input.retain(|input| !initializers.contains(input.name.as_str()));
        let inputs = graph.input.iter().map(|v| Declared::read(v, "input")).collect::<Result<Vec<_>>>()?;
        let outputs = graph.output.iter().map(|v| Declared::read(v, "output")).collect::<Result<Vec<_>>>()?;
        let batched = batched(&graph, &inputs, &outputs, opset);
        let small = |input: &Declared| input.extents.as_ref().is_some_and(|extents| extents.len() < 2);
        let small: Vec<_> = inputs.iter().map(|input| (input.name.as_str(), small(input))).collect();
        let told = told::find(&graph, &small);
        let facts = Facts {
            description: Description {
                backend,
                name: c_string(&graph.name)?,
                device_name: c_string(device)?,
                tensors: Vec::new(),
                profiles: Vec::new(),
                device_memory_size: 0,
                fingerprint: beside.prints.iter().fold(fingerprint(data), |all, one| joined(all, *one)),
            },
            layers_json,
            metadata,
            dimension_names: inputs.iter().chain(&outputs).map(Declared::dimension_names).collect::<Result<_>>()?,
            symbols: inputs.iter().map(Declared::symbols).collect(),
            batched: batched.is_ok() && told.is_empty(),
            told,
            one_batch: one_batch(&inputs),
            size: (data.len() as u64).saturating_add(beside.bytes),
        };
        proto.graph = Some(graph);
        Ok(Self { proto, facts, inputs, outputs })
    }

    /// Describes the inputs.
    pub fn describe_inputs(&mut self) -> Result<()> {
        for input in &self.inputs {
            let Some(shape) = input.shape()? else {
                return Err(Error::new(
                    Code::Unsupported,
                    format!("input {} has no rank in the ONNX model; the CPU engine needs it", quoted(&input.name)),
                ));
            };
            self.facts.describe(&input.name, Role::Input, input.element_type()?, shape)?;
        }
        Ok(())
    }

    /// Whether the model says how many axes each output has.
    pub fn has_ranks(&self) -> bool {
        self.outputs.iter().all(|output| output.extents.is_some())
    }

    /// Describes the outputs, those that the model leaves without a rank by the shapes that were found.
    pub fn describe_outputs(&mut self, found: &[Shape]) -> Result<()> {
        for (i, output) in self.outputs.iter().enumerate() {
            let shape = match (output.shape()?, found.get(i)) {
                (Some(shape), _) | (None, Some(&shape)) => shape,
                (None, None) => {
                    let message = format!("the ONNX model does not say the shape of output {}", quoted(&output.name));
                    return Err(Error::new(Code::Unsupported, message));
                }
            };
            self.facts.describe(&output.name, Role::Output, output.element_type()?, shape)?;
        }
        Ok(())
    }
}

impl Facts {
    fn describe(&mut self, name: &str, role: Role, element_type: ElementType, shape: Shape) -> Result<()> {
        let name = c_string(name)?;
        self.description.tensors.push(TensorInfo { name, role, element_type, memory_kind: MemoryKind::Host, shape });
        Ok(())
    }

    pub fn inputs(&self) -> impl Iterator<Item = &TensorInfo> {
        self.description.tensors.iter().filter(|t| t.role == Role::Input)
    }

    pub fn outputs(&self) -> impl Iterator<Item = &TensorInfo> {
        self.description.tensors.iter().filter(|t| t.role == Role::Output)
    }

    /// The inputs' shapes of one item, if the model leaves nothing else open.
    pub fn only_shapes(&self) -> Option<Vec<Shape>> {
        if !self.told.is_empty() {
            return None;
        }
        let one = |input: &TensorInfo| match self.batched {
            true => input.shape.with_first(1),
            false => input.shape,
        };
        let shapes: Vec<_> = self.inputs().map(one).collect();
        shapes.iter().all(|shape| !shape.is_dynamic()).then_some(shapes)
    }

    /// Holds the inputs' shapes against the machine, and against each other: where the model calls two extents the same,
    /// they must be.
    pub fn check_shapes(&self, shapes: &[Shape]) -> Result<()> {
        let mut known = HashMap::new();
        for ((input, symbols), shape) in self.inputs().zip(&self.symbols).zip(shapes) {
            // tract multiplies extents without looking: what follows from a shape that passes here does not overflow.
            memory::require(&format!("input {}", input.quoted()), shape.bytes(run_type(input.element_type))? as u64)?;
            for (symbol, extent) in symbols.iter().zip(shape.iter()) {
                let Some(symbol) = symbol else { continue };
                let (before, name) = *known.entry(symbol).or_insert((*extent, input.name()));
                if before != *extent {
                    return Err(Error::new(
                        Code::Shape,
                        format!(
                            "{} is one extent of the model, but {before} in input {} and {extent} in \
                             input {}",
                            quoted(symbol),
                            quoted(name),
                            input.quoted()
                        ),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A model as it was read, before any shape is chosen.
pub struct Model {
    source: Source,
    /// Its inputs are the model's, and behind them the weights that are held apart.
    graph: InferenceModel,
    weights: Vec<Weight>,
}

impl Deref for Model {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.source.facts
    }
}

impl DerefMut for Model {
    fn deref_mut(&mut self) -> &mut Facts {
        &mut self.source.facts
    }
}

impl Model {
    /// Reads a model and, if it lies in a folder, its weights from files there.
    pub fn read(data: &[u8], origin: Origin<'_>, device: &str) -> Result<Self> {
        let mut apart = Weights::default();
        let mut source =
            Source::read(data, origin, Some(&mut apart), Backend::Cpu, device, rewrite::rewrite, gate::check)?;
        let mut weights = Vec::new();
        let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
        resize::register(&mut onnx.op_register);
        numeric::register(&mut onnx.op_register);
        native::register(&mut onnx.op_register);
        transposed::register(&mut onnx.op_register);
        normalization::register(&mut onnx.op_register);
        if let Some(graph) = &mut source.proto.graph {
            name_apart(graph);
            spell_out(graph);
            widen(graph);
            // Extents are given when a plan is built. tract need not see how the model calls the open ones: it would take
            // them for unknowns of equations, and fail on some.
            for input in &mut graph.input {
                if let Some(type_proto::Value::TensorType(tensor)) =
                    input.r#type.as_mut().and_then(|t| t.value.as_mut())
                {
                    tensor.shape = None;
                }
            }
            weights = apart.into_inputs(graph);
        }
        let graph = parse(&onnx, &source.proto)?;
        source.proto = ModelProto::default();
        source.describe_inputs()?;
        let mut model = Self { source, graph, weights };
        let found = match model.source.has_ranks() {
            true => Vec::new(),
            false if model.told.is_empty() => model.infer_ranks()?,
            false => {
                let message =
                    "the ONNX model does not say the shape of an output, which depends on what an input holds";
                return Err(Error::new(Code::Unsupported, message));
            }
        };
        model.source.describe_outputs(&found)?;
        Ok(model)
    }

    /// Its bytes, with weights as it runs with them.
    pub fn size_as_run(&self) -> u64 {
        self.weights.iter().map(Weight::widened).fold(self.size, u64::saturating_add)
    }

    /// tract's graph for inputs of these shapes: types and extents known, nothing optimized yet. It has no inputs for those
    /// whose values it was told.
    pub fn typed(&self, shapes: &[Shape], told: &Told) -> TractResult<TypedModel> {
        self.typed_with(shapes, told, true)
    }

    /// The same, where large weights are inputs if they are not to be read.
    fn typed_with(&self, shapes: &[Shape], told: &Told, weighed: bool) -> TractResult<TypedModel> {
        let mut graph = self.graph.clone();
        for (i, (input, shape)) in self.inputs().zip(shapes).enumerate() {
            let extents: TVec<usize> = shape.iter().map(|extent| *extent as usize).collect();
            graph.set_input_fact(i, InferenceFact::dt_shape(datum_type(input.element_type), extents))?;
        }
        for (value, place) in told.iter().zip(&self.told) {
            if value.datum_type() == i64::datum_type()
                && let Some(far) = value.try_as_plain_ram()?.as_slice::<i64>()?.iter().find(|n| is_far(**n))
            {
                let name = self.inputs().nth(*place).map_or_else(String::new, |input| input.quoted().to_string());
                return Err(TractError::msg(format!("input {name} holds {far}, which is no extent")));
            }
        }
        let outlets = graph.input_outlets()?.to_vec();
        let known = |graph: &mut InferenceModel, outlet: OutletId, value: &Arc<Tensor>| -> TractResult<()> {
            let node = graph.node_mut(outlet.node);
            node.op = Box::new(Const::new(value.clone())?);
            node.outputs[0].fact = InferenceFact::try_from(value)?;
            Ok(())
        };
        for (value, place) in told.iter().zip(&self.told) {
            known(&mut graph, outlets[*place], value)?;
        }
        let inputs = outlets.len() - self.weights.len();
        for (weight, outlet) in self.weights.iter().zip(&outlets[inputs..]) {
            match weighed {
                true => known(&mut graph, *outlet, &weight.value()?)?,
                false => graph.set_outlet_fact(*outlet, weight.fact())?,
            }
        }
        let is_known = |place: usize| self.told.contains(&place) || weighed && place >= inputs;
        let left: Vec<_> = (0..outlets.len()).filter(|place| !is_known(*place)).map(|place| outlets[place]).collect();
        graph.set_input_outlets(&left)?;
        let graph = graph.into_typed()?;
        gate::check_typed(&graph, self.outputs())?;
        Ok(graph)
    }

    /// The outputs' shapes for inputs of these shapes; `None` for one that depends on the data, where the model does not
    /// say it.
    pub fn infer(&self, shapes: &[Shape]) -> Result<Vec<Option<Shape>>> {
        let declared = self.outputs().map(|output| Some(output.shape).filter(|shape| !shape.is_dynamic()));
        if !self.told.is_empty() {
            return Ok(declared.collect());
        }
        let infer = |weighed| {
            guard(|| output_shapes(&self.typed_with(shapes, &Told::new(), weighed)?), || self.refuses(shapes))
        };
        // Some operators want to know what they weigh with.
        let found = match self.weights.is_empty() {
            true => infer(true)?,
            false => infer(false).or_else(|_| infer(true))?,
        };
        Ok(found.into_iter().zip(declared).map(|(found, declared)| found.or(declared)).collect())
    }

    /// The ranks of outputs of which the model says nothing, found with extents of a likely size.
    fn infer_ranks(&self) -> Result<Vec<Shape>> {
        let likely = |shape: &Shape| {
            let extents = shape.iter().enumerate().map(|(axis, extent)| match extent {
                ..0 if axis == 0 => 1,
                ..0 => 64,
                extent => *extent,
            });
            Shape::new(&extents.collect::<Vec<_>>())
        };
        let shapes = self.inputs().map(|input| likely(&input.shape)).collect::<Result<Vec<_>>>()?;
        guard(
            || {
                let graph = self.typed(&shapes, &Told::new())?;
                let open = |outlet| Ok(Shape::new(&vec![-1; graph.outlet_fact(outlet)?.rank()])?);
                graph.output_outlets()?.iter().map(|outlet| open(*outlet)).collect()
            },
            || {
                let message = "the ONNX model does not say the shape of an output, and tract does not find it";
                Error::new(Code::Unsupported, message)
            },
        )
    }

    /// The error for shapes that tract cannot run the model on.
    pub fn refuses(&self, shapes: &[Shape]) -> Error {
        let inputs = self.inputs().zip(shapes).map(|(input, shape)| format!("{} {shape}", input.quoted()));
        let inputs = inputs.collect::<Vec<_>>().join(", ");
        match self.only_shapes() {
            Some(_) => Error::new(Code::Unsupported, "the CPU engine (tract) cannot run this ONNX model"),
            None => Error::new(
                Code::Shape,
                format!(
                    "the model does not run with {inputs}: its layers do not fit together, or tract lacks something"
                ),
            ),
        }
    }
}

/// The version of ONNX's own operators.
fn opset(proto: &ModelProto) -> Result<i64> {
    let mut own = proto.opset_import.iter().filter(|import| is_standard(&import.domain)).map(|import| import.version);
    let first = own.next().unwrap_or(1);
    match own.find(|version| *version != first) {
        _ if first < 1 => Err(damaged(format!("its operator set is {first}"))),
        Some(other) => Err(damaged(format!("it names two operator sets, {first} and {other}"))),
        None => Ok(first),
    }
}

fn invalid(data: &[u8]) -> Error {
    // A model begins with its first field, ir_version.
    let message = match data {
        [] => "the ONNX model is empty",
        [0x08, ..] => "the ONNX model is cut short or damaged",
        _ => "these bytes are not an ONNX model",
    };
    Error::new(Code::InvalidModel, message)
}

/// The outputs' shapes of a typed graph; `None` for one that depends on the data.
pub fn output_shapes(graph: &TypedModel) -> TractResult<Vec<Option<Shape>>> {
    let shape = |outlet| {
        let fact = graph.outlet_fact(outlet)?;
        let Some(extents) = fact.shape.as_concrete() else { return Ok(None) };
        let extents: Vec<_> = extents.iter().map(|extent| *extent as i64).collect();
        Ok(Some(Shape::new(&extents)?))
    };
    graph.output_outlets()?.iter().map(|outlet| shape(*outlet)).collect()
}

/// The type in which the model runs what it declares as `element_type`: see [`widen`].
pub fn run_type(element_type: ElementType) -> ElementType {
    match element_type {
        ElementType::Float16 | ElementType::BFloat16 => ElementType::Float32,
        other => other,
    }
}

/// tract's name for the type in which the model runs what it declares as `element_type`.
pub fn datum_type(element_type: ElementType) -> DatumType {
    match element_type {
        ElementType::Float32 | ElementType::Float16 | ElementType::BFloat16 => DatumType::F32,
        ElementType::Int8 => DatumType::I8,
        ElementType::Uint8 => DatumType::U8,
        ElementType::Int32 => DatumType::I32,
        ElementType::Int64 => DatumType::I64,
        ElementType::Bool => DatumType::Bool,
        ElementType::Int16 => DatumType::I16,
        ElementType::Uint16 => DatumType::U16,
        ElementType::Float64 => DatumType::F64,
    }
}

/// One extent as the model declares it.
#[derive(PartialEq)]
enum Declare {
    Fixed(i64),
    Named(String),
    Open,
}

/// An input or output as the model declares it.
struct Declared {
    name: String,
    role: &'static str,
    element_type: i32,
    /// `None` if not even the rank is said.
    extents: Option<Vec<Declare>>,
}

impl Declared {
    fn read(value: &ValueInfoProto, role: &'static str) -> Result<Self> {
        let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
            return Err(Error::new(
                Code::Unsupported,
                format!("{role} {} of the ONNX model is no tensor, or its type is not said", quoted(&value.name)),
            ));
        };
        let extents = tensor.shape.as_ref().map(|shape| {
            let extents = shape.dim.iter().map(|dim| match &dim.value {
                // Some writers put 0 or -1 for an extent that they do not know.
                Some(Extent::DimValue(extent @ 1..)) => Declare::Fixed(*extent),
                Some(Extent::DimParam(name)) if !name.is_empty() && name != "?" => Declare::Named(name.clone()),
                _ => Declare::Open,
            });
            extents.collect()
        });
        Ok(Self { name: value.name.clone(), role, element_type: tensor.elem_type, extents })
    }

    fn element_type(&self) -> Result<ElementType> {
        let data_type = DataType::try_from(self.element_type);
        Ok(match data_type {
            Ok(DataType::Float) => ElementType::Float32,
            Ok(DataType::Float16) => ElementType::Float16,
            Ok(DataType::Bfloat16) => ElementType::BFloat16,
            Ok(DataType::Int8) => ElementType::Int8,
            Ok(DataType::Uint8) => ElementType::Uint8,
            Ok(DataType::Int32) => ElementType::Int32,
            Ok(DataType::Int64) => ElementType::Int64,
            Ok(DataType::Bool) => ElementType::Bool,
            Ok(DataType::Int16) => ElementType::Int16,
            Ok(DataType::Uint16) => ElementType::Uint16,
            Ok(DataType::Double) => ElementType::Float64,
            _ => {
                let kind = data_type.map_or(format!("type {}", self.element_type), |t| t.as_str_name().to_lowercase());
                return Err(Error::new(
                    Code::Unsupported,
                    format!(
                        "{} {} has elements of {kind}, which the CPU engine does not take",
                        self.role,
                        quoted(&self.name)
                    ),
                ));
            }
        })
    }

    fn shape(&self) -> Result<Option<Shape>> {
        let Some(extents) = &self.extents else { return Ok(None) };
        let extents: Vec<_> = extents.iter().map(|e| if let Declare::Fixed(n) = e { *n } else { -1 }).collect();
        Shape::new(&extents).map(Some).map_err(|e| {
            Error::new(Code::Unsupported, e.message()).within(format_args!("{} {}", self.role, quoted(&self.name)))
        })
    }

    fn dimension_names(&self) -> Result<Vec<Option<CString>>> {
        self.symbols().iter().map(|name| name.as_deref().map(c_string).transpose()).collect()
    }

    fn symbols(&self) -> Vec<Option<String>> {
        let name = |extent: &Declare| match extent {
            Declare::Named(name) => Some(name.clone()),
            _ => None,
        };
        self.extents.iter().flatten().map(name).collect()
    }
}

/// Whether the model may be run item by item: the leading extent of all inputs and outputs is open, no other axis is
/// called the same, and items are independent of one another (`batch`). If not, why.
fn batched(
    graph: &GraphProto,
    inputs: &[Declared],
    outputs: &[Declared],
    opset: i64,
) -> std::result::Result<(), String> {
    let mut ranks = Vec::new();
    for tensor in inputs.iter().chain(outputs) {
        match tensor.extents.as_deref() {
            Some([Declare::Named(name), rest @ ..]) => {
                let same = |extent: &Declare| matches!(extent, Declare::Named(other) if other == name);
                if rest.iter().any(same) {
                    return Err(format!("{} has the extent {} twice", quoted(&tensor.name), quoted(name)));
                }
                ranks.push((tensor.name.as_str(), 1 + rest.len()));
            }
            Some([Declare::Open, rest @ ..]) => ranks.push((tensor.name.as_str(), 1 + rest.len())),
            // The rank of an output is found later.
            None if tensor.role == "output" => {}
            _ => return Err(format!("the leading extent of {} is not open", quoted(&tensor.name))),
        }
    }
    ranks.truncate(inputs.len());
    batch::check(graph, &ranks, opset)
}

/// Whether the model calls the leading extent of all inputs the same, so that they have one batch in every run.
fn one_batch(inputs: &[Declared]) -> bool {
    let first = |input: &Declared| match input.extents.as_deref() {
        Some([Declare::Named(name), ..]) => Some(name.clone()),
        _ => None,
    };
    let names: Vec<_> = inputs.iter().map(first).collect();
    names.len() == 1 || names.iter().all(|name| name.is_some() && *name == names[0])
}

/// Gives names of their own to nodes that are called like another or like a tensor: ONNX allows it, tract does not.
fn name_apart(graph: &mut GraphProto) {
    let tensors =
        graph.input.iter().map(|input| &input.name).chain(graph.initializer.iter().map(|tensor| &tensor.name));
    let mut taken: HashSet<String> = tensors.cloned().collect();
    for node in &mut graph.node {
        if !node.name.is_empty() && !taken.insert(node.name.clone()) {
            // An output's name is its own.
            node.name = format!("{} of {}", node.name, node.output.first().map_or("nothing", String::as_str));
            taken.insert(node.name.clone());
        }
    }
}

/// Leaves out a padding's constant where the mode has no use for it, since tract would pad with it all the same, and says
/// what a ConstantOfShape is filled with where nothing is said: tract takes a float64.
fn spell_out(graph: &mut GraphProto) {
    for node in &mut graph.node {
        let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
        match node.op_type.as_str() {
            "Pad" if attribute("mode").is_some_and(|mode| mode.s != b"constant") => {
                node.input.get_mut(2).into_iter().for_each(String::clear);
            }
            "ConstantOfShape" if attribute("value").is_none() => {
                let zero = TensorProto {
                    data_type: DataType::Float as i32,
                    dims: vec![1],
                    float_data: vec![0.0],
                    ..TensorProto::default()
                };
                node.attribute.push(AttributeProto {
                    name: "value".to_owned(),
                    r#type: AttributeType::Tensor as i32,
                    t: Some(zero),
                    ..AttributeProto::default()
                });
            }
            _ => {}
        }
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(spell_out);
        }
    }
}

/// What tract would panic at, ignore or say less well.
fn check(graph: &GraphProto) -> Result<()> {
    check_graph(graph)?;
    match graph.output.is_empty() {
        true => Err(Error::new(Code::InvalidModel, "the ONNX model has no output")),
        false => Ok(()),
    }
}

fn check_graph(graph: &GraphProto) -> Result<()> {
    let mut produced = HashSet::new();
    if let Some(twice) = graph.initializer.iter().find(|tensor| !produced.insert(tensor.name.as_str())) {
        return Err(damaged(format!("two of its weights are called {}", quoted(&twice.name))));
    }
    let mut outputs = HashSet::new();
    if let Some(twice) = graph.output.iter().find(|output| !outputs.insert(output.name.as_str())) {
        return Err(damaged(format!("two of its outputs are called {}", quoted(&twice.name))));
    }
    let mut inputs = HashSet::new();
    if let Some(twice) = graph.input.iter().find(|input| !inputs.insert(input.name.as_str())) {
        return Err(damaged(format!("two of its inputs are called {}", quoted(&twice.name))));
    }
    produced.extend(inputs);
    for tensor in &graph.initializer {
        check_tensor(tensor, &tensor.name)?;
    }
    if let Some(values) = graph.sparse_initializer.first().and_then(|sparse| sparse.values.as_ref()) {
        return Err(Error::new(
            Code::Unsupported,
            format!("weight {} is sparse, which the CPU engine does not take", quoted(&values.name)),
        ));
    }
    for node in &graph.node {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !produced.insert(output) {
                return Err(damaged(format!("two of its nodes produce {}", quoted(output))));
            }
        }
        // Only a Loop may be without its first input; tract would take the second for it.
        if node.input.first().is_some_and(String::is_empty) && node.op_type != "Loop" {
            return Err(damaged(format!("{} lacks its first input", title(node))));
        }
        let mut named = HashSet::new();
        if let Some(twice) = node.attribute.iter().find(|attribute| !named.insert(attribute.name.as_str())) {
            return Err(damaged(format!("{} has its attribute {} twice", title(node), quoted(&twice.name))));
        }
        check_window(node, graph)?;
        for attribute in &node.attribute {
            for tensor in attribute.t.iter().chain(&attribute.tensors) {
                check_tensor(tensor, &node.name)?;
            }
            for graph in attribute.g.iter().chain(&attribute.graphs) {
                check_graph(graph)?;
            }
        }
    }
    if let Some(output) = graph.output.iter().find(|output| !produced.contains(output.name.as_str())) {
        return Err(damaged(format!("nothing in it produces its output {}", quoted(&output.name))));
    }
    match order::circle(graph) {
        Some(node) => Err(damaged(format!("{} needs its own result", title(node)))),
        None => Ok(()),
    }
}

fn damaged(how: String) -> Error {
    Error::new(Code::InvalidModel, format!("the ONNX model is damaged: {how}"))
}

/// A convolution's or pooling's attributes, which tract indexes by the axes of the kernel.
fn check_window(node: &NodeProto, graph: &GraphProto) -> Result<()> {
    if !matches!(
        node.op_type.as_str(),
        "Conv" | "ConvTranspose" | "ConvInteger" | "QLinearConv" | "MaxPool" | "AveragePool"
    ) {
        return Ok(());
    }
    let given = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.ints.len());
    let place = if node.op_type == "QLinearConv" { 3 } else { 1 };
    let weight = node.input.get(place).and_then(|name| graph.initializer.iter().find(|tensor| tensor.name == *name));
    let Some(axes) = given("kernel_shape").or(weight.map(|tensor| tensor.dims.len().saturating_sub(2))) else {
        return Ok(());
    };
    let wanted = [("strides", axes), ("dilations", axes), ("pads", 2 * axes), ("output_padding", axes)];
    match wanted.into_iter().find(|(name, count)| given(name).is_some_and(|given| given != *count)) {
        None => Ok(()),
        Some((name, count)) => Err(Error::new(
            Code::InvalidModel,
            format!(
                "the ONNX model is damaged: {} of node {} should have {count} numbers",
                quoted(name),
                quoted(&node.name)
            ),
        )),
    }
}

fn check_tensor(tensor: &TensorProto, name: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::new(Code::Unsupported, format!("weight {} {why}", quoted(name))));
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Undefined | DataType::Complex64 | DataType::Complex128) | Err(_) => {
            refuse("has elements of a type that the CPU engine does not know")
        }
        Ok(DataType::String) if !tensor.raw_data.is_empty() => refuse("has strings as raw data"),
        Ok(_) => holds::check(tensor).map_err(|why| damaged(format!("weight {} {why}", quoted(name)))),
    }
}

fn parse(onnx: &Onnx, proto: &ModelProto) -> Result<InferenceModel> {
    let parsed = guard(
        || onnx.parse(proto, None),
        || Error::new(Code::Unsupported, "the CPU engine (tract) does not understand this ONNX model"),
    )?;
    match parsed.unresolved_inputs.first() {
        Some(name) => Err(Error::new(
            Code::InvalidModel,
            format!("the ONNX model is damaged: a node reads {}, which nothing produces", quoted(name)),
        )),
        None => Ok(parsed.model),
    }
}

/// The nodes, in the form of TensorRT's engine inspector.
fn layers_json(graph: &GraphProto) -> String {
    let layer = |node: &NodeProto| json!({ "Name": node.name, "LayerType": node.op_type, "Inputs": node.input, "Outputs": node.output });
    json!({ "Layers": graph.node.iter().map(layer).collect::<Vec<_>>() }).to_string()
}

/// What an ONNX file says of itself beside its graph.
fn metadata(model: &ModelProto, graph: &GraphProto) -> Value {
    let properties = model.metadata_props.iter().map(|entry| (entry.key.clone(), Value::from(entry.value.clone())));
    json!({
        "format": "onnx",
        "name": graph.name,
        "ir_version": model.ir_version,
        "opsets": model
            .opset_import
            .iter()
            .map(|opset| json!({ "domain": opset.domain, "version": opset.version }))
            .collect::<Vec<_>>(),
        "producer_name": model.producer_name,
        "producer_version": model.producer_version,
        "domain": model.domain,
        "model_version": model.model_version,
        "description": model.doc_string,
        "properties": properties.collect::<serde_json::Map<_, _>>(),
    })
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text)
        .map_err(|_| Error::new(Code::InvalidModel, "the ONNX model is damaged: a name in it has a zero byte"))
}
