//! `IProfiler`: the times of a context's layers, received in Rust.
//!
//! Like `ILogger`, its virtual table is the method and the destructors up to TensorRT 10, and begins with the versioned interface's
//! methods from 11 on and in TensorRT-RTX.

use crate::Generation;
use crate::interface::{InterfaceInfo, VirtualTable, api_language, keep};
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Hears how long each layer took, run after run.
pub struct Profiler {
    plain: Face<Plain>,
    versioned: Face<Versioned>,
    times: Mutex<Vec<(String, Duration)>>,
}

/// The C++ object: the pointer to its virtual table, and how far into the profiler it lies.
#[repr(C)]
struct Face<T: 'static> {
    methods: &'static T,
    offset: usize,
}

/// The methods of `IProfiler` up to TensorRT 10.
#[repr(C)]
struct Plain {
    report_layer_time: unsafe extern "C" fn(*const Face<Plain>, *const c_char, f32),
    destructors: [extern "C" fn(*mut Face<Plain>); 2],
}

/// The methods of `IProfiler` from TensorRT 11 and in TensorRT-RTX.
#[repr(C)]
struct Versioned {
    api_language: extern "C" fn(*const Face<Versioned>) -> i32,
    interface_info: extern "C" fn(*const Face<Versioned>) -> InterfaceInfo,
    destructors: [extern "C" fn(*mut Face<Versioned>); 2],
    report_layer_time: unsafe extern "C" fn(*const Face<Versioned>, *const c_char, f32),
}

static PLAIN: VirtualTable<Plain> = VirtualTable::new(Plain { report_layer_time, destructors: [keep, keep] });

static VERSIONED: VirtualTable<Versioned> =
    VirtualTable::new(Versioned { api_language, interface_info, destructors: [keep, keep], report_layer_time });

extern "C" fn interface_info(_this: *const Face<Versioned>) -> InterfaceInfo {
    InterfaceInfo::new(c"IProfiler")
}

unsafe extern "C" fn report_layer_time<T>(this: *const Face<T>, layer: *const c_char, milliseconds: f32) {
    if layer.is_null() {
        return;
    }
    // SAFETY: TensorRT calls this on the face that it was given, which lies so far into a profiler that is alive, with a string
    // that lives during the call.
    let (profiler, layer) = unsafe { (&*this.byte_sub((*this).offset).cast::<Profiler>(), CStr::from_ptr(layer)) };
    let time = Duration::try_from_secs_f32(milliseconds / 1e3).unwrap_or_default();
    let mut times = profiler.times.lock().unwrap_or_else(PoisonError::into_inner);
    times.push((layer.to_string_lossy().into_owned(), time));
}

impl Profiler {
    /// One that has heard nothing.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            plain: Face { methods: &PLAIN.methods, offset: std::mem::offset_of!(Self, plain) },
            versioned: Face { methods: &VERSIONED.methods, offset: std::mem::offset_of!(Self, versioned) },
            times: Mutex::default(),
        })
    }

    /// What was heard since the last time, in its order.
    pub fn take(&self) -> Vec<(String, Duration)> {
        std::mem::take(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The `IProfiler*` in the form of a generation.
    pub(crate) fn as_ptr(self: &Arc<Self>, generation: Generation) -> *mut c_void {
        let this = Arc::as_ptr(self);
        // SAFETY: fields of what the Arc holds; made of its own pointer, so that the way back from the field is allowed.
        unsafe {
            match generation {
                Generation::V8 | Generation::V10 => (&raw const (*this).plain).cast_mut().cast(),
                Generation::V11 | Generation::Rtx => (&raw const (*this).versioned).cast_mut().cast(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables;
    use std::mem::offset_of;

    #[test]
    fn is_heard_in_every_form() {
        let slot = |row: crate::Row, generation: Generation| {
            usize::from(row.slot(generation.first()).unwrap().index) * size_of::<usize>()
        };
        let report = tables::REPORT_LAYER_TIME.row();
        assert_eq!(offset_of!(Plain, report_layer_time), slot(report, Generation::V8));
        assert_eq!(offset_of!(Versioned, report_layer_time), slot(report, Generation::V11));
        let info = tables::PROFILER_INTERFACE_INFO.row();
        assert_eq!(offset_of!(Versioned, interface_info), slot(info, Generation::Rtx));
        let profiler = Profiler::new();
        for generation in Generation::ALL {
            let this = profiler.as_ptr(generation).cast();
            // SAFETY: the profiler is an IProfiler of the generation.
            unsafe { tables::REPORT_LAYER_TIME.of(this, generation.first())(this, c"conv".as_ptr(), 0.5) }
        }
        assert_eq!(profiler.take(), vec![("conv".to_owned(), Duration::from_micros(500)); 4]);
        assert!(profiler.take().is_empty());
    }
}
