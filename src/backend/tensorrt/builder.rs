//! A TensorRT library that builds plans, and the ONNX parser and plugins that belong to it.

use super::Options;
use super::diagnostics::{Lease, failed, gather};
use super::find::{self, Found};
use super::plugins::{self, Plugins};
use crate::cuda::Device;
use crate::error::{Code, Error, Result};
use crate::log::{Level, Log};
use crate::quote::shown;
use std::sync::Arc;
use tensorrt_sys::{Builder, Generation, Network, Parser, ParserLibrary, ParserRefitter, Refitter, Version};

/// What is made with it goes before it.
pub struct BuilderLibrary {
    found: Found,
    parser: ParserLibrary,
    device: Option<Arc<Device>>,
    has_plugins: bool,
    // Kept loaded, and the logger after all that TensorRT calls it from.
    _plugins: Plugins,
    lease: Lease,
}

impl BuilderLibrary {
    /// Finds and loads TensorRT, its parser and the plugins. TensorRT-RTX builds without a GPU, no other does: `device` is told whether it may
    /// be done without.
    pub fn load<'d>(
        options: &Options,
        device: impl FnOnce(bool) -> Result<Option<&'d Arc<Device>>>,
        log: &Arc<Log>,
    ) -> Result<Self> {
        let found = find::find(options.path.as_deref())?;
        let library = &found.library;
        let version = library.version();
        if !library.builds() {
            let (flavor, path) = (library.flavor(), shown(library.path()).to_string());
            return Err(Error::new(
                Code::Unsupported,
                format!(
                    "{version} ({flavor}: {path}) has no builder; libnvinfer.so.{}, the full TensorRT, has it: name that with \
                     planrt_runtime_options_set_tensorrt_path",
                    version.major
                ),
            ));
        }
        let device = device(version.generation == Generation::Rtx)?.map(Arc::clone);
        let plugins = Plugins::load(options, library)?;
        let name = ParserLibrary::name(version);
        let parser = plugins::open_beside(library, &name, |path| {
            // SAFETY: NVIDIA's library by its name.
            unsafe { ParserLibrary::open(path) }.map_err(|error| error.to_string())
        })
        .map_err(|why| {
            let message =
                format!("{name}, the ONNX parser of {version}, does not load: {why}; it belongs beside TensorRT");
            Error::new(Code::NoTensorRt, message)
        })?;
        let lease = Lease::new(log);
        // Operators that are plugins are known to the parser only where these are registered; few models have any.
        let registered = match version.generation {
            Generation::Rtx => None,
            _ => Some(plugins.register_standard(library, lease.logger())),
        };
        if let Some(Err(why)) = &registered {
            log.write(Level::Info, &format!("operators that are plugins of TensorRT's cannot be built: {why}"));
        }
        let has_plugins = matches!(registered, Some(Ok(())));
        log.write(Level::Info, &format!("plans are built with {found}"));
        Ok(Self { found, parser, device, has_plugins, _plugins: plugins, lease })
    }

    pub fn version(&self) -> Version {
        self.found.library.version()
    }

    pub fn device(&self) -> Option<&Arc<Device>> {
        self.device.as_ref()
    }

    /// Whether cuDNN is there, which 8.5's plugin for InstanceNormalization calls: it comes into the process with the plugins.
    pub fn has_cudnn(&self) -> bool {
        self.has_plugins && tensorrt_sys::has_cudnn()
    }

    /// The device's context is current, if there is one.
    pub fn new_builder(&self) -> Result<Builder> {
        let (builder, said) = gather(|| self.found.library.create_builder(self.lease.logger()));
        builder.ok_or_else(|| {
            let message = format!("the builder of {} does not start; is the driver too old for it?", self.version());
            failed(Code::NoTensorRt, message, &said)
        })
    }

    /// A network of the builder's, of exactly the model's types if it is to be typed.
    pub fn new_network(&self, builder: &Builder, typed: bool) -> Result<Network> {
        let network = builder.create_network(typed);
        network.ok_or_else(|| Error::new(Code::TensorRt, format!("{} makes no network", self.version())))
    }

    /// What takes weights from a model for an engine that this TensorRT made of a plan. From 10.
    pub fn new_parser_refitter(&self, refitter: Refitter) -> Result<ParserRefitter> {
        // SAFETY: the parser is that of this TensorRT, which made the refitter.
        let (parser, said) = gather(|| unsafe { self.parser.create_refitter(refitter, self.lease.logger()) });
        parser.ok_or_else(|| {
            let message = format!("the ONNX parser of {} does not start to refit", self.version());
            failed(Code::NoTensorRt, message, &said)
        })
    }

    /// What puts weights into an engine that this TensorRT made of a plan. The device's context is current.
    pub fn new_refitter(&self, engine: &tensorrt_sys::Engine) -> Result<Refitter> {
        let (refitter, said) = gather(|| self.found.library.create_refitter(engine, self.lease.logger()));
        refitter
            .ok_or_else(|| failed(Code::TensorRt, format!("{} makes no refitter for this plan", self.version()), &said))
    }

    pub fn new_parser(&self, network: Network) -> Result<Parser> {
        // SAFETY: the parser is that of this TensorRT, whose builder made the network.
        let (parser, said) = gather(|| unsafe { self.parser.create_parser(network, self.lease.logger()) });
        parser.ok_or_else(|| {
            failed(Code::NoTensorRt, format!("the ONNX parser of {} does not start", self.version()), &said)
        })
    }
}
