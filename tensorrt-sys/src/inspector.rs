//! `IEngineInspector`: what an engine's layers became.

use crate::context::Context;
use crate::object::{Object, text};
use crate::{LayerInformationFormat, tables};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

/// An engine inspector. Its engine lives as long as it. Used by one thread at a time.
pub struct Inspector {
    object: Object,
    not_sync: PhantomData<Cell<()>>,
}

// SAFETY of every call below: the object is an IEngineInspector of the version that it carries, and
// alive; its strings are copied before it is called again.
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
        unsafe { self.object.method(&tables::SET_EXECUTION_CONTEXT)(self.object.this(), context) }
    }

    /// What there is to know of one layer; `None` if there is no such layer.
    pub fn layer_information(&self, layer: i32, format: LayerInformationFormat) -> Option<String> {
        unsafe {
            let get = self.object.method(&tables::LAYER_INFORMATION);
            let said = text(get(self.object.this(), layer, format as i32))?;
            Some(said.to_string_lossy().into_owned())
        }
    }

    /// What there is to know of all layers.
    pub fn engine_information(&self, format: LayerInformationFormat) -> Option<String> {
        unsafe {
            let get = self.object.method(&tables::ENGINE_INFORMATION);
            let said = text(get(self.object.this(), format as i32))?;
            Some(said.to_string_lossy().into_owned())
        }
    }
}
