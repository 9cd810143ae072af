//! A deserialized plan and what it says of itself.

use super::diagnostics::{failed, gather};
use super::library::Library;
use super::plan::Origin;
use super::plugins;
use super::profiles::Profiles;
use super::{Plan, PlanOptions};
use crate::cuda::Turns;
use crate::engine::{Backend, Description, MemoryKind, ProfileShape, Role, Statistic, TensorInfo};
use crate::error::{Code, Error, Result};
use crate::log::Level;
use crate::model::fingerprint;
use crate::quote::quoted_bytes;
use crate::tensor::{ElementType, Shape};
use serde_json::{Value, json};
use std::ffi::{CStr, CString};
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use tensorrt_sys::{
    DataType, Dims, EngineStat, ExecutionContextAllocationStrategy, Generation, HostMemory, LayerInformationFormat,
    OptProfileSelector, TensorFormat, TensorIoMode, TensorLocation,
};

pub struct Engine {
    engine: ManuallyDrop<tensorrt_sys::Engine>,
    description: Description,
    profiles: Arc<Profiles>,
    library: Arc<Library>,
    /// Where its runs must not share the device.
    turns: Option<Arc<Turns>>,
    /// `None` for a copy, which nobody asks.
    origin: Option<Origin>,
}

impl Engine {
    pub fn load(library: &Arc<Library>, plan: &Plan<'_>, options: &PlanOptions) -> Result<Arc<Self>> {
        let _current = library.device().make_current()?;
        let mut engine = Self::new(library.load_plan(plan, options)?, library.clone(), None)?;
        if let Some(plugin) = plugins::that_runs_alone(plan.data) {
            engine.turns = Some(Turns::of(library.device())?);
            library.log().write(Level::Warning, &plugins::why_alone(plugin));
        }
        engine.description.fingerprint = fingerprint(plan.data);
        engine.origin = Some(plan.origin);
        Ok(Arc::new(engine))
    }

    /// The device's context is current.
    fn new(engine: tensorrt_sys::Engine, library: Arc<Library>, turns: Option<Arc<Turns>>) -> Result<Self> {
        let description = describe(&engine, &library)?;
        let dynamic = description.tensors.iter().any(|t| t.role == Role::Input && t.shape.is_dynamic());
        let exclusive = dynamic && library.version().generation == Generation::V8;
        let profiles = Profiles::new(description.profiles.len(), exclusive, library.version());
        Ok(Self { engine: ManuallyDrop::new(engine), description, profiles, library, turns, origin: None })
    }

    pub fn library(&self) -> &Arc<Library> {
        &self.library
    }

    pub fn profiles(&self) -> &Arc<Profiles> {
        &self.profiles
    }

    /// Where its runs must not share the device.
    pub fn turns(&self) -> Option<&Arc<Turns>> {
        self.turns.as_ref()
    }

    /// The plan that it was made from, for a copy. Takes longer than loading it does.
    pub fn serialize(&self) -> Result<HostMemory> {
        let _current = self.library.device().make_current()?;
        let (plan, said) = gather(|| self.engine.serialize());
        plan.ok_or_else(|| failed(Code::TensorRt, "TensorRT does not serialize the engine".to_owned(), &said))
    }

    /// The same engine once more, with weights of its own.
    pub fn copy(&self, plan: &HostMemory) -> Result<Arc<Self>> {
        let _current = self.library.device().make_current()?;
        Self::new(self.library.load_again(plan)?, self.library.clone(), self.turns.clone()).map(Arc::new)
    }

    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The device's context is current.
    pub fn create_execution_context(
        &self,
        strategy: ExecutionContextAllocationStrategy,
    ) -> Result<tensorrt_sys::Context> {
        let (context, said) = gather(|| self.engine.create_execution_context(strategy));
        context?.ok_or_else(|| {
            let takes = match strategy {
                ExecutionContextAllocationStrategy::UserManaged => String::new(),
                _ => format!(", which takes {} bytes of device memory", self.description.device_memory_size),
            };
            failed(Code::TensorRt, format!("TensorRT makes no execution context{takes}"), &said)
        })
    }

    /// The layers as JSON.
    pub fn layers_json(&self) -> Result<String> {
        let _current = self.library.device().make_current()?;
        let (json, said) =
            gather(|| self.engine.create_engine_inspector()?.engine_information(LayerInformationFormat::Json));
        json.ok_or_else(|| failed(Code::TensorRt, "TensorRT's engine inspector gives nothing".to_owned(), &said))
    }

    /// What the plan's header says, as JSON.
    pub fn metadata(&self) -> Value {
        let version = self.origin.and_then(|origin| origin.version);
        let compute_capability = self.origin.and_then(|origin| origin.compute_capability);
        json!({
            "format": "plan",
            "name": self.description.name.to_string_lossy(),
            "builder": if self.origin.is_some_and(|origin| origin.is_rtx) { "TensorRT-RTX" } else { "TensorRT" },
            "builder_version": version.map(|[major, minor, patch, _]| format!("{major}.{minor}.{patch}")),
            "compute_capability": compute_capability.map(|(major, minor)| format!("{major}.{minor}")),
        })
    }

    /// A number that the engine knows of itself.
    pub fn statistic(&self, statistic: Statistic) -> Result<i64> {
        let engine = &self.engine;
        Ok(match statistic {
            Statistic::WeightsSize => engine.engine_stat(EngineStat::TotalWeightsSize)?,
            Statistic::StrippedWeightsSize => engine.engine_stat(EngineStat::StrippedWeightsSize)?,
            Statistic::StreamableWeightsSize => engine.streamable_weights_size()?,
            Statistic::WeightStreamingBudget => engine.weight_streaming_budget_v2()?,
            Statistic::AuxStreams => engine.nb_aux_streams()?.into(),
        })
    }

    /// Bytes of device memory that a context takes under that profile.
    pub fn profile_device_memory_size(&self, profile: usize) -> usize {
        let profile = profile as i32;
        let v2 = self.engine.device_memory_size_for_profile_v2(profile).map(|size| usize::try_from(size).unwrap_or(0));
        // TensorRT 8 knows of the largest profile only.
        v2.or_else(|_| self.engine.device_memory_size_for_profile(profile))
            .unwrap_or(self.description.device_memory_size)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Ok(_current) = self.library.device().make_current() {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.engine) };
        }
    }
}

fn describe(engine: &tensorrt_sys::Engine, library: &Library) -> Result<Description> {
    if engine.has_implicit_batch_dimension().unwrap_or(false) {
        return Err(unsupported(
            "the plan has an implicit batch dimension; build it from a network with explicit batch",
        ));
    }
    let mut tensors = Vec::new();
    for index in 0..engine.nb_io_tensors() {
        let name = engine
            .io_tensor_name(index)
            .ok_or_else(|| Error::new(Code::TensorRt, format!("TensorRT gives no name for tensor {index}")))?;
        tensors.push(tensor_info(engine, name)?);
    }
    // Stable: within a role the model's order stays.
    tensors.sort_by_key(|tensor| tensor.role as i32);
    let profiles = (0..engine.nb_optimization_profiles())
        .map(|profile| tensors.iter().map(|tensor| profile_shape(engine, profile, tensor)).collect::<Result<Vec<_>>>())
        .collect::<Result<Vec<_>>>()?;
    let device_memory_size = match engine.device_memory_size() {
        Ok(size) => size,
        Err(_) => engine.device_memory_size_v2().ok().and_then(|size| usize::try_from(size).ok()).unwrap_or(0),
    };
    Ok(Description {
        backend: Backend::TensorRt,
        name: CString::new(engine.name().unwrap_or_default().to_string_lossy().into_owned()).unwrap_or_default(),
        device_name: CString::new(library.device().info.name.clone()).unwrap_or_default(),
        tensors,
        profiles,
        device_memory_size,
        fingerprint: 0,
    })
}

fn tensor_info(engine: &tensorrt_sys::Engine, name: &CStr) -> Result<TensorInfo> {
    let shown = quoted_bytes(name.to_bytes()).to_string();
    if name.to_str().is_err() {
        return Err(unsupported(&format!("the name of tensor {shown} is not UTF-8: nobody could give it")));
    }
    let unknown = |error: tensorrt_sys::Unknown| unsupported(&format!("tensor {shown}: {error}"));
    let role = match engine.tensor_io_mode(name).map_err(unknown)? {
        TensorIoMode::Input => Role::Input,
        TensorIoMode::Output => Role::Output,
        TensorIoMode::None => {
            return Err(Error::new(Code::TensorRt, format!("{shown} is neither input nor output")));
        }
    };
    if engine.tensor_location(name).map_err(unknown)? == TensorLocation::Host {
        return Err(unsupported(&format!(
            "tensor {shown} holds a shape and lies on the host; build the plan from a network whose shapes follow from its inputs'"
        )));
    }
    let format = engine.tensor_format(name).map_err(unknown)?;
    if format != TensorFormat::Linear {
        let text = engine.tensor_format_desc(name).map(CStr::to_string_lossy).unwrap_or_default();
        return Err(unsupported(&format!(
            "tensor {shown} has the format {format:?} ({text}); build the plan with linear inputs and outputs"
        )));
    }
    Ok(TensorInfo {
        role,
        element_type: element_type(engine.tensor_data_type(name).map_err(unknown)?, &shown)?,
        memory_kind: MemoryKind::Device,
        shape: shape(engine.tensor_shape(name), &shown)?,
        name: name.to_owned(),
    })
}

fn profile_shape(engine: &tensorrt_sys::Engine, profile: i32, tensor: &TensorInfo) -> Result<Option<ProfileShape>> {
    if tensor.role != Role::Input {
        return Ok(None);
    }
    let of = |select| shape(engine.profile_shape(&tensor.name, profile, select), &tensor.quoted());
    Ok(Some(ProfileShape {
        min: of(OptProfileSelector::Min)?,
        opt: of(OptProfileSelector::Opt)?,
        max: of(OptProfileSelector::Max)?,
    }))
}

fn element_type(data_type: DataType, tensor: &str) -> Result<ElementType> {
    Ok(match data_type {
        DataType::Float => ElementType::Float32,
        DataType::Half => ElementType::Float16,
        DataType::Bf16 => ElementType::BFloat16,
        DataType::Int8 => ElementType::Int8,
        DataType::Uint8 => ElementType::Uint8,
        DataType::Int32 => ElementType::Int32,
        DataType::Int64 => ElementType::Int64,
        DataType::Bool => ElementType::Bool,
        other => {
            return Err(unsupported(&format!(
                "tensor {tensor} has elements of {other:?}, which planrt does not hand over"
            )));
        }
    })
}

/// A shape as TensorRT gives it.
pub fn shape(dims: Option<Dims>, tensor: &dyn fmt::Display) -> Result<Shape> {
    let dims = dims.ok_or_else(|| Error::new(Code::TensorRt, format!("TensorRT gives no shape for {tensor}")))?;
    Shape::new(&dims)
}

fn unsupported(message: &str) -> Error {
    Error::new(Code::Unsupported, message)
}
