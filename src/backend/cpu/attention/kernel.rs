//! The innermost part: some rows of one head, from their scores to their results.

use super::super::exponential::exponential;

/// Rows that are worked on together.
pub(super) const ROWS: usize = 6;

/// Columns of a value's vector that are summed together.
pub(super) const WIDTH: usize = 16;

/// Keys and values of a head are packed for kernels of so many columns at most.
pub(super) const COLUMNS: usize = 32;

/// One head.
pub struct Head<'a> {
    /// How many keys there are.
    pub keys: usize,
    /// For each element of a query those of all keys, filled up to whole [`COLUMNS`].
    pub packed_keys: &'a [f32],
    /// For each key its value, filled up to whole [`WIDTH`]s.
    pub packed_values: &'a [f32],
    /// How many elements a value has.
    pub width: usize,
}

/// What is done to scores before the softmax.
pub enum Step<'a> {
    Scale(f32),
    /// A number for each of the rows.
    AddOne([f32; ROWS]),
    /// As many for each row as there are keys.
    Add([&'a [f32]; ROWS]),
}

/// Works out some rows. `queries` has for each element of a query that of each row; `scores` is room for all rows' scores,
/// filled up; `results` has each row's, filled up to whole [`WIDTH`]s.
pub fn rows(head: &Head<'_>, queries: &[[f32; ROWS]], steps: &[Step<'_>], scores: &mut [f32], results: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        type Rows = unsafe fn(&Head<'_>, &[[f32; ROWS]], &[Step<'_>], &mut [f32], &mut [f32]);
        let ways: [(bool, Rows); 2] = [
            (is_x86_feature_detected!("avx512f"), avx512),
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"), avx2),
        ];
        if let Some((_, way)) = ways.into_iter().find(|(has, _)| *has) {
            // SAFETY: the processor has the instructions.
            return unsafe { way(head, queries, steps, scores, results) };
        }
    }
    // Each processor with NEON multiplies and adds at once.
    plain::<8, { cfg!(target_arch = "aarch64") }>(head, queries, steps, scores, results);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
pub(super) fn avx512(
    head: &Head<'_>,
    queries: &[[f32; ROWS]],
    steps: &[Step<'_>],
    scores: &mut [f32],
    results: &mut [f32],
) {
    plain::<32, true>(head, queries, steps, scores, results);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) fn avx2(
    head: &Head<'_>,
    queries: &[[f32; ROWS]],
    steps: &[Step<'_>],
    scores: &mut [f32],
    results: &mut [f32],
) {
    plain::<16, true>(head, queries, steps, scores, results);
}

/// Written for a compiler that knows of wide registers.
#[inline(always)]
pub(super) fn plain<const C: usize, const FUSED: bool>(
    head: &Head<'_>,
    queries: &[[f32; ROWS]],
    steps: &[Step<'_>],
    scores: &mut [f32],
    results: &mut [f32],
) {
    let length = head.keys.next_multiple_of(COLUMNS);
    for column in (0..length).step_by(C) {
        let mut sums = [[0.0f32; C]; ROWS];
        for (query, keys) in queries.iter().zip(head.packed_keys.chunks_exact(length)) {
            let Some(keys) = keys[column..].first_chunk::<C>() else { return };
            // Not by index: the compiler would take the rows side by side.
            for (sums, query) in sums.iter_mut().zip(query) {
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum = multiplied::<FUSED>(*query, *key, *sum);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            scores[row * length + column..][..C].copy_from_slice(sums);
        }
    }
    let mut totals = [0.0; ROWS];
    for (row, (scores, total)) in scores.chunks_exact_mut(length).zip(&mut totals).enumerate() {
        let scores = &mut scores[..head.keys];
        for step in steps {
            match step {
                Step::Scale(factor) => scores.iter_mut().for_each(|score| *score *= factor),
                Step::AddOne(numbers) => scores.iter_mut().for_each(|score| *score += numbers[row]),
                Step::Add(numbers) => scores.iter_mut().zip(numbers[row]).for_each(|(score, more)| *score += more),
            }
        }
        *total = softmax(scores);
    }
    for column in (0..head.width).step_by(WIDTH) {
        let mut sums = [[0.0f32; WIDTH]; ROWS];
        let step = head.width.next_multiple_of(WIDTH);
        debug_assert!(scores.len() >= ROWS * length && head.packed_values.len() >= head.keys * step);
        let (mut score, mut value) = (scores.as_ptr(), head.packed_values[column..].as_ptr());
        for _ in 0..head.keys {
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: each row has a score for each key, and each key a value of so many elements and more.
                let (score, values) = unsafe { (*score.add(row * length), &*value.cast::<[f32; WIDTH]>()) };
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = multiplied::<FUSED>(score, *value, *sum);
                }
            }
            (score, value) = (score.wrapping_add(1), value.wrapping_add(step));
        }
        for (row, sums) in sums.iter().enumerate() {
            let to = &mut results[row * step + column..][..WIDTH];
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum / totals[row]);
        }
    }
}

#[inline(always)]
fn multiplied<const FUSED: bool>(a: f32, b: f32, sum: f32) -> f32 {
    if FUSED { a.mul_add(b, sum) } else { a * b + sum }
}

/// Puts in the place of scores the exponential of how far each is below the largest, and returns their sum.
#[inline(always)]
fn softmax(scores: &mut [f32]) -> f32 {
    const LANES: usize = 16;
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = scores.as_chunks::<LANES>();
    // No closures for a block: they may become functions of their own, for which the compiler does not know of wide registers.
    for block in blocks {
        for (lane, score) in lanes.iter_mut().zip(block) {
            *lane = larger(*lane, *score);
        }
    }
    let largest = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| larger(a, *b));
    let mut lanes = [0.0; LANES];
    let (blocks, rest) = scores.as_chunks_mut::<LANES>();
    for block in blocks {
        for (lane, score) in lanes.iter_mut().zip(block) {
            *score = exponential(*score - largest);
            *lane += *score;
        }
    }
    for (score, lane) in rest.iter_mut().zip(&mut lanes) {
        *score = exponential(*score - largest);
        *lane += *score;
    }
    lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>() as f32
}
