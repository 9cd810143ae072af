//! Plans: what planrt itself reads of them, before TensorRT would.
#![no_main]

use libfuzzer_sys::fuzz_target;
use planrt_fuzz::Engine;

fuzz_target!(|data: &[u8]| drop(Engine::load(data)));
