//! Options: any values, in any order, and what is made of them.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use planrt_fuzz::{Handle, succeeded};
use std::ffi::{CString, c_char};
use std::ptr;

unsafe extern "C" {
    fn planrt_runtime_options_new(options_out: *mut Handle) -> Handle;
    fn planrt_runtime_options_set_device(options: Handle, ordinal: i32) -> Handle;
    fn planrt_runtime_options_set_tensorrt_path(options: Handle, path: *const c_char) -> Handle;
    fn planrt_runtime_options_add_plugin_library(options: Handle, path: *const c_char) -> Handle;
    fn planrt_runtime_options_set_standard_plugins(options: Handle, enabled: bool) -> Handle;
    fn planrt_runtime_options_delete(options: Handle);
    fn planrt_runtime_new(options: Handle, runtime_out: *mut Handle) -> Handle;
    fn planrt_runtime_describe(runtime: Handle, json_out: *mut *mut c_char) -> Handle;
    fn planrt_runtime_delete(runtime: Handle);
    fn planrt_string_delete(text: *mut c_char);
    fn planrt_engine_options_new(options_out: *mut Handle) -> Handle;
    fn planrt_engine_options_set_cpu_threads(options: Handle, threads: i32) -> Handle;
    fn planrt_engine_options_set_cpu_shape_cache(options: Handle, shapes: i32) -> Handle;
    fn planrt_engine_options_set_weight_streaming_budget(options: Handle, budget: i64) -> Handle;
    fn planrt_engine_options_delete(options: Handle);
    fn planrt_engine_load_memory(
        r: Handle,
        data: *const u8,
        size: usize,
        options: Handle,
        engine_out: *mut Handle,
    ) -> Handle;
    fn planrt_session_options_new(options_out: *mut Handle) -> Handle;
    fn planrt_session_options_set_largest_batch(options: Handle, items: i32) -> Handle;
    fn planrt_session_options_set_preferred_batches(options: Handle, sizes: *const i32, count: usize) -> Handle;
    fn planrt_session_options_set_max_delay(options: Handle, delay: i64) -> Handle;
    fn planrt_session_options_set_queue(options: Handle, capacity: i32, when_full: i32) -> Handle;
    fn planrt_session_options_set_contexts(options: Handle, contexts: i32) -> Handle;
    fn planrt_session_options_set_memory_budget(options: Handle, budget: usize) -> Handle;
    fn planrt_session_options_delete(options: Handle);
    fn planrt_session_new(engines: *const Handle, count: usize, options: Handle, session_out: *mut Handle) -> Handle;
}

/// A path of none of the machine's libraries.
fn path(u: &mut Unstructured<'_>) -> Result<CString> {
    let text: Vec<u8> = u.arbitrary::<Vec<u8>>()?.into_iter().filter(|&byte| byte != 0 && byte != b'/').collect();
    Ok(CString::new([b"/nowhere/".as_slice(), &text].concat()).unwrap_or_default())
}

fn set(data: &[u8]) -> Result<()> {
    let u = &mut Unstructured::new(data);
    let (mut runtime, mut engine, mut session) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: places for the handles; strings end with a zero and memory has the size that is said, for the time of the calls.
    unsafe {
        assert!(succeeded(planrt_runtime_options_new(&mut runtime)));
        assert!(succeeded(planrt_engine_options_new(&mut engine)));
        assert!(succeeded(planrt_session_options_new(&mut session)));
    }
    let said = calls(u, runtime, engine, session);
    let (mut made, mut none) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: as above; each handle is deleted once.
    unsafe {
        if succeeded(planrt_runtime_new(runtime, &mut made)) {
            let mut json = ptr::null_mut();
            if succeeded(planrt_runtime_describe(made, &mut json)) {
                planrt_string_delete(json);
            }
            assert!(!succeeded(planrt_engine_load_memory(made, data.as_ptr(), 0, engine, &mut none)));
            planrt_runtime_delete(made);
        }
        assert!(!succeeded(planrt_session_new(ptr::null(), 0, session, &mut none)));
        planrt_runtime_options_delete(runtime);
        planrt_engine_options_delete(engine);
        planrt_session_options_delete(session);
    }
    said
}

fn calls(u: &mut Unstructured<'_>, runtime: Handle, engine: Handle, session: Handle) -> Result<()> {
    while !u.is_empty() {
        // SAFETY: the options are alive; strings and arrays outlive the calls.
        succeeded(unsafe {
            match u.int_in_range(0..=12)? {
                0 => planrt_runtime_options_set_device(runtime, u.arbitrary()?),
                1 => planrt_runtime_options_set_tensorrt_path(runtime, path(u)?.as_ptr()),
                2 => planrt_runtime_options_add_plugin_library(runtime, path(u)?.as_ptr()),
                3 => planrt_runtime_options_set_standard_plugins(runtime, u.arbitrary()?),
                4 => planrt_engine_options_set_cpu_threads(engine, u.arbitrary()?),
                5 => planrt_engine_options_set_cpu_shape_cache(engine, u.arbitrary()?),
                6 => planrt_engine_options_set_weight_streaming_budget(engine, u.arbitrary()?),
                7 => planrt_session_options_set_largest_batch(session, u.arbitrary()?),
                8 => {
                    let sizes: Vec<i32> = u.arbitrary()?;
                    planrt_session_options_set_preferred_batches(session, sizes.as_ptr(), sizes.len())
                }
                9 => planrt_session_options_set_max_delay(session, u.arbitrary()?),
                10 => planrt_session_options_set_queue(session, u.arbitrary()?, u.arbitrary()?),
                11 => planrt_session_options_set_contexts(session, u.arbitrary()?),
                _ => planrt_session_options_set_memory_budget(session, u.arbitrary()?),
            }
        });
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    // An input that is too short says nothing.
    let _ = set(data);
});
