//! What contexts keep of tensors in host memory, whichever engine runs them: shapes as set, memory as bound.

use crate::engine::{Description, Role, TensorInfo};
use crate::error::{Code, Error, Result};
use crate::tensor::{HostTensor, Shape, converts};
use std::ffi::c_void;
use std::ptr::with_exposed_provenance_mut;

pub struct HostTensors {
    /// For each tensor; always `None` for outputs.
    shapes: Vec<Option<Shape>>,
    bindings: Vec<Option<Binding>>,
}

/// An address as a number: a context may go from thread to thread.
#[derive(Clone, Copy)]
struct Binding {
    address: usize,
    bytes: usize,
}

impl HostTensors {
    /// Nothing bound, and the shapes that the model fixes.
    pub fn new(description: &Description) -> Self {
        let tensors = &description.tensors;
        let fixed = |t: &TensorInfo| (t.role == Role::Input && !t.shape.is_dynamic()).then_some(t.shape);
        Self { shapes: tensors.iter().map(fixed).collect(), bindings: vec![None; tensors.len()] }
    }

    /// Sets an input's shape; whether it is another than before.
    pub fn set_shape(&mut self, description: &Description, tensor: usize, shape: &Shape) -> Result<bool> {
        description.check_shape_of_run(tensor, shape)?;
        Ok(self.shapes[tensor].replace(*shape) != Some(*shape))
    }

    /// The shape of an input.
    pub fn shape(&self, description: &Description, tensor: usize) -> Result<Shape> {
        self.shapes[tensor].ok_or_else(|| {
            let info = &description.tensors[tensor];
            Error::new(Code::Shape, format!("the shape of input {} {} is not set", info.quoted(), info.shape))
        })
    }

    /// The shapes of all inputs.
    pub fn input_shapes(&self, description: &Description) -> Result<Vec<Shape>> {
        description.indexes(Role::Input).map(|tensor| self.shape(description, tensor)).collect()
    }

    pub fn bind(&mut self, tensor: usize, address: *mut c_void, bytes: usize) {
        self.bindings[tensor] = Some(Binding { address: address.expose_provenance(), bytes });
    }

    /// What is bound to each tensor.
    pub fn bound_views(&self, description: &Description) -> Result<Vec<HostTensor>> {
        let mut views = Vec::with_capacity(self.bindings.len());
        for (tensor, binding) in self.bindings.iter().enumerate() {
            let info = &description.tensors[tensor];
            let Some(Binding { address, bytes }) = *binding else {
                return Err(Error::new(Code::InvalidArgument, format!("no memory is bound to {}", info.quoted())));
            };
            let data = with_exposed_provenance_mut(address);
            let shape = self.shapes[tensor].unwrap_or(info.shape);
            views.push(HostTensor { tensor, data, size: bytes, element_type: info.element_type, shape });
        }
        Ok(views)
    }
}

/// One view for each input, in the model's order.
pub fn in_order(description: &Description, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
    let view = |tensor: usize| {
        let view = inputs.iter().find(|view| view.tensor == tensor).copied();
        view.ok_or_else(|| {
            let message = format!("input {} is missing", description.tensors[tensor].quoted());
            Error::new(Code::InvalidArgument, message)
        })
    };
    description.indexes(Role::Input).map(view).collect()
}

/// Holds a view against the model's tensor with that shape.
pub fn check_view(info: &TensorInfo, view: &HostTensor, shape: &Shape) -> Result<()> {
    if !converts(view.element_type, info.element_type) {
        return Err(Error::new(
            Code::InvalidArgument,
            format!("{} is {} and does not convert to or from {}", info.quoted(), info.element_type, view.element_type),
        ));
    }
    let needed = shape.bytes(view.element_type)?;
    if view.size < needed {
        return Err(Error::new(
            Code::BufferTooSmall,
            format!(
                "{} with shape {shape} of {} needs {needed} bytes, {} were given",
                info.quoted(),
                view.element_type,
                view.size
            ),
        ));
    }
    Ok(())
}

/// An ONNX model on the CPU has no profiles.
pub fn check_profile(profile: Option<usize>) -> Result<()> {
    match profile {
        None => Ok(()),
        Some(profile) => Err(Error::new(
            Code::InvalidArgument,
            format!("there is no profile {profile}: an ONNX model on the CPU has none and takes any shape"),
        )),
    }
}

/// The error for an output whose shape the inputs' do not tell.
pub fn depends_on_data(info: &TensorInfo) -> Error {
    let name = info.quoted();
    Error::new(Code::Unsupported, format!("the shape of output {name} depends on the data, not on shapes alone"))
}
