//! A CUDA stream: made here, or the application's own.

use super::{Device, Event, check, sys};
use crate::error::Result;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Stream {
    device: Arc<Device>,
    stream: sys::CUstream,
    owned: bool,
    number: u64,
}

/// What two streams of one address do not share: a new stream may be where one that was destroyed lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(u64);

static STREAMS: AtomicU64 = AtomicU64::new(0);

/// Handles that stand for default streams (`CU_STREAM_LEGACY`, `CU_STREAM_PER_THREAD`); null is the legacy one, too.
const LEGACY: usize = 1;
const PER_THREAD: usize = 2;

// SAFETY: the driver's stream calls are thread-safe.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// A stream that does not wait for the legacy default stream. Lower numbers go first; the device clamps them to its
    /// range (on present GPUs -5 to 0).
    pub fn new(device: &Arc<Device>, priority: i32) -> Result<Self> {
        let _current = device.make_current()?;
        let mut stream = std::ptr::null_mut();
        let flags = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: writes one handle, destroyed in drop.
        check(unsafe { sys::cuStreamCreateWithPriority(&mut stream, flags, priority) }, || {
            "creating a CUDA stream".to_owned()
        })?;
        Ok(Self::around(device, stream, true))
    }

    /// The application's stream, which it keeps and destroys.
    ///
    /// # Safety
    /// `stream` is a `CUstream` (or `cudaStream_t`) of the device's primary context that outlives the value returned;
    /// null is the legacy default stream.
    pub unsafe fn wrap(device: &Arc<Device>, stream: *mut c_void) -> Self {
        Self::around(device, stream.cast(), false)
    }

    fn around(device: &Arc<Device>, stream: sys::CUstream, owned: bool) -> Self {
        Self { device: device.clone(), stream, owned, number: STREAMS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Work that was given to the stream of an id runs before what is given to it later. `None` for the default stream of a
    /// thread: in another thread it is another stream.
    pub fn id(&self) -> Option<StreamId> {
        (self.stream.addr() != PER_THREAD).then_some(StreamId(self.number))
    }

    /// Whether it is a default stream, under whichever name.
    pub fn is_default(&self) -> bool {
        self.stream.is_null() || [LEGACY, PER_THREAD].contains(&self.stream.addr())
    }

    /// Whether what it is given goes into a graph, to run when the application launches that.
    pub fn is_capturing(&self) -> bool {
        let mut status = 0u32;
        // SAFETY: the handle is alive; a status is a number of four bytes, not zero while the stream captures.
        let asked = unsafe { sys::cuStreamIsCapturing(self.stream, (&raw mut status).cast()) };
        asked == sys::Status::SUCCESS && status != 0
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    pub fn native(&self) -> *mut c_void {
        self.stream.cast()
    }

    pub(super) fn raw(&self) -> sys::CUstream {
        self.stream
    }

    pub fn synchronize(&self) -> Result<()> {
        let _current = self.device.make_current()?;
        // SAFETY: the handle is alive.
        check(unsafe { sys::cuStreamSynchronize(self.stream) }, || "waiting for a CUDA stream".to_owned())
    }

    /// Whether all work given so far has ended.
    pub fn is_done(&self) -> Result<bool> {
        let _current = self.device.make_current()?;
        // SAFETY: the handle is alive.
        match unsafe { sys::cuStreamQuery(self.stream) } {
            sys::Status::NOT_READY => Ok(false),
            result => check(result, || "asking a CUDA stream whether it is done".to_owned()).map(|()| true),
        }
    }

    /// Lets later work of this stream wait for what `other` holds now.
    pub fn wait_for(&self, other: &Self) -> Result<()> {
        let event = Event::new(&other.device)?;
        event.record(other)?;
        event.hold_back(self)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.owned
            && let Ok(_current) = self.device.make_current()
        {
            // SAFETY: created in new; the driver finishes the work that it still holds before it lets go of it.
            unsafe { sys::cuStreamDestroy_v2(self.stream) };
        }
    }
}
