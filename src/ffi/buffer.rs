//! `planrt_buffer`.

use super::argument::Out;
use super::error::planrt_error;
use super::handle::{Handle, opaque};
use super::runtime::planrt_runtime;
use super::tensor::{memory_kind, planrt_memory_kind};
use super::{delete, export};
use crate::buffer::Buffer;
use std::ffi::c_void;
use std::ptr::NonNull;

/// Memory of one kind, made here or wrapped from the application's. The handle may be used from any thread; what is in
/// the memory is its users' to arrange.
#[allow(non_camel_case_types)]
pub struct planrt_buffer(Handle<Buffer>);
opaque!(planrt_buffer, Buffer);

/// Allocates `size_bytes` bytes: host memory aligned to 64 bytes and zeroed, page-locked host memory, or memory on the
/// runtime's device. `*buffer_out` is the caller's, for `planrt_buffer_delete`. Any thread.
///
/// Errors: `PLANRT_ERROR_OUT_OF_MEMORY`, for device memory with what was free; `PLANRT_ERROR_NO_CUDA` for the last two.
///
/// Requires: `runtime` is alive, `buffer_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_buffer_new(
    runtime: *const planrt_runtime,
    kind: planrt_memory_kind,
    size_bytes: usize,
    buffer_out: *mut *mut planrt_buffer,
) -> *mut planrt_error {
    export!(runtime; buffer_out: Out<_> => {
        buffer_out.give(Handle::new(Buffer::new(runtime, memory_kind(kind)?, size_bytes)?));
        Ok(())
    })
}

/// Wraps memory of the application's, which stays its own and must outlive the handle. `*buffer_out` is the caller's,
/// for `planrt_buffer_delete`. Any thread.
///
/// Requires: `runtime` is alive, `address` is memory of that kind, `size_bytes` bytes; `buffer_out` is writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_buffer_wrap(
    runtime: *const planrt_runtime,
    kind: planrt_memory_kind,
    address: *mut c_void,
    size_bytes: usize,
    buffer_out: *mut *mut planrt_buffer,
) -> *mut planrt_error {
    export!(runtime; address: NonNull<c_void>, buffer_out: Out<_> => {
        let _ = runtime;
        buffer_out.give(Handle::new(Buffer::wrap(memory_kind(kind)?, address.as_ptr(), size_bytes)));
        Ok(())
    })
}

/// Frees the handle, and the memory if it was allocated here. Null is accepted.
///
/// Requires: `buffer` is null, or alive and deleted once; nothing is bound to its memory that still runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_buffer_delete(buffer: *mut planrt_buffer) {
    delete!(buffer);
}

/// The memory's address: a host address, or a `CUdeviceptr` for device memory. Null for a bad handle. Any thread.
///
/// Requires: `buffer` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_buffer_get_data(buffer: *const planrt_buffer) -> *mut c_void {
    export!(buffer; else std::ptr::null_mut() => buffer.address())
}

/// Its size in bytes; 0 for a bad handle. Any thread.
///
/// Requires: `buffer` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_buffer_get_size(buffer: *const planrt_buffer) -> usize {
    export!(buffer; else 0 => buffer.size())
}

/// Its kind: one of the `PLANRT_MEMORY_` constants; 0 for a bad handle. Any thread.
///
/// Requires: `buffer` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_buffer_get_kind(buffer: *const planrt_buffer) -> planrt_memory_kind {
    export!(buffer; else 0 => buffer.kind() as i32)
}
