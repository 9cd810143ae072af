//! Links the shared library as an installed library has to be.

use std::env::{var, var_os};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// Counts breaks of the ABI, not releases. `CMakeLists.txt` names the installed links after it.
const SONAME: &str = "libplanrt.so.0";

/// Functions of the same machine code become one: generic code is compiled for every element type, and much of it comes out
/// the same. Rust promises no function an address of its own.
const FOLD: &str = "-Wl,--icf=all";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{SONAME}");
    // Threads of ours, thread-local destructors and TensorRT's own globals outlive any handle: once loaded, the library
    // stays, and an application's dlclose of it does nothing.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Ties an installed, stripped library to the one with symbols in cargo's target folder.
    println!("cargo::rustc-cdylib-link-arg=-Wl,--build-id=sha1");
    if var("PROFILE").as_deref() == Ok("release") && linker_takes(FOLD) {
        println!("cargo::rustc-cdylib-link-arg={FOLD}");
    }
}

/// Whether the linker knows this argument, found by linking nothing with it: LLD, gold and mold fold functions, GNU ld does
/// not, and which of them rustc calls depends on the target, on the distribution and on the flags of this build.
fn linker_takes(argument: &str) -> bool {
    let (Some(rustc), Some(out), Some(target)) = (var_os("RUSTC"), var_os("OUT_DIR"), var_os("TARGET")) else {
        return false;
    };
    let (source, library) = (Path::new(&out).join("nothing.rs"), Path::new(&out).join("libnothing.so"));
    if std::fs::write(&source, "").is_err() {
        return false;
    }
    let mut command = Command::new(rustc);
    command.arg(&source).arg("-o").arg(library).arg("--target").arg(target);
    command.args(["--crate-type=cdylib", "--crate-name=nothing"]).arg(format!("-Clink-arg={argument}"));
    if let Some(linker) = var_os("RUSTC_LINKER") {
        command.arg([OsStr::new("-Clinker="), &linker].iter().copied().collect::<OsString>());
    }
    if let Ok(flags) = var("CARGO_ENCODED_RUSTFLAGS") {
        command.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    }
    command.output().is_ok_and(|done| done.status.success())
}
