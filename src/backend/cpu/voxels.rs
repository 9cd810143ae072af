//! Tensors gone through in blocks of voxels, all channels of each at once.

use rayon::prelude::*;
use tract_linalg::multithread::{Executor, current_tract_executor};

/// Calls for each block of so many voxels with its volume's number, its first voxel's, and a row of voxels for each channel;
/// with the threads of tract's executor. `data` is so many channels of so many voxels, again and again.
pub fn each_block<T: Send>(
    data: &mut [T],
    channels: usize,
    voxels: usize,
    block: usize,
    work: impl Fn(usize, usize, &mut [&mut [T]]) + Sync,
) {
    if data.is_empty() {
        return;
    }
    let mut blocks = Vec::new();
    for (number, volume) in data.chunks_mut(channels * voxels).enumerate() {
        let mut rows: Vec<_> = volume.chunks_mut(voxels).map(|channel| channel.chunks_mut(block)).collect();
        let starts = (0..voxels).step_by(block);
        blocks
            .extend(starts.map(|start| (number, start, rows.iter_mut().flat_map(Iterator::next).collect::<Vec<_>>())));
    }
    match current_tract_executor() {
        Executor::MultiThread(pool) => pool.install(|| {
            blocks.into_par_iter().for_each(|(volume, start, mut rows)| work(volume, start, &mut rows));
        }),
        _ => blocks.iter_mut().for_each(|(volume, start, rows)| work(*volume, *start, rows)),
    }
}
