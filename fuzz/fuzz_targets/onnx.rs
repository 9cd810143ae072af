//! ONNX models: read, checked and made ready to run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use planrt_fuzz::Engine;

fuzz_target!(|data: &[u8]| drop(Engine::load(data)));
