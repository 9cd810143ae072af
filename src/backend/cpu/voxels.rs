//! Tensors gone through in blocks of voxels, all channels of each at once; and of which types their elements may be.

use rayon::prelude::*;
use tract_linalg::multithread::{Executor, current_tract_executor};
use tract_onnx::prelude::DatumType;

/// Whether [`dispatch`] knows elements of a type. tract moves others as float32, which has all of their digits.
pub fn is_dispatched(kind: DatumType) -> bool {
    use DatumType::{F32, F64, I32, I64, U32, U64};
    matches!(kind, F32 | F64 | I32 | I64 | U32 | U64)
}

/// Calls a function for elements of that type.
macro_rules! dispatch {
    ($function:ident($kind:expr)($($argument:expr),*)) => {
        match $kind {
            DatumType::F64 => $function::<f64>($($argument),*),
            DatumType::I32 => $function::<i32>($($argument),*),
            DatumType::I64 => $function::<i64>($($argument),*),
            DatumType::U32 => $function::<u32>($($argument),*),
            DatumType::U64 => $function::<u64>($($argument),*),
            _ => $function::<f32>($($argument),*),
        }
    };
}

pub(super) use dispatch;

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
