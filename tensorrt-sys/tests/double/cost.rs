//! What a call through the table costs, compared with a C++ virtual call.

use crate::double::doubles;
use crate::{PLAN, address, dims};
use std::ptr;
use std::time::Instant;
use tensorrt_sys::{ExecutionContextAllocationStrategy, Logger};

/// What a call may cost over C++'s.
const ALLOWED_NS: f64 = 20.0;

#[test]
fn a_call_costs_little_more_than_cpps() {
    const CALLS: i64 = 200_000;
    const ROUNDS: usize = 15;
    for double in doubles() {
        double.stop();
        let runtime = double.library.create_runtime(Logger::new()).unwrap();
        // SAFETY: the double passes the addresses on and never looks behind them.
        let (cpp, rust) = unsafe {
            let engine = runtime.deserialize_cuda_engine(PLAN).unwrap();
            let strategy = ExecutionContextAllocationStrategy::Static;
            let mut context = engine.create_execution_context(strategy).unwrap().unwrap();
            assert!(context.set_input_shape(c"x", &dims(&[2, 4])));
            assert!(context.set_tensor_address(c"x", address(0x1000)));
            assert!(context.set_tensor_address(c"y", address(0x2000)));
            // The fastest round of each: what is above it is the machine's, not the call's.
            let (mut cpp, mut rust) = (f64::MAX, f64::MAX);
            for _ in 0..ROUNDS {
                let nanoseconds = double.calls_from_cpp(context.as_ptr(), CALLS);
                assert!(nanoseconds > 0);
                cpp = cpp.min(nanoseconds as f64 / CALLS as f64);
                let start = Instant::now();
                for _ in 0..CALLS {
                    assert!(context.enqueue_v3(ptr::null_mut()));
                }
                rust = rust.min(start.elapsed().as_nanos() as f64 / CALLS as f64);
            }
            (cpp, rust)
        };
        let version = double.library.version();
        println!("{version}: {cpp:.2} ns from C++, {rust:.2} ns through the table");
        // Unoptimized code is not what ships.
        if !cfg!(debug_assertions) {
            assert!(rust - cpp < ALLOWED_NS, "{version}: {cpp} and {rust} ns");
        }
    }
}
