//! `planrt_tensor`, and the types that tensors are described with.

use super::argument::{Argument, Call};
use super::structs::{Extensible, Structs};
use crate::backend::job::CallerMemory;
use crate::context::NamedTensor;
use crate::engine::{MemoryKind, Role};
use crate::error::{Code, Error, Result};
use crate::quote::quoted;
use crate::schedule::Tensor;
use crate::tensor::{ElementType, Shape};
use std::ffi::{c_char, c_void};

/// The most dimensions a tensor has.
pub const PLANRT_MAX_RANK: usize = 8;
const _: () = assert!(PLANRT_MAX_RANK == crate::tensor::MAX_RANK);

/// The type of one element of a tensor: one of the constants below, from `PLANRT_FLOAT32` on.
#[allow(non_camel_case_types)]
pub type planrt_element_type = i32;

/// IEEE 754 binary32.
pub const PLANRT_FLOAT32: planrt_element_type = 1;
/// IEEE 754 binary16.
pub const PLANRT_FLOAT16: planrt_element_type = 2;
/// The upper half of a binary32.
pub const PLANRT_BFLOAT16: planrt_element_type = 3;
/// Signed, 8 bits.
pub const PLANRT_INT8: planrt_element_type = 4;
/// Unsigned, 8 bits.
pub const PLANRT_UINT8: planrt_element_type = 5;
/// Signed, 32 bits.
pub const PLANRT_INT32: planrt_element_type = 6;
/// Signed, 64 bits.
pub const PLANRT_INT64: planrt_element_type = 7;
/// One byte, 0 or 1.
pub const PLANRT_BOOL: planrt_element_type = 8;
/// Signed, 16 bits, as CT has it. Of host memory, which planrt converts, and of models on the CPU.
pub const PLANRT_INT16: planrt_element_type = 9;
/// Unsigned, 16 bits. Of host memory and of models on the CPU.
pub const PLANRT_UINT16: planrt_element_type = 10;
/// IEEE 754 binary64. Of host memory and of models on the CPU.
pub const PLANRT_FLOAT64: planrt_element_type = 11;

/// Whether a tensor is read or written: `PLANRT_INPUT` or `PLANRT_OUTPUT`.
#[allow(non_camel_case_types)]
pub type planrt_tensor_role = i32;

/// The model reads it.
pub const PLANRT_INPUT: planrt_tensor_role = 1;
/// The model writes it.
pub const PLANRT_OUTPUT: planrt_tensor_role = 2;

/// Where memory lies: one of the `PLANRT_MEMORY_` constants.
#[allow(non_camel_case_types)]
pub type planrt_memory_kind = i32;

/// Ordinary host memory.
pub const PLANRT_MEMORY_HOST: planrt_memory_kind = 1;
/// Page-locked host memory, which the GPU copies from and to directly.
pub const PLANRT_MEMORY_PINNED: planrt_memory_kind = 2;
/// Memory on the CUDA device.
pub const PLANRT_MEMORY_DEVICE: planrt_memory_kind = 3;

const _: () = assert!(
    PLANRT_FLOAT32 == ElementType::Float32 as i32
        && PLANRT_FLOAT16 == ElementType::Float16 as i32
        && PLANRT_BFLOAT16 == ElementType::BFloat16 as i32
        && PLANRT_INT8 == ElementType::Int8 as i32
        && PLANRT_UINT8 == ElementType::Uint8 as i32
        && PLANRT_INT32 == ElementType::Int32 as i32
        && PLANRT_INT64 == ElementType::Int64 as i32
        && PLANRT_BOOL == ElementType::Bool as i32
        && PLANRT_INT16 == ElementType::Int16 as i32
        && PLANRT_UINT16 == ElementType::Uint16 as i32
        && PLANRT_FLOAT64 == ElementType::Float64 as i32
        && PLANRT_INPUT == Role::Input as i32
        && PLANRT_OUTPUT == Role::Output as i32
        && PLANRT_MEMORY_HOST == MemoryKind::Host as i32
        && PLANRT_MEMORY_PINNED == MemoryKind::Pinned as i32
        && PLANRT_MEMORY_DEVICE == MemoryKind::Device as i32
);

/// The name of an element type, "float32", for people; it lives as long as the process. Null for an unknown constant.
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn planrt_element_type_get_name(element_type: planrt_element_type) -> *const c_char {
    ElementType::from_code(element_type).map_or(std::ptr::null(), |t| t.name().as_ptr())
}

/// Bytes of one element; 0 for an unknown constant. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn planrt_element_type_get_size(element_type: planrt_element_type) -> usize {
    ElementType::from_code(element_type).map_or(0, ElementType::size)
}

pub(super) fn element_type(code: planrt_element_type) -> Result<ElementType> {
    ElementType::from_code(code).ok_or_else(|| {
        Error::new(
            Code::InvalidArgument,
            format!("{code} is no element type; take a constant such as PLANRT_FLOAT32 ({PLANRT_FLOAT32})"),
        )
    })
}

pub(super) fn memory_kind(code: planrt_memory_kind) -> Result<MemoryKind> {
    MemoryKind::from_code(code).ok_or_else(|| {
        Error::new(Code::InvalidArgument, format!("{code} is no kind of memory; take a PLANRT_MEMORY_ constant"))
    })
}

/// Extents as the C structs hold them.
pub(super) fn extents(shape: &Shape) -> [i64; PLANRT_MAX_RANK] {
    let mut extents = [0; PLANRT_MAX_RANK];
    extents[..shape.len()].copy_from_slice(shape);
    extents
}

/// What a rank says of an array of extents: how many to read. Of no use where it is not good.
pub(super) fn extent_count(rank: i32) -> usize {
    usize::try_from(rank).map_or(0, |rank| rank.min(PLANRT_MAX_RANK))
}

pub(super) fn check_rank(rank: i32) -> Result<()> {
    match usize::try_from(rank) {
        Ok(0..=PLANRT_MAX_RANK) => Ok(()),
        _ => Err(Error::new(
            Code::InvalidArgument,
            format!("a rank of {rank}; tensors have 0 to {PLANRT_MAX_RANK} dimensions"),
        )),
    }
}

/// An input or output with the memory that the application lends for it: for `planrt_context_run` until it returns, for
/// `planrt_session_submit` until the request is answered. Fill it with zeros first, then set `struct_size` to
/// `sizeof(planrt_tensor)`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct planrt_tensor {
    /// Bytes of this struct, as the caller knows it; the same in all elements of an array.
    pub struct_size: usize,
    /// The tensor's name in the model, in UTF-8; read during the call only.
    pub name: *const c_char,
    /// For inputs, and null for outputs: where the elements are read from, a host address or a `CUdeviceptr`. They are
    /// dense, the last dimension runs fastest; in host memory no alignment is asked for.
    pub input_data: *const c_void,
    /// For outputs, and null for inputs: where the elements are written to.
    pub output_data: *mut c_void,
    /// Bytes behind `input_data` or `output_data`: at least what the tensor takes.
    pub size_bytes: usize,
    /// The type of the elements there: the model's. In host memory, page-locked or not, planrt also converts: float32
    /// where the model has float16 or bfloat16 (and the other way round), and int16, uint16 and float64 where it has
    /// float32, float16 or bfloat16. It takes the nearest value, ties to even; what is beyond the range of a
    /// floating-point type becomes infinite, what is beyond that of an integer becomes its smallest or largest, and NaN
    /// becomes the integer 0.
    pub element_type: planrt_element_type,
    /// Where the memory is: one of the `PLANRT_MEMORY_` constants; 0 for `PLANRT_MEMORY_HOST`. `planrt_context_run`
    /// takes host memory and page-locked memory only.
    pub memory_kind: planrt_memory_kind,
    /// For inputs: the number of dimensions. Ignored for outputs, whose shape follows from the run:
    /// `planrt_context_get_output_shape` and `planrt_request_get_output_shape` tell it.
    pub rank: i32,
    /// For inputs: the extents in elements, outermost first. Where the model has a batch it is the first one.
    pub shape: [i64; PLANRT_MAX_RANK],
}

// SAFETY: repr(C), the size first, and no field for which zero is not a value.
unsafe impl Extensible for planrt_tensor {
    const FIRST_SIZE: usize = 120;
    const NAME: &'static str = "planrt_tensor";
}
const _: () = assert!(size_of::<planrt_tensor>() == planrt_tensor::FIRST_SIZE);

/// A tensor as it came over the boundary, its constants understood.
pub(super) struct Given<'call> {
    name: &'call str,
    data: *mut u8,
    size: usize,
    element_type: ElementType,
    memory: MemoryKind,
    shape: Shape,
}

/// The tensors of a call that are read.
pub(super) struct Inputs<'call>(pub(super) Vec<Given<'call>>);

/// The tensors of a call that are written.
pub(super) struct Outputs<'call>(pub(super) Vec<Given<'call>>);

impl<'call> Argument<'call, (*const planrt_tensor, usize)> for Inputs<'call> {
    unsafe fn convert(raw: (*const planrt_tensor, usize), name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        unsafe { given(raw, Role::Input, name, call) }.map(Self)
    }
}

impl<'call> Argument<'call, (*const planrt_tensor, usize)> for Outputs<'call> {
    unsafe fn convert(raw: (*const planrt_tensor, usize), name: &str, call: &'call Call) -> Result<Self> {
        // SAFETY: as the caller says.
        unsafe { given(raw, Role::Output, name, call) }.map(Self)
    }
}

/// # Safety
/// As for [`Structs`]; each tensor's name is a string.
unsafe fn given<'call>(
    raw: (*const planrt_tensor, usize),
    role: Role,
    array: &str,
    call: &'call Call,
) -> Result<Vec<Given<'call>>> {
    let one = |tensor: &planrt_tensor| {
        let (data, other, right, wrong) = match role {
            Role::Input => (tensor.input_data.cast_mut(), tensor.output_data.cast_const(), "input_data", "output_data"),
            Role::Output => (tensor.output_data, tensor.input_data, "output_data", "input_data"),
        };
        if !other.is_null() {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("{wrong} is set; the memory of one of the {array} goes into {right}, and {wrong} stays null"),
            ));
        }
        Ok(Given {
            // SAFETY: null or a string, as the caller says.
            name: unsafe { Argument::convert(tensor.name, "name", call) }?,
            data: data.cast(),
            size: tensor.size_bytes,
            element_type: element_type(tensor.element_type)?,
            memory: match tensor.memory_kind {
                0 => MemoryKind::Host,
                code => memory_kind(code)?,
            },
            shape: match role {
                Role::Input => {
                    check_rank(tensor.rank)?;
                    Shape::new(&tensor.shape[..extent_count(tensor.rank)])?
                }
                Role::Output => Shape::new(&[])?,
            },
        })
    };
    // SAFETY: as the caller says.
    let Structs(tensors) = unsafe { Argument::convert(raw, array, call) }?;
    let numbered = |(i, tensor)| one(tensor).map_err(|error: Error| error.within(format_args!("{array}[{i}]")));
    tensors.iter().enumerate().map(numbered).collect()
}

/// For a call that works on host memory and returns when it is done with it.
pub(super) fn on_host(given: Vec<Given<'_>>) -> Result<Vec<NamedTensor<'_>>> {
    let one = |Given { name, data, size, element_type, memory, shape }| {
        if memory == MemoryKind::Device {
            return Err(Error::new(
                Code::InvalidArgument,
                format!(
                    "{} is in device memory, and planrt_context_run works on the host's; bind device memory and \
                     enqueue, or use a session",
                    quoted(name)
                ),
            ));
        }
        Ok(NamedTensor { name, data, size, element_type, shape })
    };
    given.into_iter().map(one).collect()
}

/// For a session, which keeps the memory until the request is answered.
///
/// # Safety
/// The caller vouches for the memory: see [`CallerMemory::new`].
pub(super) unsafe fn lent(given: Vec<Given<'_>>) -> Vec<Tensor<'_>> {
    let one = |Given { name, data, size, element_type, memory, shape }| {
        // SAFETY: as the caller says.
        let memory = unsafe { CallerMemory::new(data, size, element_type, memory, shape) };
        Tensor { name, memory }
    };
    given.into_iter().map(one).collect()
}
