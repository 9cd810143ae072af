//! Normalization over all axes behind the channels, of each channel or of groups of channels: means, products and a root.
//!
//! The mean over all axes behind the channels is taken first, then the mean of the squared distances from it: the sum of squares
//! alone would lose what is small beside the mean. All of it is float32, whatever the model's type: the squares of a CT's
//! numbers are more than float16 holds.
//!
//! A mean is taken axis by axis: a sum of millions, one after the other, would lose digits, and TensorRT's takes no longer so.
//! What follows the last mean is pointwise and of one shape: TensorRT makes one layer of it, together with the activation
//! behind. For each such layer, shape and layout in memory 8.5 compiles and times some thirty kernels, a third of a second
//! each, which is most of what a build takes. For the same reason GroupNorm as PyTorch exports it, a reshape to [batch, groups,
//! rest] and back around InstanceNormalization, is computed in the shape that it comes in.

use super::FLOAT;
use super::writer::Writer;

/// Channels that are normalized together.
#[derive(Clone, Copy)]
pub struct Groups {
    pub count: u64,
    pub channels: u64,
}

impl Groups {
    pub fn size(self) -> u64 {
        self.channels / self.count
    }
}

/// By what the normalized is multiplied, and what is added then.
#[derive(Clone, Copy)]
pub enum Affine<'a> {
    None,
    OfChannels { scale: &'a str, bias: &'a str },
    OfGroups { scale: &'a str, bias: &'a str },
}

pub struct Normalization<'a> {
    /// What is normalized: a node's input, or what that is a view of.
    pub x: &'a str,
    pub affine: Affine<'a>,
    pub epsilon: f32,
    pub rank: usize,
    pub element_type: u64,
    pub groups: Option<Groups>,
    pub y: &'a str,
}

impl Writer<'_> {
    /// The mean over all axes behind the channels, which stay with an extent of one; of each channel's group, where they are in
    /// groups.
    fn mean_of_channels(&mut self, what: &str, of: &str, rank: usize, groups: Option<Groups>) -> String {
        // A group's channels and their first axis are one axis after a reshape.
        const FIRST: usize = 2;
        let last = if groups.is_some() && rank > 3 { FIRST + 1 } else { FIRST };
        let mut mean = of.to_owned();
        for axis in (last..rank).rev() {
            let is_all = axis == FIRST && groups.is_none();
            let name = if is_all { what.to_owned() } else { format!("{what}_{axis}") };
            mean = self.mean_over(&[axis as i64], &name, &mean);
        }
        let Some(Groups { count, .. }) = groups else { return mean };
        let mean = self.reshape(&format!("{what}_groups"), &mean, &[0, count as i64, -1]);
        let mean = self.mean_over(&[2], what, &mean);
        self.spread(what, &mean, rank, groups)
    }

    /// What has a number for each channel as [batch or 1, channels, 1, …]; or for each group, of which each channel gets it.
    fn spread(&mut self, what: &str, of: &str, rank: usize, groups: Option<Groups>) -> String {
        let mut extents = vec![1; rank];
        let Some(groups) = groups else {
            extents[1] = -1;
            return self.reshape(what, of, &extents);
        };
        let ones: Vec<u8> = (0..groups.size()).flat_map(|_| 1f32.to_le_bytes()).collect();
        let ones = self.constant(&format!("{what}_ones"), FLOAT, &[1, 1, groups.size()], &ones);
        let each = self.statistic("Mul", &format!("{what}_each"), &[of, &ones], vec![]);
        (extents[0], extents[1]) = (-1, groups.channels as i64);
        self.reshape(&format!("{what}_channels"), &each, &extents)
    }
}

pub fn write(writer: &mut Writer<'_>, normalization: &Normalization<'_>) {
    let Normalization { x, affine, epsilon, rank, element_type, groups, y } = *normalization;
    let x = writer.as_float("x", x, element_type);
    let mean = writer.mean_of_channels("mean", &x, rank, groups);
    let distance = writer.other("Sub", "distance", &[&x, &mean], None);
    let squared = writer.statistic("Mul", "squared", &[&distance, &distance], vec![]);
    // What is behind the last mean has one shape, so that TensorRT makes one layer of it.
    let variance = writer.mean_of_channels("variance", &squared, rank, groups);
    let deviation = writer.deviation(&variance, epsilon);
    let (operator, what, operands) = match affine {
        Affine::None => ("Div", "scaled", [distance, deviation]),
        Affine::OfChannels { scale, bias } | Affine::OfGroups { scale, bias } => {
            // Of what the model brings the parser makes weights, and no layers.
            let [scale, bias] = [("scale", scale), ("bias", bias)].map(|(what, name)| {
                let name = writer.as_float(what, name, element_type);
                match (affine, groups) {
                    (Affine::OfGroups { .. }, Some(_)) => {
                        let each = writer.reshape(&format!("{what}_groups"), &name, &[1, -1, 1]);
                        writer.spread(what, &each, rank, groups)
                    }
                    _ => writer.spread(what, &name, rank, None),
                }
            });
            let factor = writer.other("Div", "factor", &[&scale, &deviation], None);
            let scaled = writer.other("Mul", "scaled", &[&distance, &factor], None);
            ("Add", "sum", [scaled, bias])
        }
    };
    writer.last(operator, what, &operands.each_ref().map(String::as_str), element_type, y);
}
