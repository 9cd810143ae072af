//! What is done to each result of a layer before it is written: what would be nodes of their own behind it.

/// Something is added, and then an activation applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Finish {
    /// Whether a tensor of the result's shape is added.
    pub residual: bool,
    pub activation: Activation,
}

/// NaN goes through each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    #[default]
    None,
    Relu,
    /// With the bits of the slope.
    Leaky(u32),
}

impl Finish {
    /// Writes what comes of each value as what `made` makes of it. `first` is done to it before all else.
    #[inline(always)]
    pub fn write<T>(
        self,
        to: &mut [T],
        values: &[f32],
        residual: Option<&[f32]>,
        first: impl Fn(f32) -> f32,
        made: impl Fn(f32) -> T,
    ) {
        match residual {
            Some(residual) => self.activated(to, values, residual, |value, more| first(value) + more, made),
            None => self.activated(to, values, values, |value, _| first(value), made),
        }
    }

    #[inline(always)]
    fn activated<T>(
        self,
        to: &mut [T],
        values: &[f32],
        others: &[f32],
        of: impl Fn(f32, f32) -> f32,
        made: impl Fn(f32) -> T,
    ) {
        // A comparison with NaN is false.
        let relu = |value: f32| if value < 0.0 { 0.0 } else { value };
        match self.activation {
            Activation::None => in_lanes(to, values, others, |value, other| made(of(value, other))),
            Activation::Relu => in_lanes(to, values, others, |value, other| made(relu(of(value, other)))),
            Activation::Leaky(slope) => {
                let slope = f32::from_bits(slope);
                let leaky = |value: f32| if value < 0.0 { value * slope } else { value };
                in_lanes(to, values, others, |value, other| made(leaky(of(value, other))));
            }
        }
    }
}

/// Values of a register.
const LANES: usize = 8;

/// Rows are short: a loop that takes several registers at once would leave most of them to one value at a time. What is left
/// of whole registers is computed with some that were computed before.
#[inline(always)]
fn in_lanes<T>(to: &mut [T], values: &[f32], others: &[f32], of: impl Fn(f32, f32) -> T) {
    let whole = values.as_chunks().0.iter().zip(others.as_chunks().0);
    for (to, (values, others)) in to.as_chunks_mut().0.iter_mut().zip(whole) {
        lanes(to, values, others, &of);
    }
    if values.len().is_multiple_of(LANES) {
        return;
    }
    match (to.last_chunk_mut(), values.last_chunk(), others.last_chunk()) {
        (Some(to), Some(values), Some(others)) => lanes(to, values, others, &of),
        _ => {
            for (to, (value, other)) in to.iter_mut().zip(values.iter().zip(others)) {
                *to = of(*value, *other);
            }
        }
    }
}

/// No closure: that may become a function of its own, for which the compiler does not know of wide registers.
#[inline(always)]
fn lanes<T>(to: &mut [T; LANES], values: &[f32; LANES], others: &[f32; LANES], of: &impl Fn(f32, f32) -> T) {
    *to = std::array::from_fn(|i| of(values[i], others[i]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finished_is_what_nodes_would_give() {
        let values = [-2.0, 0.5, f32::NAN, -0.0];
        let finished = |finish: Finish, residual: Option<&[f32]>| {
            // As many as have registers of their own, some more, and fewer.
            let all = [4, 8, 20].map(|count: usize| {
                let cycle = |values: &[f32]| values.iter().copied().cycle().take(count).collect::<Vec<_>>();
                let mut to = vec![9.0; count];
                let residual = residual.map(cycle);
                finish.write(&mut to, &cycle(&values), residual.as_deref(), |value| value, |value| value);
                to.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            });
            assert!(all.iter().all(|bits| bits.iter().zip(all[0].iter().cycle()).all(|(a, b)| a == b)), "{all:?}");
            all[0].clone()
        };
        let bits = |values: [f32; 4]| values.map(f32::to_bits);
        let with = |activation| Finish { residual: false, activation };
        assert_eq!(finished(with(Activation::None), None), bits(values));
        assert_eq!(finished(with(Activation::Relu), None), bits([0.0, 0.5, f32::NAN, -0.0]));
        assert_eq!(finished(with(Activation::Leaky(0.25f32.to_bits())), None), bits([-0.5, 0.5, f32::NAN, -0.0]));
        let relu = Finish { residual: true, activation: Activation::Relu };
        assert_eq!(finished(relu, Some(&[3.0, -1.0, 0.0, 1.0])), bits([1.0, 0.0, f32::NAN, 1.0]));
    }
}
