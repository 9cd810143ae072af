//! Links the shared library as an installed library has to be.

/// Counts breaks of the ABI, not releases. `CMakeLists.txt` names the installed links after it.
const SONAME: &str = "libplanrt.so.0";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{SONAME}");
    // Threads of ours, thread-local destructors and TensorRT's own globals outlive any handle: once loaded, the library
    // stays, and an application's dlclose of it does nothing.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Ties an installed, stripped library to the one with symbols in cargo's target folder.
    println!("cargo::rustc-cdylib-link-arg=-Wl,--build-id=sha1");
}
