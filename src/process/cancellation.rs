//! `pthread_cancel`: it unwinds the thread at its next call into the kernel, which Rust's frames do not bear.

use std::ffi::c_int;

/// As glibc numbers it.
const DISABLE: c_int = 1;

// The libc crate has it for other systems only.
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

/// Whether the calling thread can be cancelled, as the application has set it.
#[derive(Clone, Copy)]
pub struct State(c_int);

/// A cancellation of the calling thread waits from now on.
pub fn hold_off() -> State {
    let mut before = DISABLE;
    // SAFETY: changes one flag of this thread, and writes one int.
    unsafe { pthread_setcancelstate(DISABLE, &raw mut before) };
    State(before)
}

/// Sets what was found; a cancellation that waits takes place at the application's next call into the kernel.
pub fn restore(State(state): State) {
    if state != DISABLE {
        let mut before = 0;
        // SAFETY: as above.
        unsafe { pthread_setcancelstate(state, &raw mut before) };
    }
}
