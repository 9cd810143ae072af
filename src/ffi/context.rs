//! `planrt_context`.

use super::argument::{Out, OutArray, Ref};
use super::engine::planrt_engine;
use super::error::planrt_error;
use super::handle::{Handle, opaque};
use super::stream::planrt_stream;
use super::tensor::{self, Inputs, Outputs, PLANRT_MAX_RANK, extents, planrt_tensor};
use super::{delete, export};
use crate::context::Context;
use crate::cuda::Stream;
use crate::tensor::Shape;
use std::ffi::{c_char, c_void};
use std::ptr::NonNull;

/// One execution context: shapes, bound memory, runs. One thread at a time; a second one gets `PLANRT_ERROR_IN_USE`,
/// and only `planrt_context_cancel` may be called beside a call under way. It keeps its engine.
#[allow(non_camel_case_types)]
pub struct planrt_context(Handle<Context>);
opaque!(planrt_context, Context);

/// Makes a context. Under TensorRT 8 an engine with dynamic shapes serves one context for each optimization profile; a
/// new context has the first free one until its shapes want another. `*context_out` is the caller's, for
/// `planrt_context_delete`. Any thread.
///
/// Errors: `PLANRT_ERROR_IN_USE` where every profile is taken, `_OUT_OF_MEMORY`, `_TENSORRT`.
///
/// Requires: `engine` is alive, `context_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_new(
    engine: *const planrt_engine,
    context_out: *mut *mut planrt_context,
) -> *mut planrt_error {
    export!(engine; context_out: Out<_> => {
        let context = Context::new(engine.clone())?;
        context_out.give(Handle::logging(context, engine.log()));
        Ok(())
    })
}

/// Makes a context without device memory of its own: `planrt_context_set_device_memory` lends it some before it runs.
/// Contexts that take turns can share one piece. In everything else it is as from `planrt_context_new`, and on the CPU
/// it is the same. `*context_out` is the caller's, for `planrt_context_delete`. Any thread.
///
/// Requires: `engine` is alive, `context_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_new_without_memory(
    engine: *const planrt_engine,
    context_out: *mut *mut planrt_context,
) -> *mut planrt_error {
    export!(engine; context_out: Out<_> => {
        let context = Context::without_memory(engine.clone())?;
        context_out.give(Handle::logging(context, engine.log()));
        Ok(())
    })
}

/// Frees a context, after the work that it has enqueued has ended: it waits for that. Null is accepted.
///
/// Requires: `context` is null, or alive, not in use and deleted once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_delete(context: *mut planrt_context) {
    delete!(context);
}

/// Fixes the optimization profile, or with -1 (the default) leaves the choice to planrt, which takes the first free one
/// that admits the shapes.
///
/// Errors: `PLANRT_ERROR_IN_USE` where TensorRT lets one context only have a profile and another has it.
///
/// Requires: `context` is alive.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_set_profile(context: *mut planrt_context, profile: i32) -> *mut planrt_error {
    export!(context; => context.set_profile(profile))
}

/// The optimization profile in use; -1 where there is none.
///
/// Requires: `context` is alive, `profile_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_get_profile(
    context: *mut planrt_context,
    profile_out: *mut i32,
) -> *mut planrt_error {
    export!(context; profile_out: Out<_> => {
        profile_out.set(context.profile()?.map_or(-1, |profile| profile as i32));
        Ok(())
    })
}

/// Sets the shape of an input, `rank` extents in elements, outermost first. Inputs whose shape the model fixes need
/// none.
///
/// Errors: `PLANRT_ERROR_SHAPE`, with the nearest profile where none admits it; `PLANRT_ERROR_NOT_FOUND`.
///
/// Requires: `context` is alive, `input` a string, `shape` readable for `rank` extents.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_set_shape(
    context: *mut planrt_context,
    input: *const c_char,
    shape: *const i64,
    rank: i32,
) -> *mut planrt_error {
    let extents = tensor::extent_count(rank);
    export!(context; input: &str, shape[extents]: &[i64] => {
        tensor::check_rank(rank)?;
        context.set_shape(input, &Shape::new(shape)?)
    })
}

/// The shape of an input or output as it follows from the inputs' shapes as set: outputs too, before the run.
/// `shape_out` has room for `PLANRT_MAX_RANK` extents.
///
/// Errors: `PLANRT_ERROR_SHAPE` while an input's shape is missing, or the inputs' do not go together; `_UNSUPPORTED`
/// where the shape depends on the data; `_IN_USE`, `_CUDA`, `_TENSORRT`.
///
/// Requires: `context` is alive, `tensor` a string, `shape_out` and `rank_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_get_shape(
    context: *mut planrt_context,
    tensor: *const c_char,
    shape_out: *mut i64,
    rank_out: *mut i32,
) -> *mut planrt_error {
    export!(context; tensor: &str, shape_out: OutArray<_, PLANRT_MAX_RANK>, rank_out: Out<_> => {
        let shape = context.shape(tensor)?;
        shape_out.set(extents(&shape));
        rank_out.set(shape.len() as i32);
        Ok(())
    })
}

/// The shape that an output had in the last run, given or dropped, also where it depends on the data: give memory for
/// the largest that can come, and ask afterwards how much of it was written. `shape_out` has room for `PLANRT_MAX_RANK`
/// extents.
///
/// Errors: `PLANRT_ERROR_SHAPE` where the last run failed, and until a run has succeeded with the inputs' shapes as
/// they are set; `_INVALID_ARGUMENT` for an input; `_NOT_FOUND`. With TensorRT a run whose outputs depend on the data
/// fails (`PLANRT_ERROR_UNSUPPORTED`).
///
/// Requires: `context` is alive, `output` a string, `shape_out` and `rank_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_get_output_shape(
    context: *mut planrt_context,
    output: *const c_char,
    shape_out: *mut i64,
    rank_out: *mut i32,
) -> *mut planrt_error {
    export!(context; output: &str, shape_out: OutArray<_, PLANRT_MAX_RANK>, rank_out: Out<_> => {
        let shape = context.output_shape(output)?;
        shape_out.set(extents(&shape));
        rank_out.set(shape.len() as i32);
        Ok(())
    })
}

/// The bytes that an input or output takes with the inputs' shapes as set.
///
/// Requires: `context` is alive, `tensor` a string, `size_bytes_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_get_size(
    context: *mut planrt_context,
    tensor: *const c_char,
    size_bytes_out: *mut usize,
) -> *mut planrt_error {
    export!(context; tensor: &str, size_bytes_out: Out<_> => {
        size_bytes_out.set(context.size(tensor)?);
        Ok(())
    })
}

/// Binds memory to an input or output for `planrt_context_enqueue`: of the kind that `planrt_tensor_info` names (device
/// memory for TensorRT, where page-locked memory will do and ordinary memory is refused; host memory on the CPU),
/// `size_bytes` bytes. It stays the caller's, and must stay valid until another is bound and the enqueued work has
/// ended. Its size is checked when work is enqueued.
///
/// Requires: `context` is alive, `tensor` a string, `address` valid for `size_bytes` bytes.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_bind(
    context: *mut planrt_context,
    tensor: *const c_char,
    address: *mut c_void,
    size_bytes: usize,
) -> *mut planrt_error {
    export!(context; tensor: &str, address: NonNull<c_void> => {
        // SAFETY: memory that stays valid for so many bytes until other memory is bound and the work has ended, as the
        // header asks.
        unsafe { context.bind(tensor, address.as_ptr(), size_bytes) }
    })
}

/// The bytes of device memory that a run takes besides its inputs and outputs, with the inputs' shapes as set; 0 on the
/// CPU. TensorRT 8 knows what the largest profile takes, which it is then.
///
/// Errors: `PLANRT_ERROR_SHAPE` while an input's shape is missing.
///
/// Requires: `context` is alive, `size_bytes_out` writable.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_get_device_memory_size(
    context: *mut planrt_context,
    size_bytes_out: *mut usize,
) -> *mut planrt_error {
    export!(context; size_bytes_out: Out<_> => {
        size_bytes_out.set(context.device_memory_size()?);
        Ok(())
    })
}

/// Lends device memory to a context that was made without: `size_bytes` bytes from a multiple of 256 on. It stays the
/// caller's, and must stay valid until other memory is lent and the enqueued work has ended. Contexts may share it
/// whose work does not overlap: one stream, or one stream behind another, sees to that. Its size is checked when work
/// is enqueued (`PLANRT_ERROR_BUFFER_TOO_SMALL`). On the CPU it is not used.
///
/// Errors: `PLANRT_ERROR_INVALID_ARGUMENT` for a context with memory of its own.
///
/// Requires: `context` is alive, `address` device memory, valid for `size_bytes` bytes.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_set_device_memory(
    context: *mut planrt_context,
    address: *mut c_void,
    size_bytes: usize,
) -> *mut planrt_error {
    export!(context; address: NonNull<c_void> => {
        // SAFETY: as for `planrt_context_bind`, and nobody else uses it meanwhile, as the header asks.
        unsafe { context.lend_device_memory(address.as_ptr(), size_bytes) }
    })
}

/// Gives a context the application's streams for the parts of a run that may go beside one another, instead of
/// TensorRT's own; `PLANRT_STATISTIC_AUX_STREAMS` says how many a plan can use. With fewer TensorRT takes its own for
/// the rest, so 0 sets the default again. None may be the stream of the run, nor the default stream. The streams stay
/// the caller's and must outlive the context's work. On the CPU they are not used.
///
/// Errors: `PLANRT_ERROR_UNSUPPORTED` before TensorRT 8.6.
///
/// Requires: `context` is alive, `streams` readable for `count` streams that are alive, or null where `count` is 0.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_set_aux_streams(
    context: *mut planrt_context,
    streams: *const *mut planrt_stream,
    count: usize,
) -> *mut planrt_error {
    export!(context; streams[count]: Vec<Ref<'_, planrt_stream>> => {
        let streams: Vec<&Stream> = streams.iter().map(Ref::get).collect();
        // SAFETY: they outlive the context's work, as the header asks.
        unsafe { context.set_aux_streams(&streams) }
    })
}

/// Runs with the bound memory. With TensorRT the work is given to `stream` and the call returns: inputs must be ready
/// in that stream's order, outputs are, and bound memory must not be changed before the stream has passed the work; the
/// stream must live as long. A context's runs are one after the other: on another stream than the last time, that stream
/// waits for the last run first. So do all runs of plans with TensorRT's InstanceNormalization plugin, of whichever context
/// (`PLANRT_INSTANCE_NORMALIZATION_PLUGIN` says why). A run that a capturing stream takes into a CUDA graph is ordered by whoever
/// launches the graph. On the CPU `stream` is ignored and may be null, and the outputs are written when the call returns.
///
/// Errors: `PLANRT_ERROR_INVALID_ARGUMENT` where something is not bound, `_BUFFER_TOO_SMALL`, `_SHAPE`, `_IN_USE`,
/// `_CANCELLED`, `_CUDA`, `_DEVICE_LOST`, `_TENSORRT`.
///
/// Requires: `context` is alive, `stream` null or alive, what is bound is valid.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_enqueue(
    context: *mut planrt_context,
    stream: *mut planrt_stream,
) -> *mut planrt_error {
    export!(context; stream: Option<Ref<'_, planrt_stream>> => {
        // SAFETY: what is bound is valid until the stream has passed the work, as the header asks.
        unsafe { context.enqueue(stream.as_ref().map(Ref::get)) }
    })
}

/// Runs from host memory, pageable or page-locked, to host memory, and returns when the outputs are written: sets the
/// inputs' shapes, copies (through page-locked memory of its own, unless the memory given is page-locked), runs, copies
/// back. Every input must be given; an output that is not given is computed and dropped. On an error the outputs hold
/// what they held, unless the device itself fails while they are copied; the shapes stay set.
///
/// Errors: as for `planrt_context_set_shape` and `planrt_context_enqueue`; `PLANRT_ERROR_OUT_OF_MEMORY`.
///
/// Requires: `context` is alive, the arrays readable, each element's memory valid for its `size_bytes`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_run(
    context: *mut planrt_context,
    inputs: *const planrt_tensor,
    input_count: usize,
    outputs: *const planrt_tensor,
    output_count: usize,
) -> *mut planrt_error {
    export!(context; inputs[input_count]: Inputs<'_>, outputs[output_count]: Outputs<'_> => {
        let (inputs, outputs) = (tensor::on_host(inputs.0)?, tensor::on_host(outputs.0)?);
        // SAFETY: each tensor's memory is valid for its size, as the header asks.
        unsafe { context.run(&inputs, &outputs) }
    })
}

/// Asks the run under way, or else the next one, to end with `PLANRT_ERROR_CANCELLED`. On the CPU a run ends between
/// two layers; work that the GPU has begun is finished first, and page-locked outputs may then be written. Any thread,
/// also beside a call on the same context.
///
/// Requires: `context` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn planrt_context_cancel(context: *const planrt_context) {
    export!(context; else () => context.cancel());
}
