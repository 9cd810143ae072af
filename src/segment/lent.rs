//! Memory that a caller lends to a job until it is answered.

/// Memory that is read.
pub struct Lent {
    data: *const u8,
    size: usize,
}

// SAFETY: what is lent may be read by any thread until the job is answered, as `new` asks.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Lent {
    /// # Safety
    /// `data` is readable for `size` bytes, no more than an object can have, and nobody writes there until the job that it is
    /// given to is answered or refused.
    pub unsafe fn new(data: *const u8, size: usize) -> Self {
        Self { data, size }
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: as `new` asks.
        unsafe { std::slice::from_raw_parts(self.data, self.size) }
    }
}

/// Memory that is written.
pub struct LentMut {
    data: *mut u8,
    size: usize,
    /// Where it is nobody's else.
    own: Vec<u8>,
}

// SAFETY: what is lent may be written by any thread until the job is answered, as `new` asks.
unsafe impl Send for LentMut {}

impl LentMut {
    /// # Safety
    /// `data` is writable for `size` bytes, no more than an object can have, and nobody else uses it until the job that it is
    /// given to is answered or refused.
    pub unsafe fn new(data: *mut u8, size: usize) -> Self {
        Self { data, size, own: Vec::new() }
    }

    /// Memory of planrt's own.
    pub fn owned(memory: Vec<u8>) -> Self {
        Self { data: std::ptr::null_mut(), size: 0, own: memory }
    }

    /// A test's own, which has to outlive it.
    #[cfg(test)]
    pub fn of(memory: &mut [u8]) -> Self {
        Self { data: memory.as_mut_ptr(), size: memory.len(), own: Vec::new() }
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        if self.data.is_null() {
            return &mut self.own;
        }
        // SAFETY: as `new` asks.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.size) }
    }
}
