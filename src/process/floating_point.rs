//! How the calling thread computes: rounding, denormals, traps. A caller may have changed it for itself; what planrt
//! computes must not depend on the thread that calls.

pub use machine::{Registers, read, restore, set_default};

#[cfg(target_arch = "x86_64")]
mod machine {
    use std::arch::asm;

    /// The control and status registers of SSE and of the x87, which `long double` uses.
    #[derive(Clone, Copy)]
    pub struct Registers {
        sse: u32,
        x87_control: u16,
        x87_status: u16,
    }

    /// The registers of a new process: round to nearest, no traps, denormals kept.
    const SSE: u32 = 0x1f80;
    const X87_CONTROL: u16 = 0x37f;
    /// What operations have raised so far.
    const SSE_RAISED: u32 = 0x3f;
    const X87_RAISED: u16 = 0x7f;

    pub fn read() -> Registers {
        let (mut sse, mut x87_control) = (0_u32, 0_u16);
        let x87_status: u16;
        // SAFETY: stores two registers into places of their size, and moves one; none of them changes.
        unsafe {
            asm!("stmxcsr [{}]", in(reg) &raw mut sse, options(nostack, preserves_flags));
            asm!("fnstcw [{}]", in(reg) &raw mut x87_control, options(nostack, preserves_flags));
            asm!("fnstsw ax", out("ax") x87_status, options(nomem, nostack, preserves_flags));
        }
        Registers { sse, x87_control, x87_status }
    }

    /// Sets the mode of a new process, given what [`read`] has found.
    pub fn set_default(found: &Registers) {
        if found.sse & !SSE_RAISED != SSE {
            load_sse(SSE);
        }
        if found.x87_control != X87_CONTROL {
            load_x87_control(X87_CONTROL);
        }
    }

    /// Sets everything as it was found, also what operations have raised: the caller sees nothing of ours.
    pub fn restore(found: &Registers) {
        let now = read();
        if now.sse != found.sse {
            load_sse(found.sse);
        }
        if (now.x87_status ^ found.x87_status) & X87_RAISED != 0 {
            load_x87(found);
        } else if now.x87_control != found.x87_control {
            load_x87_control(found.x87_control);
        }
    }

    fn load_sse(value: u32) {
        // SAFETY: the value is the default, or was read from the register. Nothing is computed between two of these
        // that should be in another mode: the asm is a barrier, and calls into and out of planrt are no inlined ones.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags)) };
    }

    fn load_x87_control(value: u16) {
        // SAFETY: as above.
        unsafe { asm!("fldcw [{}]", in(reg) &raw const value, options(nostack, preserves_flags)) };
    }

    /// The control word and what operations have raised; the status is part of the environment, of seven words.
    fn load_x87(found: &Registers) {
        let mut environment = [0_u32; 7];
        // SAFETY: stores and loads 28 bytes; the register stack, which is empty between functions, stays as it is.
        unsafe {
            asm!("fnstenv [{}]", in(reg) &raw mut environment, options(nostack, preserves_flags));
            environment[0] = environment[0] & !0xffff | u32::from(found.x87_control);
            environment[1] = environment[1] & !u32::from(X87_RAISED) | u32::from(found.x87_status & X87_RAISED);
            asm!("fldenv [{}]", in(reg) &raw const environment, options(nostack, preserves_flags));
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use std::arch::asm;

    /// The control and the status register.
    #[derive(Clone, Copy)]
    pub struct Registers {
        control: u64,
        status: u64,
    }

    pub fn read() -> Registers {
        let (control, status): (u64, u64);
        // SAFETY: reads two registers that every program may read.
        unsafe {
            asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack, preserves_flags));
            asm!("mrs {}, fpsr", out(reg) status, options(nomem, nostack, preserves_flags));
        }
        Registers { control, status }
    }

    /// Sets the mode of a new process, given what [`read`] has found: round to nearest, no traps, denormals kept.
    pub fn set_default(found: &Registers) {
        if found.control != 0 {
            load_control(0);
        }
    }

    /// Sets everything as it was found, also what operations have raised: the caller sees nothing of ours.
    pub fn restore(found: &Registers) {
        let now = read();
        if now.control != found.control {
            load_control(found.control);
        }
        if now.status != found.status {
            // SAFETY: the value was read from the register.
            unsafe { asm!("msr fpsr, {}", in(reg) found.status, options(nostack, preserves_flags)) };
        }
    }

    fn load_control(value: u64) {
        // SAFETY: the value is the default, or was read from the register. Nothing is computed between two of these
        // that should be in another mode: the asm is a barrier, and calls into and out of planrt are no inlined ones.
        unsafe { asm!("msr fpcr, {}", in(reg) value, options(nostack, preserves_flags)) };
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::arch::asm;
    use std::hint::black_box;

    /// Flush to zero, denormals are zero, round up.
    const FAST: u32 = 0x1f80 | 0x8040 | 0x4000;

    fn set_sse(value: u32) {
        // SAFETY: a mode without traps.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags)) };
    }

    fn sse() -> u32 {
        let mut value = 0_u32;
        // SAFETY: stores four bytes.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value
    }

    #[test]
    fn the_callers_mode_is_laid_aside_and_given_back() {
        let before = read();
        set_sse(FAST);
        let found = read();
        set_default(&found);
        // Denormals are kept, and the division raises "inexact".
        let tiny = black_box(1e-40_f32) * black_box(1.0);
        let third = black_box(1.0_f32) / black_box(3.0);
        restore(&found);
        let after = sse();
        restore(&before);
        assert!(tiny > 0.0 && third > 0.0);
        assert_eq!(after, FAST);
    }

    #[test]
    fn the_x87_too() {
        let before = read();
        let double_precision = 0x27f_u16;
        let (mut inside, mut after) = (0_u16, 0_u16);
        let (raised, clear): (u16, u16);
        // SAFETY: modes without traps; the register stack is left empty.
        unsafe {
            asm!("fnclex", "fldcw [{}]", in(reg) &raw const double_precision, options(nostack));
            let found = read();
            set_default(&found);
            asm!("fnstcw [{}]", in(reg) &raw mut inside, options(nostack));
            // One third is inexact.
            asm!("fld1", "push 3", "fidiv dword ptr [rsp]", "pop {0}", "fstp st(0)", "fnstsw ax",
                out(reg) _, out("ax") raised);
            restore(&found);
            asm!("fnstcw [{}]", "fnstsw ax", in(reg) &raw mut after, out("ax") clear, options(nostack));
        }
        restore(&before);
        assert_eq!((inside, after), (0x37f, double_precision));
        assert_eq!((raised & 0x7f, clear & 0x7f), (0x20, 0));
    }
}
