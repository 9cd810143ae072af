//! `INetworkDefinition`, and the layers and tensors in it.

use crate::DataType;
use crate::WeightsRole;
use crate::dims::Dims;
use crate::enums::Unknown;
use crate::method::{Absent, This};
use crate::object::{Object, Part, call, call_optional, text};
use crate::refitter::LayerWeights;
use crate::version::{Generation, Version};
use std::ffi::{CStr, c_void};
use std::sync::Arc;

/// A network under construction. Used by one thread at a time.
pub struct Network(Arc<Object>);

impl Network {
    pub(crate) fn new(object: Object) -> Self {
        Self(Arc::new(object))
    }

    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// The version of the library that made the network.
    pub fn version(&self) -> Version {
        self.0.version()
    }

    /// The inputs, in their order.
    pub fn inputs(&self) -> impl Iterator<Item = Tensor> + '_ {
        (0..call!(self.0, NB_NETWORK_INPUTS)).filter_map(|i| self.tensor(call!(self.0, NETWORK_INPUT, i)))
    }

    /// The outputs, in their order.
    pub fn outputs(&self) -> impl Iterator<Item = Tensor> + '_ {
        (0..call!(self.0, NB_NETWORK_OUTPUTS)).filter_map(|i| self.tensor(call!(self.0, NETWORK_OUTPUT, i)))
    }

    /// The layers, in their order.
    pub fn layers(&self) -> impl Iterator<Item = Layer> + '_ {
        (0..call!(self.0, NB_NETWORK_LAYERS)).filter_map(|i| {
            let raw = call!(self.0, NETWORK_LAYER, i);
            // SAFETY: a layer of the network's, which owns it.
            let part = unsafe { Part::borrow(raw, &self.0) }?;
            Some(Layer { part, network: Arc::clone(&self.0) })
        })
    }

    fn tensor(&self, raw: *mut c_void) -> Option<Tensor> {
        // SAFETY: a tensor of the network's, which owns it.
        unsafe { Part::borrow(raw, &self.0) }.map(Tensor)
    }
}

/// A tensor of a network, which lives as long as it.
pub struct Tensor(Part);

impl Tensor {
    /// Its name.
    pub fn name(&self) -> Option<&CStr> {
        let name = call!(self.0, TENSOR_NAME);
        // SAFETY: a string of the tensor's, which nothing renames meanwhile.
        unsafe { text(name) }
    }

    /// Its shape, −1 where an extent is open; `None` if that is not known.
    pub fn dimensions(&self) -> Option<Dims> {
        let raw = call!(self.0, TENSOR_DIMENSIONS);
        // SAFETY: filled by a method of this generation.
        unsafe { raw.read(self.0.version().generation) }
    }

    /// The type of its elements.
    pub fn data_type(&self) -> Result<DataType, Unknown> {
        DataType::try_from(call!(self.0, TENSOR_TYPE))
    }

    /// Whether its values are a shape: then a profile bounds these.
    pub fn is_shape_tensor(&self) -> bool {
        call!(self.0, IS_SHAPE_TENSOR)
    }
}

/// A layer of a network, which lives as long as it.
pub struct Layer {
    part: Part,
    network: Arc<Object>,
}

impl Layer {
    /// Its name: that of the ONNX node it was made for, or one of TensorRT's own.
    pub fn name(&self) -> Option<&CStr> {
        let name = call!(self.part, LAYER_NAME);
        // SAFETY: a string of the layer's, which nothing renames meanwhile.
        unsafe { text(name) }
    }

    /// What the parser noted: "[ONNX Layer: name]".
    pub fn metadata(&self) -> Result<Option<&CStr>, Absent> {
        let said = call_optional!(self.part, LAYER_METADATA)?;
        // SAFETY: as above.
        Ok(unsafe { text(said) })
    }

    /// The weights that it computes with, under TensorRT 8; later versions find theirs by the names in the model.
    ///
    /// # Safety
    /// What holds the weights, the parser or the application, lives for `'a`.
    pub(crate) unsafe fn weights<'a>(&self) -> Vec<LayerWeights<'a>> {
        use crate::tables::{
            CONSTANT_WEIGHTS, CONVOLUTION_BIAS, CONVOLUTION_KERNEL, DECONVOLUTION_BIAS, DECONVOLUTION_KERNEL,
            FULLY_CONNECTED_BIAS, FULLY_CONNECTED_KERNEL, SCALE_SCALE, SCALE_SHIFT,
        };
        use WeightsRole::{Bias, Constant, Kernel, Scale, Shift};
        /// What an `ILayer*` points at: the layer as every layer is one, and what it is of its own.
        #[repr(C)]
        struct Handle {
            destructors: *const c_void,
            layer: This,
            kind: This,
        }
        let version = self.part.version();
        let Some(name) = self.name().filter(|_| version.generation == Generation::V8) else { return Vec::new() };
        // SAFETY: a layer is alive as long as its network, and all layers have these three words.
        let this = unsafe { (*self.part.as_ptr().cast::<Handle>()).kind };
        let kind = call!(self.part, LAYER_TYPE);
        // SAFETY: the numbers are LayerType's in 8, and each method is called on a layer of its kind.
        let found = unsafe {
            match kind {
                0 => vec![
                    (Kernel, CONVOLUTION_KERNEL.of(this, version)(this)),
                    (Bias, CONVOLUTION_BIAS.of(this, version)(this)),
                ],
                1 => [(Kernel, &FULLY_CONNECTED_KERNEL), (Bias, &FULLY_CONNECTED_BIAS)]
                    .into_iter()
                    .filter_map(|(role, method)| Some((role, method.of(this, version).ok()?(this))))
                    .collect(),
                5 => vec![(Shift, SCALE_SHIFT.of(this, version)(this)), (Scale, SCALE_SCALE.of(this, version)(this))],
                7 => vec![
                    (Kernel, DECONVOLUTION_KERNEL.of(this, version)(this)),
                    (Bias, DECONVOLUTION_BIAS.of(this, version)(this)),
                ],
                19 => vec![(Constant, CONSTANT_WEIGHTS.of(this, version)(this))],
                _ => Vec::new(),
            }
        };
        // SAFETY: by contract.
        found.into_iter().filter_map(|(role, raw)| unsafe { LayerWeights::new(name, role, raw) }).collect()
    }

    /// What it computes.
    pub fn outputs(&self) -> impl Iterator<Item = (i32, Tensor)> + '_ {
        (0..call!(self.part, NB_LAYER_OUTPUTS)).filter_map(|i| {
            let raw = call!(self.part, LAYER_OUTPUT, i);
            // SAFETY: a tensor of the network's, which owns it.
            let part = unsafe { Part::borrow(raw, &self.network) }?;
            Some((i, Tensor(part)))
        })
    }

    /// In which type it is to compute.
    pub fn set_precision(&mut self, precision: DataType) -> Result<(), Absent> {
        call_optional!(self.part, SET_PRECISION, precision as i32)
    }

    /// Of which type one of its outputs is to be.
    pub fn set_output_type(&mut self, output: i32, data_type: DataType) -> Result<(), Absent> {
        call_optional!(self.part, SET_OUTPUT_TYPE, output, data_type as i32)
    }
}
