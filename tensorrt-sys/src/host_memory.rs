//! `IHostMemory`: memory that TensorRT allocated, such as a serialized engine's.

use crate::object::Object;
use crate::tables;

/// Memory that TensorRT allocated.
pub struct HostMemory(pub(crate) Object);

impl HostMemory {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the object is an IHostMemory.
        let (data, size) = unsafe {
            let this = self.0.this();
            (self.0.method(&tables::HOST_MEMORY_DATA)(this), self.0.method(&tables::HOST_MEMORY_SIZE)(this))
        };
        if data.is_null() {
            return &[];
        }
        // SAFETY: TensorRT says that so many bytes are there; they live as long as the object, and
        // nothing writes to them.
        unsafe { std::slice::from_raw_parts(data.cast(), size) }
    }
}

impl std::ops::Deref for HostMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}
