//! `IProgressMonitor`: TensorRT's reports on a build, received in Rust.

use crate::interface::{InterfaceInfo, VirtualTable, api_language, keep};
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What hears of a build. It is called from TensorRT's own threads, from several at once too.
pub trait Progress: Send + Sync {
    /// A phase begins, in another one or by itself.
    fn phase_start(&self, phase: &str, parent: Option<&str>, steps: i32);
    /// A step of a phase is done; whether the build is to go on.
    fn step_complete(&self, phase: &str, step: i32) -> bool;
    /// A phase ends, done or not.
    fn phase_finish(&self, phase: &str);
}

/// An `IProgressMonitor`.
#[repr(C)]
pub struct ProgressMonitor {
    methods: &'static Methods,
    progress: Box<dyn Progress>,
}

/// The methods of `IProgressMonitor`, in every generation that has it.
#[repr(C)]
struct Methods {
    api_language: extern "C" fn(*const ProgressMonitor) -> i32,
    interface_info: extern "C" fn(*const ProgressMonitor) -> InterfaceInfo,
    destructors: [extern "C" fn(*mut ProgressMonitor); 2],
    phase_start: unsafe extern "C" fn(*const ProgressMonitor, *const c_char, *const c_char, i32),
    step_complete: unsafe extern "C" fn(*const ProgressMonitor, *const c_char, i32) -> bool,
    phase_finish: unsafe extern "C" fn(*const ProgressMonitor, *const c_char),
}

static TABLE: VirtualTable<Methods> = VirtualTable::new(Methods {
    api_language,
    interface_info,
    destructors: [keep, keep],
    phase_start,
    step_complete,
    phase_finish,
});

extern "C" fn interface_info(_this: *const ProgressMonitor) -> InterfaceInfo {
    InterfaceInfo::new(c"IProgressMonitor")
}

/// # Safety
/// As for [`crate::object::text`].
unsafe fn owned(text: *const c_char) -> Option<String> {
    // SAFETY: by contract.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Calls what hears of the build; nothing if that panics, which must not pass through C++.
fn tell<R>(call: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(said) => Some(said),
        Err(panic) => {
            // Its value may panic when dropped.
            std::mem::forget(panic);
            None
        }
    }
}

unsafe extern "C" fn phase_start(
    this: *const ProgressMonitor,
    phase: *const c_char,
    parent: *const c_char,
    steps: i32,
) {
    // SAFETY: TensorRT calls this on the monitor that it was given, with strings that live during the call.
    let (monitor, phase, parent) = unsafe { (&*this, owned(phase), owned(parent)) };
    tell(|| monitor.progress.phase_start(&phase.unwrap_or_default(), parent.as_deref(), steps));
}

unsafe extern "C" fn step_complete(this: *const ProgressMonitor, phase: *const c_char, step: i32) -> bool {
    // SAFETY: as above.
    let (monitor, phase) = unsafe { (&*this, owned(phase)) };
    tell(|| monitor.progress.step_complete(&phase.unwrap_or_default(), step)).unwrap_or(false)
}

unsafe extern "C" fn phase_finish(this: *const ProgressMonitor, phase: *const c_char) {
    // SAFETY: as above.
    let (monitor, phase) = unsafe { (&*this, owned(phase)) };
    tell(|| monitor.progress.phase_finish(&phase.unwrap_or_default()));
}

impl ProgressMonitor {
    /// A monitor that tells `progress`. If that panics at a step, the build ends.
    pub fn new(progress: Box<dyn Progress>) -> Arc<Self> {
        Arc::new(Self { methods: &TABLE.methods, progress })
    }

    pub(crate) fn as_ptr(self: &Arc<Self>) -> *mut c_void {
        Arc::as_ptr(self).cast_mut().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Generation, Row, tables};
    use std::mem::offset_of;

    #[test]
    fn layouts_follow_the_tables() {
        let rows = [
            (tables::MONITOR_INTERFACE_INFO.row(), offset_of!(Methods, interface_info)),
            (tables::PHASE_START.row(), offset_of!(Methods, phase_start)),
            (tables::STEP_COMPLETE.row(), offset_of!(Methods, step_complete)),
            (tables::PHASE_FINISH.row(), offset_of!(Methods, phase_finish)),
        ];
        for generation in [Generation::V10, Generation::V11, Generation::Rtx] {
            let slot = |row: &Row| usize::from(row.slot(generation.first()).unwrap().index) * size_of::<usize>();
            for (row, offset) in &rows {
                assert_eq!(*offset, slot(row), "{}", row.declaration);
            }
        }
        assert_eq!(offset_of!(ProgressMonitor, methods), 0);
    }
}
