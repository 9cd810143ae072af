//! Whether what a caller lends for different things shares memory.

use std::iter;

/// Elements of so many bytes that lie in memory along some axes.
#[derive(Clone, Debug)]
pub struct Elements {
    /// The lowest address.
    first: i128,
    size: i128,
    /// How many there are along an axis, and how many bytes apart: from the smallest distance to the largest.
    axes: Vec<(i128, i128)>,
}

impl Elements {
    /// `first` is where the first element along all axes is.
    pub fn new(first: i128, size: usize, axes: &[(usize, isize)]) -> Self {
        let below: i128 =
            axes.iter().map(|(extent, stride)| (*stride as i128).min(0) * (*extent as i128 - 1).max(0)).sum();
        let mut axes: Vec<_> = axes
            .iter()
            .filter(|(extent, stride)| *extent > 1 && *stride != 0)
            .map(|(extent, stride)| (*extent as i128, (*stride as i128).abs()))
            .collect();
        axes.sort_by_key(|(_, stride)| *stride);
        Self { first: first + below, size: size as i128, axes }
    }

    /// Bytes from its lowest element to the end of its highest.
    fn reach(&self) -> i128 {
        self.axes.iter().map(|(extent, stride)| (extent - 1) * stride).sum::<i128>() + self.size
    }

    /// The parts along the axis of the largest distance: the first one, how many there are and how far apart.
    fn parts(&self) -> (Self, i128, i128) {
        let mut part = self.clone();
        let (count, stride) = part.axes.pop().unwrap_or((1, 1));
        (part, count, stride)
    }

    /// Whether an element has a byte of another's. Elements that lie between each other's are apart where one pattern says so, or where
    /// whole parts, as planes, do.
    pub fn shares_with(&self, other: &Self) -> bool {
        let meets = |a: &Self, b: &Self| a.first < b.first + b.reach() && b.first < a.first + a.reach();
        if !meets(self, other) || self.lies_between(other) {
            return false;
        }
        let (mut these, mut those) = (self.parts(), other.parts());
        if these.1 > those.1 {
            std::mem::swap(&mut these, &mut those);
        }
        let (mut part, count, stride) = these;
        let (others, other_count, other_stride) = those;
        (0..count).any(|_| {
            // The first of the others that ends behind where this part begins.
            let behind = part.first - others.reach() + 1 - others.first;
            let number = (behind + other_stride - 1).div_euclid(other_stride).max(0);
            let is_met = number < other_count && others.first + number * other_stride < part.first + part.reach();
            part.first += stride;
            is_met
        })
    }

    /// Whether all elements of both are in places of their own of a pattern that repeats, as the members of a struct are.
    fn lies_between(&self, other: &Self) -> bool {
        let strides = self.axes.iter().chain(&other.axes).map(|(_, stride)| *stride);
        let period = strides.fold(0, greatest_common_divisor);
        let apart = if period == 0 { 0 } else { (other.first - self.first).rem_euclid(period) };
        apart >= self.size && apart + other.size <= period
    }
}

fn greatest_common_divisor(a: i128, b: i128) -> i128 {
    let pairs = iter::successors(Some((a, b)), |(a, b)| (*b != 0).then(|| (*b, a % b)));
    pairs.last().map_or(0, |(divisor, _)| divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against every byte of both.
    #[test]
    fn as_the_bytes_say() {
        let dense = |first, size: usize| {
            let bytes = size as isize;
            (first, size, vec![(2, 12 * bytes), (3, 4 * bytes), (4, bytes)])
        };
        let cases = [
            dense(0, 1),
            dense(0, 2),
            dense(5, 2),
            dense(23, 1),
            dense(24, 1),
            dense(47, 2),
            dense(48, 2),
            // Backwards.
            (23, 1, vec![(2, -12), (3, -4), (4, -1)]),
            // Members of a struct of four bytes.
            (0, 2, vec![(2, 48), (3, 16), (4, 4)]),
            (2, 1, vec![(2, 48), (3, 16), (4, 4)]),
            (3, 1, vec![(2, 48), (3, 16), (4, 4)]),
            (1, 2, vec![(2, 48), (3, 16), (4, 4)]),
            // Planes of one between planes of the other.
            (0, 1, vec![(2, 24), (3, 4), (4, 1)]),
            (12, 1, vec![(2, 24), (3, 4), (4, 1)]),
            (13, 1, vec![(2, 24), (3, 4), (4, 1)]),
            (36, 1, vec![(2, -24), (3, 4), (4, 1)]),
            // Channels.
            (4, 1, vec![(3, 8), (2, 40), (2, 2), (2, 1)]),
            (7, 1, vec![(1, 9), (1, 0)]),
            (7, 3, vec![(5, 0)]),
        ];
        let bytes = |(first, size, axes): &(i128, usize, Vec<(usize, isize)>)| {
            let mut places = vec![*first];
            for (extent, stride) in axes {
                let steps = (0..*extent as i128).map(|i| i * *stride as i128);
                places = steps.flat_map(|step| places.iter().map(move |place| place + step)).collect();
            }
            places.iter().flat_map(|place| *place..place + *size as i128).collect::<std::collections::HashSet<_>>()
        };
        let elements = |(first, size, axes): &(i128, usize, Vec<(usize, isize)>)| Elements::new(*first, *size, axes);
        let mut answers = [0, 0];
        for one in &cases {
            for other in &cases {
                let wanted = !bytes(one).is_disjoint(&bytes(other));
                let found = elements(one).shares_with(&elements(other));
                // What shares is always found. What is apart in another way may be taken to share.
                assert!(found || !wanted, "{one:?} {other:?}");
                answers[usize::from(found == wanted)] += 1;
            }
        }
        assert!(answers[0] * 10 < answers[1], "{answers:?}");
        let apart = |one: usize, other: usize| !elements(&cases[one]).shares_with(&elements(&cases[other]));
        assert!(apart(0, 4) && apart(8, 9) && apart(9, 10) && apart(8, 10) && apart(12, 13));
    }
}
