//! Much memory on its way from the host to the device: several threads copy it into page-locked blocks, from which the device takes it
//! side by side with them.

use super::buffer::Buffer;
use super::kernels::Kernels;
use crate::cuda::{Block, Event, copy_async};
use crate::error::Result;
use crate::volume::work::{Pieces, Work};

/// Bytes of a block.
const BLOCK: usize = 4 << 20;

/// Threads that the way to the device keeps busy.
const THREADS: usize = 8;

/// A thread's block.
struct Slot {
    block: Block,
    passed: Event,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Where that fails the device reads nothing any more.
        let _ = self.passed.synchronize();
    }
}

/// Host memory that [`upload`] takes at most.
pub fn bytes(size: u64, threads: usize) -> u64 {
    size.min((BLOCK * threads.clamp(1, THREADS)) as u64)
}

/// A copy on the device. Returns when it is there.
pub fn upload(kernels: &Kernels, memory: &[u8], work: &Work) -> Result<Buffer<u8>> {
    let buffer = kernels.buffer::<u8>(memory.len())?;
    let slot = || {
        let block = kernels.blocks().take(BLOCK.min(memory.len()))?;
        Ok(Slot { block, passed: Event::new(kernels.device())? })
    };
    let pieces = memory.chunks(BLOCK).enumerate();
    let work = Work { threads: work.threads.min(THREADS), progress: &|_| (), ..*work };
    work.each(&Pieces::new(1), pieces, slot, |slot, (i, piece)| {
        slot.passed.synchronize()?;
        let to = buffer.part(i * BLOCK..i * BLOCK + piece.len())?;
        // SAFETY: the block has room for the piece, and nothing uses it any more; the copy ends before it is let go of or filled again.
        unsafe {
            std::ptr::copy_nonoverlapping(piece.as_ptr(), slot.block.address().cast(), piece.len());
            copy_async(to.address(), slot.block.address(), piece.len(), kernels.stream())?;
        }
        slot.passed.record(kernels.stream())
    })?;
    kernels.stream().synchronize()?;
    Ok(buffer)
}
