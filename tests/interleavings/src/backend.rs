//! What the dispatcher knows of a backend; jobs are a stand-in.

#[path = "../../../src/backend/batch.rs"]
pub mod batch;
#[path = "../../../src/backend/instance.rs"]
pub mod instance;

pub mod job {
    use crate::cuda::Stream;
    use crate::error::Error;
    use crate::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering};

    pub trait Progress: Send + Sync {
        fn is_cancelled(&self) -> bool;
        fn enqueued(&self, stream: &Arc<Stream>);
    }

    pub struct Job {
        /// Counts the copies of its outputs; `None` where there is nothing to copy.
        pub copies: Option<Arc<AtomicUsize>>,
        pub failure: Option<Error>,
        pub progress: Arc<dyn Progress>,
    }

    impl Job {
        pub fn into_delivery(self) -> Option<Delivery> {
            self.copies.map(Delivery)
        }
    }

    pub struct Delivery(pub Arc<AtomicUsize>);

    impl Delivery {
        pub fn deliver(self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
