//! One TensorRT library on one device: loads plans.

use super::engine::Engine;
use super::find::{self, Found};
use super::lines::Lines;
use super::loggers::Lease;
use super::plugins::{self, Plugins};
use super::{Options, Plan, lines, plan};
use crate::backend;
use crate::cuda::{Device, DeviceInfo};
use crate::error::{Code, Error, Result};
use crate::log::{Level, Log};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use tensorrt_sys::Version;

/// Engines keep it. Any thread may use it.
pub struct Runtime {
    runtime: ManuallyDrop<tensorrt_sys::Runtime>,
    found: Found,
    plugins: Plugins,
    device: Arc<Device>,
    log: Arc<Log>,
    // TensorRT calls the logger as long as anything of it lives, so this goes last.
    lease: Lease,
}

impl Runtime {
    /// Finds and loads TensorRT, and the application's plugin libraries.
    pub fn load(options: &Options, device: &Arc<Device>, log: &Arc<Log>) -> Result<Arc<Self>> {
        let found = find::find(options.path.as_deref())?;
        let library = &found.library;
        let plugins = Plugins::load(options, library)?;
        let lease = Lease::new(log);
        let _current = device.make_current()?;
        let (runtime, said) = lines::gather(|| library.create_runtime(lease.logger()));
        let runtime = runtime.ok_or_else(|| {
            failed(Code::NoTensorRt, format!("{} does not start on {}", library.version(), device.info.name), &said)
        })?;
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

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn load_plan(self: &Arc<Self>, plan: &Plan<'_>) -> Result<Arc<dyn backend::Engine>> {
        plan::check(plan, self.version(), &self.device.info)?;
        let _current = self.device.make_current()?;
        let engine = self.deserialize(plan)?;
        Ok(Arc::new(Engine::new(engine, Arc::clone(self))?))
    }

    fn deserialize(&self, plan: &Plan<'_>) -> Result<tensorrt_sys::Engine> {
        // SAFETY: the header was looked at; what lies behind it is for TensorRT to judge, which is all that any program
        // can do with a plan.
        let attempt = || unsafe { self.runtime.deserialize_cuda_engine(plan.data) };
        let (engine, said) = lines::withhold(attempt);
        let wanted = plugins::missing(&said, plan.data).filter(|_| engine.is_none());
        let Some(wanted) = wanted else {
            said.tell(&self.log);
            return engine.ok_or_else(|| self.explain(plan, &said));
        };
        let load = || self.plugins.load_standard(&wanted, &self.found.library, self.lease.logger());
        let (loaded, more) = lines::withhold(load);
        more.tell(&self.log);
        let library = loaded.map_err(|error| error.with_detail(said.text()))?;
        self.log.write(Level::Info, &format!("{library} is loaded: {wanted}"));
        let (engine, said) = lines::gather(attempt);
        engine.ok_or_else(|| match plugins::missing(&said, plan.data) {
            Some(wanted) => wanted.nowhere().with_detail(said.text()),
            None => self.explain(plan, &said),
        })
    }

    /// Why TensorRT did not take a plan, as far as its lines and the plan's header tell.
    fn explain(&self, plan: &Plan<'_>, said: &Lines) -> Error {
        let DeviceInfo { name, compute_capability: (major, minor), .. } = &self.device.info;
        let here = format!("{} on {name}, compute capability {major}.{minor}", self.version());
        let origin = plan.origin.map_or_else(|| "unknown".to_owned(), |origin| origin.to_string());
        if said.mention(&["ersion tag does not match", "erialized Engine Version", "incompatible", "not compatible"]) {
            return failed(
                Code::IncompatibleModel,
                format!(
                    "the plan is for another TensorRT or GPU (its header: {origin}), found is {here}; build it again with these"
                ),
                said,
            );
        }
        failed(
            Code::InvalidModel,
            format!("TensorRT cannot read the plan (its header: {origin}; found is {here}): it is damaged"),
            said,
        )
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Ok(_current) = self.device.make_current() {
            // SAFETY: dropped here and nowhere else. Without the device's context TensorRT could not free what it holds.
            unsafe { ManuallyDrop::drop(&mut self.runtime) };
        }
    }
}

/// An error with TensorRT's lines; where these say that memory ran out, that is its code.
pub fn failed(code: Code, message: String, said: &Lines) -> Error {
    let out_of_memory = said.mention(&["out of memory", "Out of memory", "OutOfMemory"]);
    let code = if out_of_memory { Code::OutOfMemory } else { code };
    let message = if out_of_memory { format!("{message}: out of memory") } else { message };
    Error::new(code, message).with_detail(said.text())
}
