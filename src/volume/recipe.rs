//! What is done to a volume before, in and after the network. Model descriptions (nnU-Net's, MONAI's) are read into it.

/// The whole way of a volume. Axes are `[z, y, x]`; from `transpose` on they are the model's.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Channels that the model takes.
    pub channels: usize,
    /// The model's output that is the result; its first one where absent.
    pub output: Option<String>,
    /// The anatomical directions in which x, y and z grow, as `RAS` or `LPS`; as the scan has them where absent.
    pub orientation: Option<[Direction; 3]>,
    /// Model axis `i` is the scan's (oriented) axis `transpose[i]`.
    pub transpose: [usize; 3],
    /// Whether what lies outside the tight box of what is not zero (any channel, holes filled) is cut off.
    pub crop_to_nonzero: bool,
    pub resampling: Option<Resampling>,
    /// One for each channel.
    pub intensities: Vec<Intensity>,
    /// nnU-Net normalizes on the scan's spacing, MONAI's bundles on the model's.
    pub normalize_after_resampling: bool,
    pub tiling: Tiling,
    pub decision: Decision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Right,
    Left,
    Anterior,
    Posterior,
    Superior,
    Inferior,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Resampling {
    /// In the model's axes; 0 where the scan's stays.
    pub spacing_mm: [f64; 3],
    pub geometry: ResamplingGeometry,
    /// Of the images.
    pub data: Interpolation,
    /// Of what the network gives, on the way back.
    pub result: Interpolation,
    /// How many times the largest spacing is to be the smallest one at least for its axis to be treated separately (order 0), as
    /// nnU-Net does; never where absent.
    pub separate_axis_above: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResamplingGeometry {
    /// nnU-Net's: the volume's edges stay where they are.
    Edges,
    /// MONAI's: the centre of the first voxel stays where it is, or the volume's middle where its axes are oblique.
    Centres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    Nearest,
    Linear,
    /// B-spline of order 3, clipped to the input's range.
    Cubic,
}

/// What is done to the values of a channel.
#[derive(Clone, Debug, PartialEq)]
pub enum Intensity {
    Unchanged,
    /// `(clip(x, low, high) - mean) / max(deviation, 1e-8)`.
    Ct {
        low: f64,
        high: f64,
        mean: f64,
        deviation: f64,
    },
    /// By the volume's own mean and population standard deviation.
    ZScore(ZScore),
    /// From its own smallest and largest value to 0 and 1.
    ZeroToOne,
    /// Divided by 255.
    Rgb,
    /// From `[from.0, from.1]` to `[to.0, to.1]`, and clipped to that if asked for.
    Range {
        from: (f64, f64),
        to: (f64, f64),
        clip: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZScore {
    /// nnU-Net's; a deviation of at least 1e-8.
    Whole,
    /// nnU-Net's `use_mask_for_norm`: within the filled mask of what is not zero; the rest stays.
    FilledMask,
    /// MONAI's `NormalizeIntensity`; a deviation of 0 counts as 1.
    MonaiWhole,
    /// MONAI's with `nonzero`.
    MonaiNonzero,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tiling {
    pub patch: [usize; 3],
    /// Of a tile with its neighbour, 0 to below 1.
    pub overlap: f64,
    pub placement: Placement,
    pub padding: Padding,
    pub window: Window,
    /// The axes over all of whose subsets what the network gives is averaged.
    pub mirrored: [bool; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// nnU-Net's: spread evenly.
    Even,
    /// MONAI's: by a fixed step, the last one shifted back.
    ShiftedBack,
}

/// How a volume smaller than the patch is filled up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Padding {
    Constant(f32),
    Edge,
    Reflect,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Window {
    Constant,
    /// nnU-Net's: centred on voxel P/2, deviation P/8, its largest value 10.
    NnUnet,
    /// MONAI's: centred on (P-1)/2, deviation `sigma_scale`·P, nothing below 1e-3.
    Monai {
        sigma_scale: f64,
    },
    /// A caller's, one weight for each voxel of the patch.
    Weights(Vec<f32>),
}

/// How labels come from what the network gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub activation: Activation,
    /// Whether tiles' probabilities are blended, and not what the network gives before the activation.
    pub blend_probabilities: bool,
    /// Whether probabilities are resampled (MONAI's order), and not what the network gives before the activation (nnU-Net's).
    pub resample_probabilities: bool,
    pub rule: Rule,
    /// Whether labels are decided on the model's grid, and resampled (nearest); else on the scan's.
    pub before_resampling: bool,
    /// Whether only the largest connected component (26 neighbours) of each label is kept.
    pub largest_component: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    None,
    Softmax,
    Sigmoid,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// The first channel of the largest value; channel `c` gives `labels[c]`.
    Argmax { labels: Vec<u16> },
    /// Each channel whose value is above the threshold paints its label, in that order: `(channel, label)`; the rest is 0.
    Regions { threshold: f32, order: Vec<(usize, u16)> },
}
