//! The kernels of kernels.cu, launched with checked arguments: here what is common to all of them, and those by what they are for.

mod axes;
mod decisions;
mod result;
mod scan;
mod tiles;

pub use axes::{Axis, Bounds, Lines, spline_elements};
pub use decisions::{DeviceHead, DeviceRule};
pub use result::{Samples, Slab};
pub use tiles::Constants;

use super::buffer::{Buffer, Element, Room, View};
use crate::cuda::{Blocks, Device, Kernel, Module, Stream, copy_async};
use crate::error::{Code, Error, Result};
use std::ffi::{CStr, c_void};
use std::ops::Range;
use std::sync::Arc;

const PTX: &CStr = match CStr::from_bytes_with_nul(concat!(include_str!("../kernels.ptx"), "\0").as_bytes()) {
    Ok(text) => text,
    Err(_) => panic!("PTX is text without zeros"),
};

/// Threads of a block.
const THREADS: u32 = 256;

/// The largest grid along its second and third axis.
const ROWS: usize = 65535;

/// Names the kernels, and finds them.
macro_rules! functions {
    ($($name:ident),*) => {
        struct Functions { $($name: Kernel),* }

        impl Functions {
            fn find(module: &Module) -> Result<Self> {
                let name = |name: &'static str| CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or_default();
                Ok(Self { $($name: module.kernel(name(concat!("planrt_", stringify!($name), "\0")))?),* })
            }
        }
    };
}

functions!(
    gather,
    constants,
    add_mirrored,
    divide,
    find_nan,
    blend,
    weigh,
    sigmoid,
    softmax,
    argmax_uint8,
    argmax_uint16,
    regions_uint8,
    regions_uint16,
    resample,
    resampled_argmax_uint8,
    resampled_argmax_uint16,
    read,
    narrow,
    widen,
    change,
    resample_axis,
    resample_spline,
    ends,
    clip,
    count_uint8,
    count_uint16,
    head_argmax_uint8,
    head_argmax_uint16,
    head_regions_uint8,
    head_regions_uint16
);

/// The kernels on one device, and the stream on which they work one after the other.
pub struct Kernels {
    loaded: Arc<Loaded>,
    stream: Arc<Stream>,
    /// Where buffers are made, as long as there is room; and whose stream this is.
    room: Option<(Room, Arc<Self>)>,
}

struct Loaded {
    functions: Functions,
    module: Module,
    /// For what comes back.
    blocks: Arc<Blocks>,
}

/// What kernels.cu has by these names.
#[repr(C)]
#[derive(Clone, Copy)]
struct Extents([u32; 3]);

/// A type of labels.
pub trait Label: Element {
    #[doc(hidden)]
    const IS_WIDE: bool;
}

impl Label for u8 {
    const IS_WIDE: bool = false;
}

impl Label for u16 {
    const IS_WIDE: bool = true;
}

/// Pointers to values, as kernels take them.
macro_rules! pointers {
    ($($value:expr),* $(,)?) => { [$((&raw mut $value).cast::<std::ffi::c_void>()),*] };
}

use pointers;

impl Kernels {
    /// Loads them, which takes the driver a moment.
    pub fn new(device: &Arc<Device>, stream: Arc<Stream>) -> Result<Self> {
        let module = Module::load(device, PTX)?;
        Ok(Self {
            loaded: Arc::new(Loaded { functions: Functions::find(&module)?, module, blocks: Blocks::new(device) }),
            stream,
            room: None,
        })
    }

    /// The same kernels, working on a stream of their own.
    pub fn on(&self, stream: Arc<Stream>) -> Self {
        Self { loaded: self.loaded.clone(), stream, room: None }
    }

    /// The same kernels on the same stream, which make buffers in a room of so many bytes. That is freed with them and the last of
    /// these.
    pub fn with_room(self: &Arc<Self>, bytes: u64) -> Result<Self> {
        let room = Room::new(self.device(), bytes)?;
        Ok(Self { loaded: self.loaded.clone(), stream: self.stream.clone(), room: Some((room, self.clone())) })
    }

    /// Where all work is done, in order.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    pub fn device(&self) -> &Arc<Device> {
        self.stream.device()
    }

    pub(super) fn blocks(&self) -> &Arc<Blocks> {
        &self.loaded.blocks
    }

    pub fn buffer<T: Element>(&self, len: usize) -> Result<Buffer<T>> {
        Buffer::new(self.device(), self.room.as_ref().map(|(room, _)| room), len)
    }

    /// Values in a buffer of their own. Returns when they are there.
    pub fn upload<T: Element>(&self, values: &[T]) -> Result<Buffer<T>> {
        let buffer = self.buffer(values.len())?;
        self.fill(buffer.view(), values)?;
        Ok(buffer)
    }

    /// Fills memory with values. Returns when they are there.
    fn fill<T: Element>(&self, to: View<'_, T>, values: &[T]) -> Result<()> {
        same("values to copy", values.len(), to.count())?;
        if !values.is_empty() {
            // SAFETY: both have so many bytes; the copy has ended when this returns.
            unsafe { copy_async(to.address(), values.as_ptr().cast(), size_of_val(values), &self.stream)? };
        }
        self.stream.synchronize()
    }

    /// Waits for all work before, and copies values to the host.
    pub fn download<T: Element>(&self, from: View<'_, T>, to: &mut [T]) -> Result<()> {
        same("values to copy", from.count(), to.len())?;
        if !to.is_empty() {
            // SAFETY: as above.
            unsafe { copy_async(to.as_mut_ptr().cast(), from.address(), size_of_val(to), &self.stream) }?;
        }
        self.stream.synchronize()
    }

    /// Copies values on the device.
    pub fn copy<T: Element>(&self, from: View<'_, T>, to: View<'_, T>) -> Result<()> {
        same("values to copy", from.count(), to.count())?;
        // SAFETY: both have so many bytes, and are freed when the device's work has ended.
        unsafe { copy_async(to.address(), from.address(), from.count() * size_of::<T>(), &self.stream) }
    }

    fn launch(
        &self,
        kernel: Kernel,
        voxels: usize,
        rows: usize,
        layers: usize,
        arguments: &mut [*mut c_void],
    ) -> Result<()> {
        if voxels == 0 || rows == 0 || layers == 0 {
            return Ok(());
        }
        if voxels > SMALL || rows > ROWS || layers > ROWS {
            let message = format!("{voxels} voxels of {rows} channels or planes are more than a kernel takes at once");
            return Err(Error::new(Code::Unsupported, message));
        }
        let grid = [(voxels as u32).div_ceil(THREADS), rows as u32, layers as u32];
        // SAFETY: the arguments are those of the kernel, as its callers above give them, and of sizes that they have held against
        // each other; buffers are freed when the device's work has ended.
        unsafe { self.loaded.module.launch(kernel, grid, THREADS, arguments, &self.stream) }
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        // The module goes when nothing of it runs. Whose stream it is waits for that.
        if self.room.is_none() {
            let _ = self.stream.synchronize();
        }
    }
}

/// Kernels count voxels to here: a step further is still a number of 32 bits.
const SMALL: usize = i32::MAX as usize;

fn small(what: &str, count: usize) -> Result<u32> {
    match u32::try_from(count) {
        Ok(small) if count <= SMALL => Ok(small),
        _ => Err(Error::new(Code::Unsupported, format!("{count} {what} are more than a kernel takes at once"))),
    }
}

fn wrong(message: String) -> Error {
    Error::new(Code::Internal, format!("{message}; please report this"))
}

fn same(what: &str, are: usize, should: usize) -> Result<()> {
    if are == should { Ok(()) } else { Err(wrong(format!("{are} {what} on the device; they should be {should}"))) }
}

/// How many planes there are.
fn planes_of(planes: View<'_, f32>, stride: usize, voxels: usize, channels: usize) -> Result<usize> {
    let used = voxels.saturating_mul(channels);
    if stride == 0 || used > stride {
        return Err(wrong(format!("planes of {channels} channels of {voxels} voxels, {stride} apart")));
    }
    same("values of planes", planes.count() % stride, 0)?;
    Ok(planes.count() / stride)
}

/// How many of so many values kernels take one after the other.
fn portions(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(SMALL).map(move |start| SMALL.min(count - start))
}

/// Planes of a buffer of `[plane, …]`.
pub fn planes(planes: Range<usize>, size: usize) -> Range<usize> {
    planes.start * size..planes.end * size
}
