//! Values on their way from the device to the host.

use super::buffer::{Element, View};
use super::kernels::Kernels;
use crate::cuda::{Block, Event, copy_async};
use crate::error::{Code, Error, Result};
use std::marker::PhantomData;

/// A copy that was started, in a block of page-locked memory.
pub struct Download<T: Element> {
    block: Block,
    count: usize,
    passed: Event,
    is_waited_for: bool,
    of: PhantomData<T>,
}

impl<T: Element> Download<T> {
    /// In the order of the kernels' stream: what is given to that later may write there again.
    pub fn start(kernels: &Kernels, from: View<'_, T>) -> Result<Self> {
        let block = kernels.blocks().take(from.count() * size_of::<T>())?;
        if !block.address().cast::<T>().is_aligned() {
            return Err(Error::new(Code::Internal, "a block of memory is not aligned; please report this"));
        }
        let passed = Event::new(kernels.device())?;
        if from.count() > 0 {
            // SAFETY: the block has so many bytes, and is let go of when the copy has ended.
            unsafe {
                copy_async(block.address(), from.address(), from.count() * size_of::<T>(), kernels.stream())?;
            }
        }
        let download = Self { block, count: from.count(), passed, is_waited_for: false, of: PhantomData };
        download.passed.record(kernels.stream())?;
        Ok(download)
    }

    /// How many values come.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The values, when they are there.
    pub fn wait(&mut self) -> Result<&mut [T]> {
        self.passed.synchronize()?;
        self.is_waited_for = true;
        // SAFETY: the copy has filled so many elements of the block, which is aligned for them; any bits are values.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.block.address().cast(), self.count) })
    }
}

impl<T: Element> Drop for Download<T> {
    fn drop(&mut self) {
        if !self.is_waited_for {
            // Where that fails the device writes nothing any more.
            let _ = self.passed.synchronize();
        }
    }
}
