//! `hypot` and `hypotf` within the library.
//!
//! tract calls the C library's. A library that is linked on a system with glibc 2.35 or later asks for them in that version, and for
//! nothing else so new: it would not load on the older systems that it runs on otherwise (`tests/library.sh` says which). So they are
//! here, hidden: the linker finds them first, and no application sees them.

extern "C" fn hypot(x: f64, y: f64) -> f64 {
    libm::hypot(x, y)
}

extern "C" fn hypotf(x: f32, y: f32) -> f32 {
    libm::hypotf(x, y)
}

// By name in assembly, since a function that Rust exports by name is exported from the library as well.
macro_rules! hidden {
    ($name:literal, $jump:literal, $function:path) => {
        core::arch::global_asm!(
            concat!(".pushsection .text.", $name, ",\"ax\",@progbits"),
            concat!(".globl ", $name),
            concat!(".hidden ", $name),
            concat!(".type ", $name, ",@function"),
            concat!($name, ": ", $jump, " {function}"),
            concat!(".size ", $name, ", . - ", $name),
            ".popsection",
            function = sym $function,
        );
    };
}
#[cfg(target_arch = "x86_64")]
hidden!("hypot", "jmp", hypot);
#[cfg(target_arch = "x86_64")]
hidden!("hypotf", "jmp", hypotf);
#[cfg(target_arch = "aarch64")]
hidden!("hypot", "b", hypot);
#[cfg(target_arch = "aarch64")]
hidden!("hypotf", "b", hypotf);

#[cfg(test)]
mod tests {
    /// Through the standard library, which calls the C library's, which is the one here.
    #[test]
    fn of_right_triangles() {
        assert_eq!(3.0_f64.hypot(4.0), 5.0);
        assert_eq!((-5.0_f32).hypot(12.0), 13.0);
        assert_eq!(1e300_f64.hypot(1e300), 1e300 * 2.0_f64.sqrt());
        assert_eq!(3e-320_f64.hypot(4e-320), 5e-320);
        assert_eq!(f64::INFINITY.hypot(f64::NAN), f64::INFINITY);
        assert!(f32::NAN.hypot(1.0).is_nan());
    }
}
