//! The model compiled for inputs of known shapes.

use super::failed;
use super::library::{CPU, Library};
use crate::backend::Cancellation;
use crate::error::{Code, Error, Result};
use crate::process::thread::Held;
use crate::sync::Mutex;
use crate::tensor::Shape;
use openvino_c::{CompiledModel, InferRequest, Model};
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

/// What a compiled model is to be good at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One run at a time, on all threads.
    Single,
    /// Several side by side, over OpenVINO's streams.
    Several,
    /// As the first, telling the layers' times.
    Timed,
}

/// So many requests are kept for each that runs side by side: a request has memory for its inputs and outputs.
const KEPT: usize = 4;

/// Any number of threads may run it at once.
pub struct Prepared {
    pub shapes: Vec<Shape>,
    pub mode: Mode,
    compiled: CompiledModel,
    /// The shape of each output; `None` if it depends on the data.
    pub outputs: Vec<Option<Shape>>,
    /// How many requests side by side keep it busy.
    pub optimal: usize,
    idle: Mutex<Vec<InferRequest>>,
}

impl Prepared {
    /// Compiles a model that has these shapes; `declared` are the outputs', as far as the model says them.
    pub fn new(
        library: &Library,
        model: &Model,
        shapes: &[Shape],
        mode: Mode,
        threads: usize,
        declared: &[Shape],
    ) -> Result<Self> {
        let threads = CString::new(threads.to_string()).unwrap_or_default();
        let mut properties = vec![
            (c"INFERENCE_PRECISION_HINT", c"f32"),
            (c"EXECUTION_MODE_HINT", c"ACCURACY"),
            (c"INFERENCE_NUM_THREADS", threads.as_c_str()),
            // The process is the application's, whose threads want the cores as well.
            (c"ENABLE_CPU_PINNING", c"NO"),
        ];
        match mode {
            Mode::Single => properties.push((c"NUM_STREAMS", c"1")),
            Mode::Several => properties.push((c"PERFORMANCE_HINT", c"THROUGHPUT")),
            Mode::Timed => properties.extend([(c"NUM_STREAMS", c"1"), (c"PERF_COUNT", c"YES")]),
        }
        let _held = Held::signals();
        let compile = || {
            let compiled = library.core.compile_model(model, CPU, &properties)?;
            let ports = compiled.outputs()?;
            let optimal = compiled.property(c"OPTIMAL_NUMBER_OF_INFER_REQUESTS")?;
            Ok((compiled, ports, optimal))
        };
        let (compiled, ports, optimal) = compile().map_err(|error| {
            failed(Code::Unsupported, "OpenVINO does not make this ONNX model ready to run", &error)
        })?;
        let shape = |(port, declared): (&openvino_c::Port, &Shape)| {
            let found = port.fixed_shape().map(|extents| Shape::new(&extents)).transpose()?;
            Ok(found.or((!declared.is_dynamic()).then_some(*declared)))
        };
        Ok(Self {
            shapes: shapes.to_vec(),
            mode,
            compiled,
            outputs: ports.iter().zip(declared).map(shape).collect::<Result<_>>()?,
            optimal: optimal.trim().parse().unwrap_or(1).max(1),
            idle: Mutex::default(),
        })
    }

    /// A request that nobody uses.
    pub fn request(self: &Arc<Self>) -> Result<Running> {
        let idle = self.idle.lock().pop();
        let request = match idle {
            Some(request) => request,
            None => {
                let _held = Held::signals();
                let made = self.compiled.create_infer_request();
                made.map_err(|error| failed(Code::OpenVino, "OpenVINO makes no request", &error))?
            }
        };
        Ok(Running { request: Some(request), prepared: self.clone(), is_started: false })
    }
}

/// A request, which goes back to the others when it has run.
pub struct Running {
    request: Option<InferRequest>,
    prepared: Arc<Prepared>,
    is_started: bool,
}

impl Running {
    /// The request, while it does not run.
    pub fn request(&self) -> Result<&InferRequest> {
        self.request.as_ref().ok_or_else(|| Error::new(Code::Internal, "the request has been given back"))
    }

    pub fn start(&mut self) -> Result<()> {
        let Some(request) = &mut self.request else { return Ok(()) };
        let _held = Held::signals();
        request.start_async().map_err(|error| failed(Code::OpenVino, "OpenVINO does not start the run", &error))?;
        self.is_started = true;
        Ok(())
    }

    /// Waits for the run's end, which comes early where it is cancelled; that is left to the caller to take.
    pub fn wait(&mut self, cancellation: &Cancellation) -> Result<()> {
        /// So late a request to end is seen.
        const LOOK: Duration = Duration::from_millis(5);
        let Some(request) = &mut self.request else { return Ok(()) };
        let outcome = loop {
            match request.wait_for(LOOK) {
                Ok(false) if cancellation.is_requested() => {
                    let cancelled = request.cancel();
                    break cancelled.and_then(|()| request.wait());
                }
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.is_started = false;
        outcome.map_err(|error| {
            // What a request holds after a failure is not known.
            self.request = None;
            match error.status {
                openvino_c::Status::INFER_CANCELLED => Error::new(Code::Cancelled, "the run was cancelled"),
                _ => failed(Code::InvalidModel, "OpenVINO cannot compute the model with these inputs", &error),
            }
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut request) = self.request.take() {
            if self.is_started {
                // Somebody else's run failed: nobody wants this one any more.
                let _ = request.cancel();
                let _ = request.wait();
            } else {
                let mut idle = self.prepared.idle.lock();
                if idle.len() < KEPT * self.prepared.optimal {
                    idle.push(request);
                }
            }
        }
    }
}
