//! One TensorRT library on one device: loads plans.

use super::diagnostics::{Lease, Lines, failed, gather, withhold};
use super::find::{self, Found};
use super::plugins::{self, Plugins};
use super::{Options, Plan, PlanOptions, WeightBudget, plan};
use crate::cuda::{Device, driver_version};
use crate::error::{Code, Error, Result};
use crate::log::{Level, Log};
use crate::quote::shown;
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use tensorrt_sys::{Flavor, Version};

/// Engines keep it. Any thread may use it.
pub struct Library {
    runtime: ManuallyDrop<tensorrt_sys::Runtime>,
    found: Found,
    plugins: Plugins,
    device: Arc<Device>,
    log: Arc<Log>,
    // TensorRT calls the logger as long as anything of it lives, so this goes last.
    lease: Lease,
}

impl Library {
    /// Finds and loads TensorRT, and the application's plugin libraries.
    pub fn load(options: &Options, device: &Arc<Device>, log: &Arc<Log>) -> Result<Arc<Self>> {
        let found = find::find(options.path.as_deref())?;
        let library = &found.library;
        let plugins = Plugins::load(options, library)?;
        let lease = Lease::new(log);
        let _current = device.make_current()?;
        let (runtime, said) = gather(|| library.create_runtime(lease.logger()));
        let runtime = runtime.ok_or_else(|| {
            let speaks =
                driver_version().map_or_else(|_| "unknown".to_owned(), |(major, minor)| format!("{major}.{minor}"));
            let message = format!(
                "{} does not start on {}; is the driver, which speaks CUDA {speaks}, too old for it?",
                library.version(),
                device.info.name
            );
            failed(Code::NoTensorRt, message, &said)
        })?;
        if options.engine_host_code_allowed {
            runtime.set_engine_host_code_allowed(true)?;
        }
        Ok(Arc::new(Self {
            runtime: ManuallyDrop::new(runtime),
            found,
            plugins,
            device: device.clone(),
            log: log.clone(),
            lease,
        }))
    }

    pub fn version(&self) -> Version {
        self.found.library.version()
    }

    pub fn flavor(&self) -> Flavor {
        self.found.library.flavor()
    }

    pub fn path(&self) -> &Path {
        self.found.library.path()
    }

    /// Which library this is and where it was found, for people.
    pub fn origin(&self) -> String {
        self.found.to_string()
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// TensorRT's engine for a plan. The device's context is current.
    pub fn load_plan(&self, plan: &Plan<'_>, options: &PlanOptions) -> Result<tensorrt_sys::Engine> {
        plan::check(plan, self.version(), &self.device.info)?;
        let engine = match &options.lean_runtime {
            Some(path) => self.deserialize(plan, &self.load_lean(path)?)?,
            None => self.deserialize(plan, &self.runtime)?,
        };
        if let Some(budget) = options.weight_budget {
            stream_weights(&engine, budget)?;
        }
        Ok(engine)
    }

    /// An engine from what another one of this runtime was serialized to. The device's context is current.
    pub fn load_again(&self, plan: &[u8]) -> Result<tensorrt_sys::Engine> {
        // SAFETY: TensorRT wrote it.
        let (engine, said) = gather(|| unsafe { self.runtime.deserialize_cuda_engine(plan) });
        engine.ok_or_else(|| failed(Code::TensorRt, "TensorRT does not load the engine once more".to_owned(), &said))
    }

    /// Another version's lean runtime behind this version's interface.
    fn load_lean(&self, path: &Path) -> Result<tensorrt_sys::Runtime> {
        let name = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
        // SAFETY: the application says that this file is a lean runtime.
        let (lean, said) = gather(|| unsafe { self.runtime.load_runtime(&name) });
        let lean = lean?.ok_or_else(|| {
            failed(Code::NoTensorRt, format!("{} loads no lean runtime from {}", self.version(), shown(path)), &said)
        })?;
        if self.runtime.engine_host_code_allowed().unwrap_or(false) {
            lean.set_engine_host_code_allowed(true)?;
        }
        Ok(lean)
    }

    fn deserialize(&self, plan: &Plan<'_>, runtime: &tensorrt_sys::Runtime) -> Result<tensorrt_sys::Engine> {
        // SAFETY: the header was looked at; what lies behind it is for TensorRT to judge, which is all that any program
        // can do with a plan.
        let attempt = || unsafe { runtime.deserialize_cuda_engine(plan.data) };
        let (engine, said) = withhold(attempt);
        let wanted = plugins::missing(&said, plan.data).filter(|_| engine.is_none());
        let Some(wanted) = wanted else {
            said.tell(&self.log);
            return engine.ok_or_else(|| self.explain(plan, &said));
        };
        let load = || self.plugins.load_standard(&wanted, &self.found.library, self.lease.logger());
        let (loaded, more) = withhold(load);
        more.tell(&self.log);
        let library = loaded.map_err(|error| error.with_detail(said.text()))?;
        self.log.write(Level::Info, &format!("{library} is loaded: {wanted}"));
        let (engine, said) = gather(attempt);
        engine.ok_or_else(|| match plugins::missing(&said, plan.data) {
            Some(wanted) => wanted.nowhere().with_detail(said.text()),
            None => self.explain(plan, &said),
        })
    }

    /// Why TensorRT did not take a plan, as far as its lines, its diagnosis and the plan's header tell.
    fn explain(&self, plan: &Plan<'_>, said: &Lines) -> Error {
        let both = plan::both_sides(plan, self.version(), &self.device.info);
        if said.mention(&["getEngineHostCodeAllowed"]) {
            let advice = "it brings code that runs on the host, as version-compatible plans do: if you trust it, allow that \
                          with planrt_runtime_options_set_engine_host_code_allowed";
            return failed(Code::IncompatibleModel, format!("{both}; {advice}"), said);
        }
        let reasons = self.diagnose(plan);
        let is_sound = reasons.as_ref().is_some_and(|reasons| !reasons.contains(&MALFORMED));
        if is_sound || said.mention(&["ersion tag does not match", "erialized Engine Version", "ncompatible"]) {
            let reasons = reasons.map(|reasons| format!(" ({})", reasons.join(", "))).unwrap_or_default();
            let advice = "build it again with these, or version-compatible (kVERSION_COMPATIBLE)";
            return failed(Code::IncompatibleModel, format!("{both}: TensorRT refuses it{reasons}; {advice}"), said);
        }
        if said.mention(&["Cuda Runtime", "cudaError"]) {
            return failed(Code::TensorRt, format!("{both}: CUDA fails under TensorRT before the plan is read"), said);
        }
        failed(Code::InvalidModel, format!("{both}: TensorRT cannot read it, it is damaged"), said)
    }

    /// What TensorRT-RTX says is wrong with a plan; nothing where TensorRT has no such diagnosis.
    fn diagnose(&self, plan: &Plan<'_>) -> Option<Vec<&'static str>> {
        let (_, bits) = self.runtime.engine_validity(plan.data).ok()?;
        let reasons = DIAGNOSES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
        Some(reasons.map(|(_, reason)| *reason).collect()).filter(|reasons: &Vec<_>| !reasons.is_empty())
    }
}

const MALFORMED: &str = "it is malformed";

/// `EngineInvalidityDiagnostics` of TensorRT-RTX, by bit.
const DIAGNOSES: [&str; 7] = [
    "another version built it",
    "the GPU's compute capability is not among those that it supports",
    "the CUDA driver is too old",
    "the CUDA runtime is too old",
    "the GPU has too little memory",
    MALFORMED,
    "a CUDA call failed",
];

/// Sets how much device memory the weights may take. No context may exist yet.
fn stream_weights(engine: &tensorrt_sys::Engine, budget: WeightBudget) -> Result<()> {
    let streamable = engine.streamable_weights_size()?;
    if streamable == 0 {
        let message = "the plan cannot stream its weights: build it with kWEIGHT_STREAMING, or set no budget";
        return Err(Error::new(Code::Unsupported, message));
    }
    let bytes = match budget {
        WeightBudget::Automatic => engine.weight_streaming_automatic_budget()?,
        WeightBudget::Fixed(bytes) => bytes,
    };
    let (done, said) = gather(|| engine.set_weight_streaming_budget_v2(bytes));
    if !done? {
        let message = format!("TensorRT refuses {bytes} bytes for weights of which {streamable} bytes can be streamed");
        return Err(failed(Code::TensorRt, message, &said));
    }
    Ok(())
}

impl Drop for Library {
    fn drop(&mut self) {
        if let Ok(_current) = self.device.make_current() {
            // SAFETY: dropped here and nowhere else. Without the device's context TensorRT could not free what it holds.
            unsafe { ManuallyDrop::drop(&mut self.runtime) };
        }
    }
}
