//! What tract and planrt use of rayon, on rayon-core's threads.
//!
//! rayon compiles its splitting, its jobs and its latches anew for each of a hundred loops, which makes 5 MB of machine code and a
//! quarter of tract's time to compile. Here they are there once, and a loop is a function that is called for each place. Where
//! work is cut is up to who cuts it, as before, so that results are the same to the bit.

mod each;
mod pool;

pub use pool::{SpawningPoolBuilder, ThreadPool, ThreadPoolBuilder};
pub use rayon_core::{ThreadBuilder, ThreadPoolBuildError, current_num_threads};

pub mod prelude {
    pub use crate::each::{IntoParallelIterator, ParallelSliceMut};
}
