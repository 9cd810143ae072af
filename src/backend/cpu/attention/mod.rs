//! Attention: products of queries with keys, what is added to them, a softmax and the product with the values, row by row, so
//! that the scores never leave the cache.
//!
//! tract computes each of these for all rows and heads before the next, and reads and writes the scores each time; for windows
//! of 343 voxels they are 24 times as large as what they are made of.

mod find;
mod kernel;
#[cfg(test)]
mod tests;

pub use find::replace;
use kernel::{COLUMNS, Head, ROWS, Step, WIDTH};
use tract_linalg::multithread::par_chunks_mut;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// How matrices lie in a tensor: how far it is from one to the next along each axis before them, and within.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Matrices {
    /// The extents along which there are matrices, and the strides.
    outer: Vec<(usize, usize)>,
    rows: usize,
    columns: usize,
}

impl Matrices {
    /// Where one begins, counted row by row.
    fn start(&self, mut number: usize) -> usize {
        let mut start = 0;
        for (extent, stride) in self.outer.iter().rev() {
            start += number % extent * stride;
            number /= extent;
        }
        start
    }
}

/// What is done to the scores between their product and the softmax.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Change {
    /// Multiplied by the number of these bits.
    Scale(u32),
    /// The next of the inputs is added.
    Add(Added),
}

/// Where in a tensor what is added to the scores lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Added {
    /// For each matrix of scores where its own begins, and how far it is from row to row and from column to column: nothing
    /// where there is one for all.
    starts: Vec<usize>,
    rows: usize,
    columns: usize,
}

/// Attention as one node: its inputs are queries, keys, values, and what is added to the scores; its output has the axes
/// before the matrices that `outer` says, rows and the values' elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attention {
    queries: Matrices,
    /// A key is a column.
    keys: Matrices,
    values: Matrices,
    changes: Vec<Change>,
    outer: Vec<usize>,
    rows: usize,
    inner: usize,
    key_count: usize,
    width: usize,
}

impl Attention {
    fn shape(&self) -> TVec<usize> {
        self.outer.iter().copied().chain([self.rows, self.width]).collect()
    }

    /// The bytes that so many threads work in, beside inputs and output.
    pub fn scratch_bytes(&self, threads: usize) -> u64 {
        let (keys, width) = (self.key_count.next_multiple_of(COLUMNS), self.width.next_multiple_of(WIDTH));
        let packed = self.inner * keys + self.key_count * width;
        ((packed + ROWS * (self.inner + keys + width)) * size_of::<f32>()).saturating_mul(threads) as u64
    }

    /// `output` are rows from the one with that number on.
    fn run(&self, inputs: &[&[f32]], first: usize, output: &mut [f32]) {
        let (keys, width) = (self.key_count.next_multiple_of(COLUMNS), self.width.next_multiple_of(WIDTH));
        let mut packed_keys = vec![0.0; self.inner * keys];
        let mut packed_values = vec![0.0; self.key_count * width];
        let mut queries = vec![[0.0; ROWS]; self.inner];
        let mut scores = vec![0.0; ROWS * keys];
        let mut results = vec![0.0; ROWS * width];
        let mut done = 0;
        while done < output.len() / self.width {
            let (number, row) = ((first + done) / self.rows, (first + done) % self.rows);
            let count = (self.rows - row).min(output.len() / self.width - done);
            let starts = [&self.queries, &self.keys, &self.values].map(|matrices| matrices.start(number));
            for (inner, keys) in packed_keys.chunks_exact_mut(keys).enumerate() {
                let from = starts[1] + inner * self.keys.rows;
                let keys = keys[..self.key_count].iter_mut().enumerate();
                keys.for_each(|(key, to)| *to = inputs[1][from + key * self.keys.columns]);
            }
            for (key, values) in packed_values.chunks_exact_mut(width).enumerate() {
                let from = starts[2] + key * self.values.rows;
                let values = values[..self.width].iter_mut().enumerate();
                values.for_each(|(column, to)| *to = inputs[2][from + column * self.values.columns]);
            }
            let head = Head {
                keys: self.key_count,
                packed_keys: &packed_keys,
                packed_values: &packed_values,
                width: self.width,
            };
            for start in (0..count).step_by(ROWS) {
                // What is beyond the last row is the last once more.
                let places: [usize; ROWS] = std::array::from_fn(|i| row + (start + i).min(count - 1));
                for (inner, queries) in queries.iter_mut().enumerate() {
                    let from = starts[0] + inner * self.queries.columns;
                    *queries = places.map(|place| inputs[0][from + place * self.queries.rows]);
                }
                let steps = self.steps(&inputs[3..], number, places);
                kernel::rows(&head, &queries, &steps, &mut scores, &mut results);
                let to = output[(done + start) * self.width..].chunks_exact_mut(self.width).take(count - start);
                to.zip(results.chunks_exact(width)).for_each(|(to, row)| to.copy_from_slice(&row[..self.width]));
            }
            done += count;
        }
    }

    fn steps<'a>(&self, added: &[&'a [f32]], number: usize, places: [usize; ROWS]) -> TVec<Step<'a>> {
        let mut added = added.iter();
        let step = |change: &Change| match change {
            Change::Scale(factor) => Some(Step::Scale(f32::from_bits(*factor))),
            Change::Add(Added { starts, rows, columns }) => {
                let added = *added.next()?;
                let rows = places.map(|place| starts[number] + place * rows);
                Some(match columns {
                    0 => Step::AddOne(rows.map(|start| added[start])),
                    _ => Step::Add(rows.map(|start| &added[start..][..self.key_count])),
                })
            }
        };
        self.changes.iter().filter_map(step).collect()
    }
}

impl Op for Attention {
    fn name(&self) -> StaticName {
        "FusedAttention".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Attention {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let inputs = inputs.iter().map(|input| input.try_as_plain_ram()).collect::<TractResult<TVec<_>>>()?;
        let inputs = inputs.iter().map(|input| input.as_slice::<f32>()).collect::<TractResult<TVec<_>>>()?;
        let mut output = Tensor::zero::<f32>(&self.shape())?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let results = plain.as_slice_mut::<f32>()?;
        let work = results.len().saturating_mul(self.key_count);
        if work > 0 {
            par_chunks_mut(results, self.width, work, |first, results| {
                self.run(&inputs, first, results);
                Ok(())
            })?;
        }
        Ok(tvec![output.into_tvalue()])
    }
}

impl TypedOp for Attention {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec![f32::fact(self.shape())])
    }

    as_op!();
}
