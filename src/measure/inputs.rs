//! The inputs of a measurement: their shapes as they are given, or likely ones; their elements are made up.

use crate::engine::{Backend, Description, MemoryKind, Role, TensorInfo, given_twice};
use crate::error::{Code, Error, Result};
use crate::tensor::{ElementType, Shape};
use half::{bf16, f16};

/// What is said of one input.
pub struct Given<'a> {
    pub name: &'a str,
    pub shape: Shape,
}

/// One input, complete.
pub struct Input {
    pub tensor: usize,
    pub shape: Shape,
    pub bytes: Vec<u8>,
}

/// All inputs of a model: what is not given has its profile's best shape, or the one that it has with a batch of one.
pub fn complete(description: &Description, given: &[Given<'_>]) -> Result<Vec<Input>> {
    for (number, one) in given.iter().enumerate() {
        if given[..number].iter().any(|other| other.name == one.name) {
            return Err(given_twice(one.name));
        }
        let tensor = description.find(one.name)?;
        let info = &description.tensors[tensor];
        if info.role != Role::Input {
            return Err(Error::new(Code::InvalidArgument, format!("{} is no input", info.quoted())));
        }
        description.check_shape(tensor, &one.shape)?;
    }
    let one = |tensor: usize| {
        let info = &description.tensors[tensor];
        let given = given.iter().find(|given| given.name == info.name());
        let shape = match given {
            Some(given) => given.shape,
            None => likely(description, tensor)?,
        };
        let size = shape.bytes(info.element_type)?;
        Ok(Input { tensor, shape, bytes: made_up(info, size, description.backend)? })
    };
    description.indexes(Role::Input).map(one).collect()
}

fn likely(description: &Description, tensor: usize) -> Result<Shape> {
    let info = &description.tensors[tensor];
    let best = description.profiles.first().and_then(|profile| profile[tensor]).map(|bounds| bounds.opt);
    let single = info.shape.first().map(|_| info.shape.with_first(1));
    match (info.shape.is_dynamic(), best, single) {
        (false, ..) => Ok(info.shape),
        (true, Some(best), _) => Ok(best),
        (true, None, Some(single)) if !single.is_dynamic() => Ok(single),
        _ => Err(Error::new(
            Code::Shape,
            format!("{} is {} in the model, where -1 is open: say its shape", info.quoted(), info.shape),
        )),
    }
}

/// Numbers from -1 to 1, the same each time; zeros where the model counts or asks.
fn made_up(info: &TensorInfo, size: usize, backend: Backend) -> Result<Vec<u8>> {
    if backend == Backend::TensorRt && info.memory_kind != MemoryKind::Device {
        let message = format!("{} is a shape itself, for which nothing can be made up", info.quoted());
        return Err(Error::new(Code::Unsupported, message));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| {
        Error::new(Code::OutOfMemory, format!("the host has no memory for the {size} bytes of {}", info.quoted()))
    })?;
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut number = || {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    while bytes.len() < size {
        match info.element_type {
            ElementType::Float32 => bytes.extend(number().to_le_bytes()),
            ElementType::Float16 => bytes.extend(f16::from_f32(number()).to_le_bytes()),
            ElementType::BFloat16 => bytes.extend(bf16::from_f32(number()).to_le_bytes()),
            _ => bytes.push(0),
        }
    }
    Ok(bytes)
}
