//! What a model says of itself, whichever backend runs it, and the checks that follow from it.

use crate::error::{Code, Error, Result};
use crate::quote::quoted;
use crate::tensor::{ElementType, Shape, converts};
use std::ffi::CString;
use std::fmt;

pub use crate::tensor::MemoryKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Role {
    Input = 1,
    Output = 2,
}

/// The engine that runs a model, as the C interface numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Backend {
    TensorRt = 1,
    Cpu = 2,
    OpenVino = 3,
}

impl Backend {
    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::TensorRt => "TensorRT",
            Self::Cpu => "the CPU engine",
            Self::OpenVino => "OpenVINO",
        }
    }
}

/// A number that TensorRT knows of a plan, as the C interface numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Statistic {
    WeightsSize = 1,
    StrippedWeightsSize = 2,
    StreamableWeightsSize = 3,
    WeightStreamingBudget = 4,
    AuxStreams = 5,
}

impl Statistic {
    pub fn from_code(code: i32) -> Option<Self> {
        use Statistic::{AuxStreams, StreamableWeightsSize, StrippedWeightsSize, WeightStreamingBudget, WeightsSize};
        [WeightsSize, StrippedWeightsSize, StreamableWeightsSize, WeightStreamingBudget, AuxStreams]
            .into_iter()
            .find(|statistic| *statistic as i32 == code)
    }
}

#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// UTF-8; a C string because the C interface lends it out.
    pub name: CString,
    pub role: Role,
    pub element_type: ElementType,
    /// Where an address bound to it must lie.
    pub memory_kind: MemoryKind,
    /// -1 where the model leaves an extent open.
    pub shape: Shape,
}

impl TensorInfo {
    pub fn name(&self) -> &str {
        self.name.to_str().unwrap_or("?")
    }

    /// The name as messages have it.
    pub fn quoted(&self) -> impl fmt::Display {
        quoted(self.name())
    }
}

/// One input's range under one optimization profile.
#[derive(Clone, Copy, Debug)]
pub struct ProfileShape {
    pub min: Shape,
    pub opt: Shape,
    pub max: Shape,
}

impl ProfileShape {
    fn admits(&self, shape: &Shape) -> bool {
        shape.len() == self.min.len() && (0..shape.len()).all(|i| (self.min[i]..=self.max[i]).contains(&shape[i]))
    }

    /// How many elements per axis the shape lies outside, summed: 0 inside.
    fn distance(&self, shape: &Shape) -> i64 {
        (0..shape.len())
            .map(|i| self.min[i].saturating_sub(shape[i]).max(shape[i].saturating_sub(self.max[i])).max(0))
            .fold(0, i64::saturating_add)
    }
}

/// What a model says of itself.
#[derive(Clone, Debug)]
pub struct Description {
    pub backend: Backend,
    pub name: CString,
    /// The device it runs on, for people.
    pub device_name: CString,
    /// Inputs first, then outputs, each in the model's order.
    pub tensors: Vec<TensorInfo>,
    /// For each profile the range of each tensor in `tensors`, `None` for outputs. Empty where there are no profiles.
    pub profiles: Vec<Vec<Option<ProfileShape>>>,
    /// Bytes of device memory that one context needs besides its inputs and outputs.
    pub device_memory_size: usize,
    /// The [`fingerprint`](crate::model::fingerprint) of the file.
    pub fingerprint: u64,
}

impl Description {
    /// The index of the tensor of that name.
    pub fn find(&self, name: &str) -> Result<usize> {
        self.tensors.iter().position(|t| t.name() == name).ok_or_else(|| {
            /// More are of no use to a reader.
            const MOST: usize = 16;
            let mut names: Vec<_> = self.tensors.iter().take(MOST).map(|t| t.quoted().to_string()).collect();
            if let more @ 1.. = self.tensors.len().saturating_sub(MOST) {
                names.push(format!("and {more} more"));
            }
            let name = quoted(name);
            Error::new(Code::NotFound, format!("the model has no tensor {name}; it has {}", names.join(", ")))
        })
    }

    /// The index of the output of that name, which an input may have as well.
    pub fn find_output(&self, name: &str) -> Result<usize> {
        let own = self.indexes(Role::Output).find(|tensor| self.tensors[*tensor].name() == name);
        let tensor = own.map_or_else(|| self.find(name), Ok)?;
        let info = &self.tensors[tensor];
        match info.role {
            Role::Output => Ok(tensor),
            Role::Input => Err(Error::new(Code::InvalidArgument, format!("{} is no output", info.quoted()))),
        }
    }

    /// The index of a tensor that a caller gives memory for: it has that role, and the elements convert.
    pub fn find_for(&self, name: &str, role: Role, element_type: ElementType, is_null: bool) -> Result<usize> {
        let invalid = |message: String| Err(Error::new(Code::InvalidArgument, message));
        // An output may be an input, under the same name.
        let own = self.indexes(role).find(|tensor| self.tensors[*tensor].name() == name);
        let tensor = own.map_or_else(|| self.find(name), Ok)?;
        let info = &self.tensors[tensor];
        let name = quoted(name);
        if info.role != role {
            let (is, given_as) = if role == Role::Input { ("output", "inputs") } else { ("input", "outputs") };
            return invalid(format!("{name} is an {is} and was given among the {given_as}"));
        }
        let (from, to) = match role {
            Role::Input => (element_type, info.element_type),
            Role::Output => (info.element_type, element_type),
        };
        if !converts(from, to) {
            return invalid(format!(
                "{name} holds {}, the memory given is {element_type}; planrt converts between float32 and the 16-bit floats, and \
                 int16, uint16 and float64 to these and back",
                info.element_type
            ));
        }
        if is_null {
            return invalid(format!("the data of {name} is null"));
        }
        Ok(tensor)
    }

    pub fn indexes(&self, role: Role) -> impl Iterator<Item = usize> + '_ {
        (0..self.tensors.len()).filter(move |i| self.tensors[*i].role == role)
    }

    /// Holds a shape for an input against the model: rank, fixed extents, and that some profile admits it.
    pub fn check_shape(&self, tensor: usize, shape: &Shape) -> Result<()> {
        self.check_shape_from(1, tensor, shape)
    }

    /// The same for a context: an ONNX model runs on nothing as well, as a batch of no items.
    pub fn check_shape_of_run(&self, tensor: usize, shape: &Shape) -> Result<()> {
        self.check_shape_from(if self.backend == Backend::TensorRt { 1 } else { 0 }, tensor, shape)
    }

    fn check_shape_from(&self, least: i64, tensor: usize, shape: &Shape) -> Result<()> {
        let info = &self.tensors[tensor];
        let name = info.quoted();
        if info.role != Role::Input {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("{name} is an output: its shape follows from the inputs' and is not set"),
            ));
        }
        if shape.len() != info.shape.len() {
            return Err(Error::new(
                Code::Shape,
                format!(
                    "input {name} has {} dimensions {}, the shape given has {} {shape}",
                    info.shape.len(),
                    info.shape,
                    shape.len()
                ),
            ));
        }
        for (axis, (given, model)) in shape.iter().zip(info.shape.iter()).enumerate() {
            if *given < least || (*model >= 0 && given != model) {
                let wanted = if *model >= 0 { format!("{model}") } else { format!("at least {least}") };
                return Err(Error::new(
                    Code::Shape,
                    format!(
                        "input {name}: dimension {axis} of {shape} is {given}, the model {} takes {wanted}",
                        info.shape
                    ),
                ));
            }
        }
        if self.profiles.is_empty() || self.profiles.iter().any(|p| p[tensor].is_none_or(|r| r.admits(shape))) {
            return Ok(());
        }
        let nearest = self
            .profiles
            .iter()
            .enumerate()
            .filter_map(|(i, p)| p[tensor].map(|range| (range.distance(shape), i, range)))
            .min_by_key(|(distance, i, _)| (*distance, *i));
        Err(Error::new(
            Code::Shape,
            match nearest {
                Some((_, i, range)) => format!(
                    "input {name}: shape {shape} is outside every profile; the nearest is profile {i}, from {} to {}",
                    range.min, range.max
                ),
                None => format!("input {name}: shape {shape} is outside every profile"),
            },
        ))
    }

    /// The ranges of one profile, for a number as the C interface takes it.
    pub fn profile(&self, number: i32) -> Result<&[Option<ProfileShape>]> {
        usize::try_from(number).ok().and_then(|i| self.profiles.get(i)).map(Vec::as_slice).ok_or_else(|| {
            Error::new(
                Code::InvalidArgument,
                match self.profiles.len() {
                    0 => {
                        format!("there is no profile {number}: this engine has none and takes every shape of the model")
                    }
                    count => format!("there is no profile {number}: the engine has {count}, from 0 on"),
                },
            )
        })
    }

    /// Whether one profile admits a shape for each of the inputs given.
    pub fn profile_admits(&self, profile: usize, shapes: &[Option<Shape>]) -> bool {
        self.profiles[profile].iter().zip(shapes).all(|(range, shape)| match (range, shape) {
            (Some(range), Some(shape)) => range.admits(shape),
            _ => true,
        })
    }
}

/// Holds two engines against each other that shall run the requests of one session: they have to be of one model.
pub fn check_same_model(first: &Description, other: &Description) -> Result<()> {
    let alike = first.tensors.len() == other.tensors.len()
        && first
            .tensors
            .iter()
            .zip(&other.tensors)
            .all(|(a, b)| (&a.name, a.role, a.element_type, a.shape) == (&b.name, b.role, b.element_type, b.shape));
    let differ = |what: &str| {
        let message = format!("the engines of a session are one model on several devices; these differ in {what}");
        Err(Error::new(Code::InvalidArgument, message))
    };
    let name = |description: &Description| description.device_name.to_string_lossy().into_owned();
    if !alike {
        differ("their inputs or outputs")
    } else if first.backend != other.backend {
        differ(&format!(
            "what runs them, {} and {}, which give slightly different results",
            first.backend.title(),
            other.backend.title()
        ))
    } else if first.fingerprint == other.fingerprint {
        Ok(())
    } else if first.backend != Backend::TensorRt {
        differ("their bytes; load the same ONNX file for each")
    } else if first.device_name == other.device_name {
        differ(&format!("their bytes, for devices of one kind, {}; load the same plan on each", name(first)))
    } else if first.name != other.name {
        // A plan for another kind of GPU has other bytes anyway.
        differ(&format!(
            "the network's name: {:?} on {} and {:?} on {}",
            first.name,
            name(first),
            other.name,
            name(other)
        ))
    } else {
        Ok(())
    }
}

pub fn given_twice(name: &str) -> Error {
    Error::new(Code::InvalidArgument, format!("{} was given twice", quoted(name)))
}

pub fn missing_input(info: &TensorInfo) -> Error {
    Error::new(Code::InvalidArgument, format!("input {} is missing: a run needs every input", info.quoted()))
}

/// Memory of `given` bytes for a tensor that takes `needed`.
pub fn too_small(info: &TensorInfo, shape: &Shape, element_type: ElementType, needed: usize, given: usize) -> Error {
    Error::new(
        Code::BufferTooSmall,
        format!(
            "{} of shape {shape} takes {needed} bytes as {element_type}; the memory given has {given}",
            info.quoted()
        ),
    )
}
