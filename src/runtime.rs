//! What was found and loaded for an application: the driver, the device, TensorRT, and the log they share.

#[cfg(feature = "cpu")]
use crate::backend::openvino::{self, OpenVinoEngine};
use crate::backend::{Engine, tensorrt};
use crate::cuda::{self, Device, DeviceInfo};
use crate::engine::Description;
use crate::error::{Code, Error, Result};
use crate::folder::{BuildRequest, Features, head_of_file};
use crate::log::{Level, Log, Sink};
use crate::model::{self, Format, Origin};
use crate::process::stack;
use crate::quote::{quoted_bytes, shown};
use once_cell::sync::OnceCell;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Default)]
pub struct Options {
    /// Ordinal of the CUDA device.
    pub device: i32,
    pub tensorrt: tensorrt::Options,
    pub openvino: OpenVinoOptions,
    pub sink: Option<Sink>,
}

/// Which OpenVINO is used.
#[derive(Clone, Debug, Default)]
pub struct OpenVinoOptions {
    /// The library's file or a folder that has it; else it is looked for.
    pub path: Option<PathBuf>,
}

/// What runs ONNX models on the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuChoice {
    #[default]
    CpuEngine,
    OpenVino,
    /// OpenVINO where it is installed and takes the model, else the CPU engine.
    Fastest,
}

/// How one model is loaded.
#[derive(Clone)]
pub struct EngineOptions {
    pub cpu: CpuChoice,
    /// Threads that the CPU engine may use; 0 for as many as there are cores.
    pub cpu_threads: usize,
    /// How many input shapes the CPU engine keeps ready.
    pub cpu_shape_cache: usize,
    pub plan: tensorrt::PlanOptions,
    /// Whether a folder none of whose plans runs here may run its ONNX model on the CPU.
    pub cpu_allowed: bool,
    /// Whether an engine of a folder whose head was folded out, or of one of its files, may be loaded by itself, which gives features.
    pub features_allowed: bool,
    /// How a plan is built where none of a folder's runs here, if one is to be.
    pub build: Option<BuildRequest>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            cpu: CpuChoice::default(),
            cpu_threads: 0,
            cpu_shape_cache: 4,
            plan: tensorrt::PlanOptions::default(),
            cpu_allowed: false,
            features_allowed: false,
            build: None,
        }
    }
}

/// Any thread may use it. Nothing is loaded before the first call that needs it.
pub struct Runtime {
    options: Options,
    log: Arc<Log>,
    // A failure is not remembered: what was missing may be installed, or freed, by the next call.
    device: OnceCell<Arc<Device>>,
    tensorrt: OnceCell<Arc<tensorrt::Library>>,
    #[cfg(feature = "cpu")]
    openvino: OnceCell<Arc<openvino::Library>>,
}

impl Runtime {
    pub fn new(mut options: Options) -> Self {
        // The log's alone: it lets go of the sink when it ends.
        let log = Arc::new(Log::new(options.sink.take()));
        Self {
            options,
            log,
            device: OnceCell::new(),
            tensorrt: OnceCell::new(),
            #[cfg(feature = "cpu")]
            openvino: OnceCell::new(),
        }
    }

    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The CUDA device, opened at the first call.
    pub fn device(&self) -> Result<&Arc<Device>> {
        let mut is_new = false;
        let device = self.device.get_or_try_init(|| {
            is_new = true;
            stack::with_room(|| Device::open(self.options.device))
        })?;
        // Told when all is done: nobody shall wait for the application's callback.
        if is_new {
            let DeviceInfo { ordinal, name, compute_capability: (major, minor), .. } = &device.info;
            self.log.write(Level::Info, &format!("CUDA device {ordinal}: {name}, compute capability {major}.{minor}"));
        }
        Ok(device)
    }

    /// TensorRT on that device, loaded at the first call.
    pub fn tensorrt(&self) -> Result<&Arc<tensorrt::Library>> {
        if let Some(tensorrt) = self.tensorrt.get() {
            return Ok(tensorrt);
        }
        let device = self.device()?;
        let mut is_new = false;
        let (tensorrt, said) = stack::with_room(|| {
            Ok(tensorrt::withhold(|| {
                self.tensorrt.get_or_try_init(|| {
                    is_new = true;
                    tensorrt::Library::load(&self.options.tensorrt, device, &self.log)
                })
            }))
        })?;
        said.tell(&self.log);
        let tensorrt = tensorrt?;
        if is_new {
            self.log.write(Level::Info, &tensorrt.origin());
        }
        Ok(tensorrt)
    }

    /// OpenVINO, loaded at the first call.
    #[cfg(feature = "cpu")]
    pub fn openvino(&self) -> Result<&Arc<openvino::Library>> {
        if let Some(openvino) = self.openvino.get() {
            return Ok(openvino);
        }
        let mut is_new = false;
        let openvino = stack::with_room(|| {
            self.openvino.get_or_try_init(|| {
                is_new = true;
                openvino::Library::load(&self.options.openvino)
            })
        })?;
        if is_new {
            self.log.write(Level::Info, &openvino.origin());
        }
        Ok(openvino)
    }

    /// Which OpenVINO there is and where it was found, for people.
    #[cfg(feature = "cpu")]
    pub fn openvino_origin(&self) -> Result<String> {
        self.openvino().map(|openvino| openvino.origin())
    }

    #[cfg(not(feature = "cpu"))]
    pub fn openvino_origin(&self) -> Result<String> {
        Err(Error::new(crate::error::Code::Unsupported, NO_CPU_ENGINE))
    }

    /// A TensorRT that builds plans, for one build.
    pub fn builder_library(&self) -> Result<tensorrt::BuilderLibrary> {
        let device = |does_without: bool| match self.device() {
            // The first device is meant where none is named; another one is asked for.
            Err(error) if does_without && error.code() == Code::NoCuda && self.options.device == 0 => Ok(None),
            found => found.map(Some),
        };
        tensorrt::BuilderLibrary::load(&self.options.tensorrt, device, &self.log)
    }

    pub fn load_file(&self, path: &Path, options: &EngineOptions) -> Result<Arc<dyn Engine>> {
        let data = model::map_file(path)?;
        let load = || {
            let folded = head_of_file(path, options.features_allowed)?;
            let engine = self.load(&data, Origin { file: Some(path), folder: path.parent() }, options)?;
            Ok::<Arc<dyn Engine>, Error>(match folded {
                Some(folded) => Arc::new(Features { engine, folded }),
                None => engine,
            })
        };
        load().map_err(|error| error.within(shown(path)))
    }

    pub fn load_memory(&self, data: &[u8], options: &EngineOptions) -> Result<Arc<dyn Engine>> {
        self.load(data, Origin::default(), options)
    }

    /// Loads a model that is from there.
    pub fn load(&self, data: &[u8], origin: Origin<'_>, options: &EngineOptions) -> Result<Arc<dyn Engine>> {
        stack::with_room(|| self.load_here(data, origin, options))
    }

    fn load_here(&self, data: &[u8], origin: Origin<'_>, options: &EngineOptions) -> Result<Arc<dyn Engine>> {
        let engine = match model::recognize(data)? {
            Format::Plan => {
                // What the plan says of itself is checked first: a damaged file is one on every machine.
                let plan = tensorrt::Plan::parse(data)?;
                tensorrt::Engine::load(self.tensorrt()?, &plan, &options.plan)?
            }
            Format::Onnx => self.load_on_cpu(data, origin, options)?,
        };
        let Description { name, device_name, tensors, .. } = engine.description();
        self.log.write(
            Level::Info,
            &format!(
                "model {} with {} inputs and outputs runs on {}",
                quoted_bytes(name.as_bytes()),
                tensors.len(),
                device_name.to_string_lossy()
            ),
        );
        Ok(engine)
    }

    #[cfg(feature = "cpu")]
    fn load_on_cpu(&self, data: &[u8], origin: Origin<'_>, options: &EngineOptions) -> Result<Arc<dyn Engine>> {
        use crate::backend::cpu::{CpuEngine, CpuOptions};
        let openvino = || {
            let library = self.openvino()?;
            OpenVinoEngine::load(library, data, origin.folder, options.cpu_threads, options.cpu_shape_cache)
        };
        match options.cpu {
            CpuChoice::CpuEngine => {}
            CpuChoice::OpenVino => return openvino(),
            CpuChoice::Fastest => match openvino() {
                Ok(engine) => return Ok(engine),
                Err(error) => {
                    let message = format!("OpenVINO, the fastest on the CPU, is not taken: {error}");
                    self.log.write(Level::Info, &message);
                }
            },
        }
        let options = CpuOptions { threads: options.cpu_threads, shape_cache: options.cpu_shape_cache };
        CpuEngine::load_from(data, origin, options)
    }

    #[cfg(not(feature = "cpu"))]
    fn load_on_cpu(&self, _: &[u8], _: Origin<'_>, _: &EngineOptions) -> Result<Arc<dyn Engine>> {
        Err(Error::new(crate::error::Code::Unsupported, NO_CPU_ENGINE))
    }

    #[cfg(feature = "cpu")]
    fn describe_openvino(&self) -> Value {
        match self.openvino() {
            Ok(openvino) => json!({
                "available": true,
                "version": openvino.version().to_string(),
                "path": openvino.path().to_string_lossy(),
            }),
            Err(error) => unavailable(&error),
        }
    }

    #[cfg(not(feature = "cpu"))]
    fn describe_openvino(&self) -> Value {
        json!({ "available": false, "reason": NO_CPU_ENGINE })
    }

    /// What there is and what there is not, with reasons.
    pub fn describe(&self) -> Value {
        let device = match self.device() {
            Ok(device) => {
                let mut described = describe_device(&device.info);
                described["available"] = true.into();
                described
            }
            Err(error) => unavailable(&error),
        };
        let tensorrt = match self.tensorrt() {
            Ok(tensorrt) => json!({
                "available": true,
                "version": tensorrt.version().to_string(),
                "flavor": tensorrt.flavor().to_string(),
                "path": tensorrt.path().to_string_lossy(),
            }),
            Err(error) => unavailable(&error),
        };
        json!({
            "planrt": env!("CARGO_PKG_VERSION"),
            "device": device,
            "tensorrt": tensorrt,
            "cpu": match cfg!(feature = "cpu") {
                true => json!({ "available": true }),
                false => json!({ "available": false, "reason": NO_CPU_ENGINE }),
            },
            "openvino": self.describe_openvino(),
        })
    }
}

/// The GPUs that the driver shows this process. Fails nowhere: what cannot be found out is told.
pub fn describe_devices() -> Value {
    let found = cuda::driver_version().and_then(|version| Ok((version, cuda::devices()?)));
    let ((major, minor), devices) = match found {
        Ok(found) => found,
        Err(error) => return json!({ "driver": unavailable(&error), "devices": [] }),
    };
    let describe = |info: &DeviceInfo| {
        let mut device = describe_device(info);
        match Device::open(info.ordinal).and_then(|device| device.memory()) {
            Ok((free, _)) => device["free_memory_bytes"] = free.into(),
            Err(error) => {
                device["free_memory_bytes"] = Value::Null;
                device["reason"] = error.to_string().into();
            }
        }
        device
    };
    json!({
        "driver": { "available": true, "cuda_version": format!("{major}.{minor}") },
        "devices": devices.iter().map(describe).collect::<Vec<_>>(),
    })
}

fn describe_device(info: &DeviceInfo) -> Value {
    let (major, minor) = info.compute_capability;
    json!({
        "ordinal": info.ordinal,
        "name": info.name,
        "compute_capability": format!("{major}.{minor}"),
        "total_memory_bytes": info.total_memory,
    })
}

fn unavailable(error: &Error) -> Value {
    json!({ "available": false, "reason": error.to_string() })
}

const NO_CPU_ENGINE: &str = "this libplanrt was built without the CPU engine, which runs ONNX models; build it with the \
                             feature \"cpu\", or give it a TensorRT plan";
