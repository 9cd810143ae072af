//! `IEngineInspector`: what an engine's layers became.

use crate::LayerInformationFormat;
use crate::context::Context;
use crate::object::{Object, call, text};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

/// An engine inspector. Its engine lives as long as it. Used by one thread at a time.
pub struct Inspector {
    object: Object,
    not_sync: PhantomData<Cell<()>>,
}

impl Inspector {
    pub(crate) fn new(object: Object) -> Self {
        Self { object, not_sync: PhantomData }
    }

    /// Lets the inspector tell shapes as a context has them; false if TensorRT refuses.
    ///
    /// # Safety
    /// The context is one of the same engine, and outlives its use by the inspector.
    pub unsafe fn set_execution_context(&mut self, context: Option<&Context>) -> bool {
        let context = context.map_or(ptr::null_mut(), Context::as_ptr);
        call!(self.object, SET_EXECUTION_CONTEXT, context)
    }

    /// What there is to know of one layer; `None` if there is no such layer.
    pub fn layer_information(&self, layer: i32, format: LayerInformationFormat) -> Option<String> {
        let said = call!(self.object, LAYER_INFORMATION, layer, format as i32);
        // SAFETY: a string of the inspector's, copied before it is called again.
        let said = unsafe { text(said) }?;
        Some(said.to_string_lossy().into_owned())
    }

    /// What there is to know of all layers.
    pub fn engine_information(&self, format: LayerInformationFormat) -> Option<String> {
        let said = call!(self.object, ENGINE_INFORMATION, format as i32);
        // SAFETY: a string of the inspector's, copied before it is called again.
        let said = unsafe { text(said) }?;
        Some(said.to_string_lossy().into_owned())
    }
}
