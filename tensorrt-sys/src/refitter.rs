//! `IRefitter`: new weights for an engine.

use crate::WeightsRole;
use crate::engine::Engine;
use crate::object::{Object, call, text};
use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr;

/// TensorRT's `Weights`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawWeights {
    data_type: i32,
    values: *const c_void,
    count: i64,
}

/// Weights of one layer of a network, which live as long as what they were taken from.
#[derive(Clone, Debug)]
pub struct LayerWeights<'a> {
    /// The layer's name.
    pub layer: CString,
    /// What they are for.
    pub role: WeightsRole,
    raw: RawWeights,
    _lives: PhantomData<&'a ()>,
}

impl LayerWeights<'_> {
    /// `None` where the layer has none of that kind.
    ///
    /// # Safety
    /// `raw` is what a layer of that name has for that role, in memory that lives for `'a`.
    pub(crate) unsafe fn new(layer: &CStr, role: WeightsRole, raw: RawWeights) -> Option<Self> {
        (raw.count > 0 && !raw.values.is_null()).then(|| Self {
            layer: layer.to_owned(),
            role,
            raw,
            _lives: PhantomData,
        })
    }

    /// How many numbers they are.
    pub fn count(&self) -> i64 {
        self.raw.count
    }
}

/// Puts weights into an engine. Used by one thread at a time, while no context of the engine runs.
pub struct Refitter {
    object: Object,
    // Deleted after what refits it.
    _engine: Engine,
}

impl Refitter {
    pub(crate) fn new(object: Object, engine: Engine) -> Self {
        Self { object, _engine: engine }
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// All weights that can be replaced, by their layer's name.
    pub fn all(&self) -> Vec<(CString, Option<WeightsRole>)> {
        self.list(|size, layers, roles| call!(self.object, ALL, size, layers, roles))
    }

    /// The weights that have to be set, beside those that were, before the engine is whole.
    pub fn missing(&self) -> Vec<(CString, Option<WeightsRole>)> {
        self.list(|size, layers, roles| call!(self.object, MISSING, size, layers, roles))
    }

    /// The same by the weights' own names; those without a name are not among them.
    pub fn missing_weights(&self) -> Vec<CString> {
        let count = call!(self.object, MISSING_WEIGHTS, 0, ptr::null_mut());
        let mut names = vec![ptr::null(); usize::try_from(count).unwrap_or(0)];
        let told = call!(self.object, MISSING_WEIGHTS, count, names.as_mut_ptr());
        names.truncate(usize::try_from(told).unwrap_or(0));
        // SAFETY: strings of the refitter's.
        names.into_iter().filter_map(|name| unsafe { text(name) }.map(CStr::to_owned)).collect()
    }

    fn list(&self, ask: impl Fn(i32, *mut *const c_char, *mut i32) -> i32) -> Vec<(CString, Option<WeightsRole>)> {
        let count = ask(0, ptr::null_mut(), ptr::null_mut());
        let size = usize::try_from(count).unwrap_or(0);
        let (mut layers, mut roles) = (vec![ptr::null(); size], vec![0; size]);
        let told = ask(count, layers.as_mut_ptr(), roles.as_mut_ptr());
        layers.truncate(usize::try_from(told).unwrap_or(0));
        let with_role = layers.into_iter().zip(roles);
        with_role
            // SAFETY: strings of the refitter's.
            .filter_map(|(layer, role)| Some((unsafe { text(layer) }?.to_owned(), WeightsRole::try_from(role).ok())))
            .collect()
    }

    /// Sets weights and refits the engine with them. The index of the weights that TensorRT refuses, if it refuses some;
    /// else whether the engine is refitted. The log says why it is not.
    pub fn refit_layers(&mut self, weights: &[LayerWeights<'_>]) -> Result<bool, usize> {
        for (i, of) in weights.iter().enumerate() {
            if !call!(self.object, SET_WEIGHTS, of.layer.as_ptr(), of.role as i32, of.raw) {
                return Err(i);
            }
        }
        Ok(self.refit())
    }

    /// Refits the engine with what was set; false if TensorRT cannot, and its log says why.
    pub(crate) fn refit(&mut self) -> bool {
        call!(self.object, REFIT_CUDA_ENGINE)
    }
}
