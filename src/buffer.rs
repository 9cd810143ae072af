//! Memory of one kind, made here or the application's own.

use crate::cuda::{DeviceMemory, PinnedMemory};
use crate::engine::MemoryKind;
use crate::error::{Code, Error, Result};
use crate::runtime::Runtime;
use std::ffi::c_void;
use std::ptr::with_exposed_provenance_mut;

enum Memory {
    Host(Vec<CacheLine>),
    Pinned(PinnedMemory),
    Device(DeviceMemory),
    /// An address as a number: a handle may go from thread to thread.
    Wrapped(usize),
}

/// The alignment that vector units like best.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct CacheLine(#[allow(dead_code)] [u8; 64]);

pub struct Buffer {
    memory: Memory,
    kind: MemoryKind,
    /// Bytes.
    size: usize,
}

impl Buffer {
    pub fn new(runtime: &Runtime, kind: MemoryKind, size: usize) -> Result<Self> {
        let memory = match kind {
            MemoryKind::Host => Memory::Host(host_memory(size)?),
            MemoryKind::Pinned => Memory::Pinned(PinnedMemory::new(runtime.device()?, size)?),
            MemoryKind::Device => Memory::Device(DeviceMemory::new(runtime.device()?, size)?),
        };
        Ok(Self { memory, kind, size })
    }

    /// Memory that the application keeps and frees.
    pub fn wrap(kind: MemoryKind, address: *mut c_void, size: usize) -> Self {
        Self { memory: Memory::Wrapped(address.expose_provenance()), kind, size }
    }

    pub fn address(&self) -> *mut c_void {
        match &self.memory {
            Memory::Host(memory) => memory.as_ptr().cast_mut().cast(),
            Memory::Pinned(memory) => memory.address(),
            Memory::Device(memory) => memory.address(),
            Memory::Wrapped(address) => with_exposed_provenance_mut(*address),
        }
    }

    pub fn size(&self) -> usize {
        self.size
    }

    pub fn kind(&self) -> MemoryKind {
        self.kind
    }
}

fn host_memory(size: usize) -> Result<Vec<CacheLine>> {
    let lines = size.div_ceil(size_of::<CacheLine>());
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(lines)
        .map_err(|_| Error::new(Code::OutOfMemory, format!("the host has no {size} bytes of memory to give")))?;
    memory.resize(lines, CacheLine([0; 64]));
    Ok(memory)
}
