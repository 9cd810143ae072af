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
    /// Finishes each value and gives it to `write`, with its place.
    #[inline(always)]
    pub fn each(self, values: impl Iterator<Item = f32>, residual: Option<&[f32]>, mut write: impl FnMut(usize, f32)) {
        match residual {
            Some(residual) => self.activated(values.zip(residual).map(|(value, more)| value + more), &mut write),
            None => self.activated(values, &mut write),
        }
    }

    #[inline(always)]
    fn activated(self, values: impl Iterator<Item = f32>, write: &mut impl FnMut(usize, f32)) {
        let values = values.enumerate();
        match self.activation {
            Activation::None => values.for_each(|(place, value)| write(place, value)),
            // A comparison with NaN is false.
            Activation::Relu => values.for_each(|(place, value)| write(place, if value < 0.0 { 0.0 } else { value })),
            Activation::Leaky(slope) => {
                let slope = f32::from_bits(slope);
                values.for_each(|(place, value)| write(place, if value < 0.0 { value * slope } else { value }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finished_is_what_nodes_would_give() {
        let values = [-2.0, 0.5, f32::NAN, -0.0];
        let finished = |finish: Finish, residual: Option<&[f32]>| {
            let mut to = [9.0; 4];
            finish.each(values.into_iter(), residual, |place, value| to[place] = value);
            to.map(f32::to_bits)
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
