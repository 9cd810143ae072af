//! What a caller says of its tensors, on a model that runs: anything in the fields, over memory that is as large as they say.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use planrt_fuzz::{Engine, Tensor};
use std::ffi::CStr;
use std::sync::OnceLock;

const MODEL: &[u8] = include_bytes!("../model.onnx");
const MEMORY: usize = 1 << 16;

fn tensor(u: &mut Unstructured<'_>, name: &CStr, memory: &mut [u64]) -> Result<Tensor> {
    let address = memory.as_mut_ptr().cast();
    let mut shape = [0; 8];
    for extent in &mut shape {
        *extent = if u.ratio(7, 8)? { u.int_in_range(0..=8)? } else { u.arbitrary()? };
    }
    Ok(Tensor {
        struct_size: if u.ratio(7, 8)? { size_of::<Tensor>() } else { u.int_in_range(0..=size_of::<Tensor>())? },
        name: name.as_ptr(),
        input_data: if u.ratio(7, 8)? { address } else { std::ptr::null_mut() },
        output_data: if u.ratio(7, 8)? { address } else { std::ptr::null_mut() },
        size_bytes: u.int_in_range(0..=MEMORY)?,
        element_type: u.int_in_range(-1..=16)?,
        memory_kind: u.int_in_range(-1..=4)?,
        rank: u.int_in_range(-1..=9)?,
        shape,
    })
}

fn run(data: &[u8]) -> Result<()> {
    static ENGINE: OnceLock<usize> = OnceLock::new();
    let engine = *ENGINE.get_or_init(|| {
        let engine = Engine::load(MODEL).expect("the model loads");
        Box::into_raw(Box::new(engine)) as usize
    });
    // SAFETY: made above, never deleted.
    let engine = unsafe { &*(engine as *const Engine) };
    let u = &mut Unstructured::new(data);
    let (mut from, mut to) = (vec![0; MEMORY / 8], vec![0; MEMORY / 8]);
    let input = tensor(u, c"image", &mut from)?;
    let output = tensor(u, c"prob", &mut to)?;
    // SAFETY: each has MEMORY bytes, and the fields say no more. Memory kinds are host's: where there is no CUDA the others are refused.
    unsafe { engine.run(&[input], &[output]) };
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    // An input that is too short says nothing.
    let _ = run(data);
});
