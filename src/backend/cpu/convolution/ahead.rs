//! Memory that is asked for before it is needed: rows that are copied lie too short a way beside each other for the processor
//! to see by itself what comes next, and lines that are written must be there first.

/// Of a line of the caches.
const LINE: usize = 64 / size_of::<f32>();

/// Asks for elements that will be read, wherever they are: nothing is read here, so they need not exist.
#[inline(always)]
pub fn to_read(address: *const f32, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..count).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it takes any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (address, count, LINE);
}

/// The same for elements that will be written.
#[inline(always)]
pub fn to_write(address: *mut f32, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..count).step_by(LINE) {
        // SAFETY: it takes any address, and each processor that has a kernel has it or does nothing.
        unsafe {
            let address = address.wrapping_add(at);
            std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (address, count, LINE);
}
