//! What a person asks when a model does not run: what is on this machine, what is in the model, and does it fit?

use crate::backend::tensorrt;
use crate::cuda;
use crate::engine::{Backend, Description, Role};
use crate::error::{Code, Result};
use crate::folder::{Folder, Outcome, PASSPORT};
use crate::model::{self, Format};
use crate::quote::{printable, quoted, quoted_bytes, shown};
use crate::runtime::{CpuChoice, EngineOptions, Options, Runtime};
use crate::segment::{self, description};
use std::fmt::Write;
use std::path::Path;
use tensorrt_sys::Flavor;

pub struct Diagnosis {
    /// For people, in lines.
    pub report: String,
    /// Whether the model, or without one any model, will run here.
    pub usable: bool,
}

/// Never fails: what cannot be found out is part of the report.
pub fn examine(options: Options, model: Option<&Path>) -> Diagnosis {
    let mut report = Report::default();
    report.line("planrt", &[env!("CARGO_PKG_VERSION").to_owned()]);
    report.line("driver", &driver());
    let libraries = tensorrt::every_library(options.tensorrt.path.as_deref());
    report.line("TensorRT", &tensorrts(&libraries));
    for path in &options.tensorrt.plugin_libraries {
        report.line("plugin library", &[shown(path).to_string()]);
    }
    let cpu = match cfg!(feature = "cpu") {
        true => "runs ONNX models (tract, compiled in)",
        false => "not in this build of planrt",
    };
    report.line("CPU engine", &[cpu.to_owned()]);
    let runtime = Runtime::new(options);
    report.line("OpenVINO", &openvino(&runtime));
    let gpu = runtime.tensorrt();
    report.line(
        "plans",
        &[match &gpu {
            Ok(tensorrt) => format!("run on {} with {}", tensorrt.device().info.name, tensorrt.version()),
            Err(error) => format!("do not run here: {error}"),
        }],
    );
    let usable = match model {
        None => gpu.is_ok() || cfg!(feature = "cpu"),
        Some(path) => report.model(&runtime, path),
    };
    Diagnosis { report: printable(&report.0).into_owned(), usable }
}

fn driver() -> Vec<String> {
    let found = cuda::driver_version().and_then(|version| Ok((version, cuda::devices()?)));
    let ((major, minor), devices) = match found {
        Ok(found) => found,
        Err(error) => return vec![error.to_string()],
    };
    let mut lines = vec![format!("speaks CUDA {major}.{minor}, {} devices", devices.len())];
    lines.extend(devices.iter().map(|device| {
        let (major, minor) = device.compute_capability;
        let gib = device.total_memory as f64 / f64::from(1u32 << 30);
        format!("device {}: {}, compute capability {major}.{minor}, {gib:.1} GiB", device.ordinal, device.name)
    }));
    lines.extend(cuda::driver_gaps().unwrap_or_default());
    lines
}

/// What was found; a runtime with the same options uses the first.
fn tensorrts(libraries: &[Result<tensorrt::Found>]) -> Vec<String> {
    if libraries.is_empty() {
        return vec!["none found".to_owned()];
    }
    let mut lines = Vec::new();
    for (number, found) in libraries.iter().enumerate() {
        match found {
            Err(error) => lines.push(error.to_string()),
            Ok(found) => {
                let mark = if number == 0 { "; it is used" } else { "" };
                lines.push(format!("{found}{mark}"));
                if found.library.flavor() == Flavor::Full {
                    lines.push(match tensorrt::probe_plugins(&found.library) {
                        Ok(name) => format!("  its plugins: {name} loads"),
                        Err(why) => format!("  its plugins: {why}"),
                    });
                }
            }
        }
    }
    lines
}

/// What runs ONNX models where the application asks for it.
fn openvino(runtime: &Runtime) -> Vec<String> {
    match runtime.openvino_origin() {
        Ok(origin) => vec![format!("{origin}; it runs ONNX models where the application chooses it")],
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

#[derive(Default)]
struct Report(String);

impl Report {
    /// A heading and what belongs under it, one column to the right.
    fn line(&mut self, heading: &str, texts: &[String]) {
        let mut heading = heading;
        for text in texts.iter().flat_map(|text| text.lines()) {
            // Writing to a String does not fail.
            let _ = writeln!(self.0, "{heading:<15} {text}");
            heading = "";
        }
    }

    /// Describes a model; whether it runs here.
    fn model(&mut self, runtime: &Runtime, path: &Path) -> bool {
        self.line("model", &[shown(path).to_string()]);
        if path.is_dir() {
            let is_described = description::is_in(path);
            // What says how a volume is segmented may do without a passport.
            let has_passport = !is_described || path.join(PASSPORT).symlink_metadata().is_ok();
            let is_fit = !has_passport || self.folder(runtime, path);
            return is_fit && (!is_described || self.segmenter(runtime, path, has_passport));
        }
        if let Some(origin) = origin(path) {
            self.line("", &[origin]);
        }
        let mut is_onnx = false;
        let outcome = runtime.load_file(path, &EngineOptions::default()).and_then(|engine| {
            is_onnx = engine.description().backend != Backend::TensorRt;
            self.describe(engine.description());
            // A context takes memory that may not be there.
            engine.new_context().map(|_| ())
        });
        if is_onnx && runtime.openvino_origin().is_ok() {
            let options = EngineOptions { cpu: CpuChoice::OpenVino, ..EngineOptions::default() };
            let verdict = match runtime.load_file(path, &options) {
                Ok(_) => "takes the model, too".to_owned(),
                Err(error) => format!("does not take it: {error}"),
            };
            self.line("OpenVINO", &[verdict]);
        }
        let verdict = match &outcome {
            Ok(()) => "runs here".to_owned(),
            Err(error) => format!("does not run here: {error}"),
        };
        self.line("verdict", &[verdict]);
        outcome.is_ok()
    }

    /// Whether a folder that says how a volume is segmented does so here.
    fn segmenter(&mut self, runtime: &Runtime, path: &Path, has_passport: bool) -> bool {
        let engine = EngineOptions { cpu_allowed: true, ..EngineOptions::default() };
        let segmenter = match segment::load(runtime, path, &engine, &segment::Options::default()) {
            Ok(segmenter) => segmenter,
            Err(error) => {
                self.line("verdict", &[format!("volumes are not segmented here: {error}")]);
                return false;
            }
        };
        let segment::Info { channels, score_channels, patch: [z, y, x], .. } = segmenter.info();
        let taken = format!("of {channels} channels, in tiles of {z}x{y}x{x}; {score_channels} channels decide");
        self.line("volumes", &[taken]);
        if !has_passport {
            let message =
                "volumes are segmented here; the folder has no passport, so that nothing says whether it was changed";
            self.line("verdict", &[message.to_owned()]);
        }
        true
    }

    /// Holds a model folder against its passport, and tries each of its models with its test vectors; whether the one that is
    /// taken here is fit for use.
    fn folder(&mut self, runtime: &Runtime, path: &Path) -> bool {
        let folder = match Folder::open(path) {
            Ok(folder) => folder,
            Err(error) => {
                self.line("verdict", &[format!("not fit for use: {error}")]);
                return false;
            }
        };
        let count = folder.file_count();
        self.line("", &[format!("folder of {}: {count} files, all as the passport says", quoted(folder.name()))]);
        let mut parts_usable = true;
        for part in folder.parts() {
            self.line("part", &[shown(&part).to_string()]);
            parts_usable &= self.folder(runtime, &part);
        }
        let mut taken = None;
        let plans = folder.plans(runtime);
        let models = plans.iter().map(|file| ("plan", *file)).chain(folder.onnx().map(|file| ("ONNX model", file)));
        for (kind, file) in models {
            self.line(kind, &[file.to_owned()]);
            let engine = match folder.load_file(runtime, file, &EngineOptions::default()) {
                Ok(engine) => engine,
                Err(error) => {
                    self.line("", &[format!("does not run here: {error}")]);
                    continue;
                }
            };
            self.describe(engine.description());
            let (passes, line) = match folder.self_test(&engine).and_then(Outcome::into_result) {
                Ok(_) => (true, "agrees with the test vectors".to_owned()),
                Err(error) if error.code() == Code::NotFound => (true, error.to_string()),
                Err(error) => (false, error.to_string()),
            };
            self.line("self-test", &[line]);
            taken = taken.or(Some((file, engine.description().backend, passes)));
        }
        let (usable, verdict) = match taken {
            _ if !parts_usable => (false, "not fit for use: a part of it is not".to_owned()),
            None if folder.is_ensemble() => (true, "fit for use: all its parts are".to_owned()),
            None => (false, "not fit for use: none of its models runs here".to_owned()),
            Some((file, _, false)) => {
                (false, format!("not fit for use: {file} is taken, and does not pass its self-test"))
            }
            Some((file, Backend::Cpu | Backend::OpenVino, true)) if !plans.is_empty() => {
                (true, format!("fit for use on the CPU only, where that is allowed: {file}"))
            }
            Some((file, _, true)) => (true, format!("fit for use: {file}")),
        };
        self.line("verdict", &[verdict]);
        usable
    }

    fn describe(&mut self, description: &Description) {
        let engine = description.backend.title();
        let memory = match description.device_memory_size {
            0 => String::new(),
            bytes => format!(", {:.1} MiB of device memory a context", bytes as f64 / f64::from(1u32 << 20)),
        };
        self.line("", &[format!("{} for {engine}{memory}", quoted_bytes(description.name.as_bytes()))]);
        for (i, tensor) in description.tensors.iter().enumerate() {
            let role = if tensor.role == Role::Input { "input" } else { "output" };
            self.line(role, &[format!("{} {} {}", tensor.quoted(), tensor.element_type, tensor.shape)]);
            for (number, profile) in description.profiles.iter().enumerate() {
                if let Some(range) = &profile[i] {
                    self.line(
                        "",
                        &[format!("profile {number}: {} to {}, best at {}", range.min, range.max, range.opt)],
                    );
                }
            }
        }
    }
}

/// What built a plan, as far as its header says.
fn origin(path: &Path) -> Option<String> {
    let data = model::map_file(path).ok()?;
    match model::recognize(&data).ok()? {
        Format::Onnx => Some("an ONNX model".to_owned()),
        Format::Plan => Some(format!("a plan of {}", tensorrt::Plan::parse(&data).ok()?.origin)),
    }
}
