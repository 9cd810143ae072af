//! The scheduler's own sources, with loom's locks in the place of ours. What they use of the rest of planrt is
//! here as little as they need: jobs without memory, no device, no tools.

#![allow(dead_code)]

pub mod backend;
#[path = "../../../src/error.rs"]
pub mod error;
pub mod schedule;
pub mod sync;

pub mod cuda {
    use crate::error::Result;

    pub struct Stream;

    impl Stream {
        pub fn wait_for(&self, _: &Self) -> Result<()> {
            Ok(())
        }
    }
}

pub mod nvtx {
    pub struct Range;

    impl Range {
        pub fn new(_: impl FnOnce() -> String) -> Self {
            Self
        }
    }
}

pub mod panic {
    use crate::error::Result;

    /// loom wants to see panics itself.
    pub fn catch<R>(call: impl FnOnce() -> R) -> Result<R> {
        Ok(call())
    }
}

pub mod tensor {
    use std::ops::Deref;

    #[derive(Clone, Copy, Debug)]
    pub struct Shape;

    impl Shape {
        pub fn with_first(self, _: i64) -> Self {
            self
        }
    }

    impl Deref for Shape {
        type Target = [i64];
        fn deref(&self) -> &[i64] {
            &[]
        }
    }
}
