//! The C interface as the fuzz targets call it. `include/planrt.h` says what each call does.

use planrt as _;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::OnceLock;

/// `planrt_tensor`.
#[repr(C)]
pub struct Tensor {
    pub struct_size: usize,
    pub name: *const c_char,
    pub input_data: *const c_void,
    pub output_data: *mut c_void,
    pub size_bytes: usize,
    pub element_type: i32,
    pub memory_kind: i32,
    pub rank: i32,
    pub shape: [i64; 8],
}

/// Any handle.
pub type Handle = *mut c_void;
const INTERNAL: i32 = 18;

unsafe extern "C" {
    fn planrt_error_get_code(error: Handle) -> i32;
    fn planrt_error_delete(error: Handle);
    fn planrt_runtime_new(options: Handle, runtime_out: *mut Handle) -> Handle;
    fn planrt_engine_load_memory(
        r: Handle,
        data: *const u8,
        size: usize,
        options: Handle,
        engine_out: *mut Handle,
    ) -> Handle;
    fn planrt_engine_delete(engine: Handle);
    fn planrt_context_new(engine: Handle, context_out: *mut Handle) -> Handle;
    fn planrt_context_run(c: Handle, inputs: *const Tensor, n: usize, outputs: *const Tensor, m: usize) -> Handle;
    fn planrt_context_delete(context: Handle);
}

/// Whether a call succeeded. It may fail, but not by a fault of planrt's own.
pub fn succeeded(error: Handle) -> bool {
    if error.is_null() {
        return true;
    }
    // SAFETY: what a call of planrt returned, looked at and deleted once.
    let code = unsafe {
        let code = planrt_error_get_code(error);
        planrt_error_delete(error);
        code
    };
    assert_ne!(code, INTERNAL, "an internal error");
    false
}

/// One runtime for all inputs.
fn runtime() -> Handle {
    static RUNTIME: OnceLock<usize> = OnceLock::new();
    let address = RUNTIME.get_or_init(|| {
        let mut runtime = ptr::null_mut();
        // SAFETY: default options, and a place for the runtime.
        assert!(succeeded(unsafe { planrt_runtime_new(ptr::null_mut(), &mut runtime) }));
        runtime as usize
    });
    *address as Handle
}

/// A model, deleted with this.
pub struct Engine(Handle);

impl Engine {
    pub fn load(data: &[u8]) -> Option<Self> {
        let mut engine = ptr::null_mut();
        // SAFETY: memory of that size, and a place for the engine.
        let error =
            unsafe { planrt_engine_load_memory(runtime(), data.as_ptr(), data.len(), ptr::null_mut(), &mut engine) };
        succeeded(error).then_some(Self(engine))
    }

    /// Runs the model once, in a context of its own.
    ///
    /// # Safety
    /// Names, where they are not null, are strings; memory is as large as the tensors say.
    pub unsafe fn run(&self, inputs: &[Tensor], outputs: &[Tensor]) {
        let mut context = ptr::null_mut();
        // SAFETY: the engine is alive, the context is used here only, and the tensors are as the caller says.
        unsafe {
            if succeeded(planrt_context_new(self.0, &mut context)) {
                let error = planrt_context_run(context, inputs.as_ptr(), inputs.len(), outputs.as_ptr(), outputs.len());
                succeeded(error);
                planrt_context_delete(context);
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: ours, deleted once.
        unsafe { planrt_engine_delete(self.0) }
    }
}
