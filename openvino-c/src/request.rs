//! Requests: runs of a compiled model.

use crate::core::made;
use crate::error::{Error, Status};
use crate::functions::RawProfilingInfos;
use crate::library::Library;
use crate::model::CompiledModel;
use crate::tensor::Tensor;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::time::Duration;

/// A node's time in the last run.
#[derive(Clone, Debug)]
pub struct LayerTime {
    /// The node.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// How it is computed.
    pub execution: String,
    /// How long it took.
    pub time: Duration,
}

/// An `ov_infer_request_t`. It keeps its model.
pub struct InferRequest {
    raw: NonNull<c_void>,
    library: Library,
    _model: CompiledModel,
}

// SAFETY: a request may go from thread to thread.
unsafe impl Send for InferRequest {}

impl Drop for InferRequest {
    fn drop(&mut self) {
        // SAFETY: freed once; OpenVINO waits for a run under way.
        unsafe { (self.library.functions().ov_infer_request_free)(self.raw.as_ptr()) };
    }
}

impl InferRequest {
    pub(crate) fn adopt(raw: NonNull<c_void>, library: Library, model: CompiledModel) -> Self {
        Self { raw, library, _model: model }
    }

    fn as_ptr(&self) -> *mut c_void {
        self.raw.as_ptr()
    }

    /// The memory that an input is read from.
    pub fn input(&self, index: usize) -> Result<Tensor, Error> {
        let mut raw = ptr::null_mut();
        let get = self.library.functions().ov_infer_request_get_input_tensor_by_index;
        // SAFETY: writes the pointer.
        let status = unsafe { get(self.as_ptr(), index, &raw mut raw) };
        Ok(Tensor::adopt(made(&self.library, status, raw)?, self.library.clone()))
    }

    /// The memory that an output is written to.
    pub fn output(&self, index: usize) -> Result<Tensor, Error> {
        let mut raw = ptr::null_mut();
        let get = self.library.functions().ov_infer_request_get_output_tensor_by_index;
        // SAFETY: writes the pointer.
        let status = unsafe { get(self.as_ptr(), index, &raw mut raw) };
        Ok(Tensor::adopt(made(&self.library, status, raw)?, self.library.clone()))
    }

    /// Has an input read from other memory.
    pub fn set_input(&mut self, index: usize, tensor: &Tensor) -> Result<(), Error> {
        let set = self.library.functions().ov_infer_request_set_input_tensor_by_index;
        // SAFETY: objects that are alive.
        self.library.check(unsafe { set(self.as_ptr(), index, tensor.as_ptr()) })
    }

    /// Has an output written to other memory.
    pub fn set_output(&mut self, index: usize, tensor: &Tensor) -> Result<(), Error> {
        let set = self.library.functions().ov_infer_request_set_output_tensor_by_index;
        // SAFETY: objects that are alive.
        self.library.check(unsafe { set(self.as_ptr(), index, tensor.as_ptr()) })
    }

    /// Starts a run on OpenVINO's threads.
    pub fn start_async(&mut self) -> Result<(), Error> {
        // SAFETY: an object that is alive.
        self.library.check(unsafe { (self.library.functions().ov_infer_request_start_async)(self.as_ptr()) })
    }

    /// Waits until the run has ended.
    pub fn wait(&mut self) -> Result<(), Error> {
        // SAFETY: an object that is alive.
        self.library.check(unsafe { (self.library.functions().ov_infer_request_wait)(self.as_ptr()) })
    }

    /// Waits for so long at most; whether the run has ended.
    pub fn wait_for(&mut self, time: Duration) -> Result<bool, Error> {
        let milliseconds = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        // SAFETY: an object that is alive.
        let status = unsafe { (self.library.functions().ov_infer_request_wait_for)(self.as_ptr(), milliseconds) };
        match Status(status) {
            Status::RESULT_NOT_READY => Ok(false),
            Status(status) => self.library.check(status).map(|()| true),
        }
    }

    /// Asks the run under way to end, which is then to be waited for.
    pub fn cancel(&mut self) -> Result<(), Error> {
        // SAFETY: an object that is alive.
        self.library.check(unsafe { (self.library.functions().ov_infer_request_cancel)(self.as_ptr()) })
    }

    /// The times of the last run, node by node, of a model that was compiled with `PERF_COUNT`; of those that ran.
    pub fn layer_times(&self) -> Result<Vec<LayerTime>, Error> {
        const EXECUTED: i32 = 2;
        let functions = self.library.functions();
        let mut list = RawProfilingInfos { infos: ptr::null_mut(), size: 0 };
        // SAFETY: it fills the list, which is freed once, with strings or null in it.
        unsafe {
            self.library.check((functions.ov_infer_request_get_profiling_info)(self.as_ptr(), &raw mut list))?;
            let text = |text: *const c_char| match text.is_null() {
                true => String::new(),
                false => CStr::from_ptr(text).to_string_lossy().into_owned(),
            };
            let infos = match list.infos.is_null() {
                true => &[],
                false => std::slice::from_raw_parts(list.infos, list.size),
            };
            let executed = infos.iter().filter(|info| info.status == EXECUTED);
            let times = executed.map(|info| LayerTime {
                name: text(info.node_name),
                kind: text(info.node_type),
                execution: text(info.exec_type),
                time: Duration::from_micros(u64::try_from(info.real_time).unwrap_or(0)),
            });
            let times = times.collect();
            (functions.ov_profiling_info_list_free)(&raw mut list);
            Ok(times)
        }
    }
}
