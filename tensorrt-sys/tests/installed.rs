//! Holds real TensorRT libraries against what this crate says of them, with a GPU or without.
//!
//! `TENSORRT_LIBRARIES` names their files, separated by colons: `libnvinfer_lean.so.10` of the
//! wheel `tensorrt-lean-cu13-libs`, `libtensorrt_rtx.so.1` of `tensorrt-rtx-cu13-libs`, …

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "a test may")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tensorrt_sys::{Flavor, Library, Logger, Severity};

/// The libraries, all loaded at once: each keeps its symbols to itself.
fn libraries() -> Vec<Library> {
    let paths = std::env::var_os("TENSORRT_LIBRARIES").unwrap_or_default();
    let paths: Vec<PathBuf> = std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect();
    if paths.is_empty() {
        println!("TENSORRT_LIBRARIES names none: nothing is tested");
    }
    // SAFETY: whoever names them says that they are TensorRT's.
    paths.iter().map(|path| unsafe { Library::open(path) }.unwrap()).collect()
}

#[test]
fn each_tells_what_it_is() {
    for library in libraries() {
        let name = library.path().file_name().unwrap().to_str().unwrap().to_owned();
        let (stem, major) = name.split_once(".so.").unwrap();
        let expected = match stem {
            "libnvinfer" => Flavor::Full,
            "libnvinfer_lean" => Flavor::Lean,
            "libnvinfer_dispatch" => Flavor::Dispatch,
            "libtensorrt_rtx" => Flavor::Rtx,
            _ => panic!("{name} is none of TensorRT's libraries"),
        };
        assert_eq!(library.flavor(), expected);
        assert_eq!(library.version().major, major.split('.').next().unwrap().parse().unwrap());
        assert!(library.plugin_registry().is_some());
        println!("{} ({}): {}", library.version(), library.flavor(), library.path().display());
    }
}

#[test]
fn each_logs_to_its_own_logger_and_refuses_garbage() {
    for library in libraries() {
        let version = library.version();
        let logger = Logger::new();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = heard.clone();
        logger.set_sink(Some(Arc::new(move |severity, line: &str| {
            sink.lock().unwrap().push((severity, line.to_owned()));
        })));
        match library.create_runtime(logger) {
            // There is no CUDA driver, and TensorRT says so.
            None => assert!(!heard.lock().unwrap().is_empty(), "{version}"),
            Some(runtime) => {
                assert_eq!(runtime.logger(), logger.as_ptr(version.generation));
                assert!(runtime.set_max_threads(2));
                assert_eq!(runtime.max_threads(), 2);
                if let Ok((validity, reasons)) = runtime.engine_validity(&[7; 4096]) {
                    println!("{version}: a garbage plan is {validity:?}, {reasons:#x}");
                }
                // SAFETY: TensorRT looks at the first bytes and goes no further.
                assert!(unsafe { runtime.deserialize_cuda_engine(&[7; 4096]) }.is_none());
                let lines = heard.lock().unwrap();
                assert!(lines.iter().any(|(severity, _)| *severity == Severity::Error), "{version}: {lines:?}");
            }
        }
    }
}
