//! planrt's own description of what is done to a volume: a [`Recipe`] as JSON.
//!
//! Keys are as below; those with a default may be left out, and no others are known. Axes are `[z, y, x]`.
//!
//! ```json
//! {
//!   "planrt_recipe": 1,
//!   "channels": 1,
//!   "output": "logits",
//!   "orientation": "RAS",
//!   "transpose": [0, 1, 2],
//!   "crop_to_nonzero": true,
//!   "resampling": {
//!     "spacing_mm": [1.0, 0.8, 0.8], "geometry": "edges", "data": "cubic", "result": "linear", "separate_axis_above": 3.0
//!   },
//!   "intensities": [{"kind": "ct", "low": -1000, "high": 1000, "mean": 12.5, "deviation": 300}],
//!   "normalize_after_resampling": false,
//!   "tiling": {
//!     "patch": [128, 128, 128], "overlap": 0.5, "placement": "even", "padding": 0, "window": "nnunet",
//!     "mirrored": [true, true, true]
//!   },
//!   "decision": {
//!     "activation": "softmax", "blend_probabilities": false, "labels": [0, 1, 2], "before_resampling": false,
//!     "largest_component": false
//!   }
//! }
//! ```
//!
//! - `planrt_recipe`: 1, the version of this description.
//! - `coarse` (null: none), where the description is a model folder's: a small model that finds where the folder's own is to look, as
//!   `{"folder": "coarse", "margin_mm": 20}`: a model folder in this one, with a description of its own, and millimetres around the box of
//!   what it finds.
//! - `ensemble`, in the place of all other keys but `coarse`, where the description is a model folder's: model folders in this one, as
//!   `["fullres", "lowres"]`, each with a description of its own; their probabilities are averaged on the scan's grid.
//! - `channels` (1): those that the model takes.
//! - `output` (null: the first one): the model's output that is the result.
//! - `orientation` (null: as the scan has it): where x, y and z grow to, each `R` or `L`, `A` or `P`, `S` or `I`.
//! - `transpose` (`[0, 1, 2]`): model axis `i` is the oriented scan's axis `transpose[i]`.
//! - `crop_to_nonzero` (false).
//! - `resampling` (null: none): `spacing_mm` on the model's axes, 0 where the scan's stays; `geometry`: `edges` (nnU-Net's) or `centres` (MONAI's); `data`
//!   (`linear`) and `result` (`linear`): `nearest`, `linear` or `cubic`; `separate_axis_above` (null: never).
//! - `intensities` (nothing is done): one for all channels or one for each. `kind` is `unchanged`; `ct` with `low`, `high`, `mean` and
//!   `deviation`; `z_score` with `within` (`whole`): `whole`, `filled_mask`, `monai_whole` or `monai_nonzero`; `zero_to_one`;
//!   `rgb`; or `range` with `from`, `to` and `clip` (false).
//! - `normalize_after_resampling` (false).
//! - `tiling`: `patch`; `overlap` (0.5), from 0 to below 1; `placement` (`even`): `even` or `shifted_back`; `padding` (0): a number,
//!   `edge` or `reflect`; `window` (`nnunet`): `constant`, `nnunet`, `monai` with `sigma_scale` (0.125) beside it; `mirrored` (none).
//! - `decision`: `activation` (`none`): `none`, `softmax` or `sigmoid`; `blend_probabilities` and `resample_probabilities` (false): whether
//!   what comes after the activation is blended, and resampled, and not what comes before it; either `labels`, one for each
//!   channel, of which the largest one's is taken, or `regions`, `[{"channel": 0, "label": 1}, …]`, painted in this order where the channel is
//!   above `threshold` (0.5); `before_resampling` (false); `largest_component` (false).

use crate::error::Result;
use crate::folder::parts::{COARSE, ENSEMBLE};
use crate::json::{self, Node};
use crate::process::stack::with_room;
use crate::volume::recipe::{
    Activation, Decision, Direction, Intensity, Interpolation, Padding, Placement, Recipe, Resampling,
    ResamplingGeometry, Rule, Tiling, Window, ZScore,
};
use std::path::Path;

pub const VERSION_KEY: &str = "planrt_recipe";
const VERSION: u64 = 1;
/// What no network has.
pub(super) const MOST_CHANNELS: u64 = 1 << 16;
pub(super) const LARGEST_PATCH: u64 = 1 << 20;

/// The recipe in a text; `name` is what errors call it.
pub fn parse(text: &str, name: &str) -> Result<Recipe> {
    // JSON in JSON goes deep, also where it ends.
    with_room(|| {
        let value = json::parse(Path::new(name), text.as_bytes())?;
        read(&Node::new(&value, Path::new(name)))
    })
}

/// An error where a description is of a version that is not known.
pub fn check_version(root: &Node) -> Result<()> {
    root.get(VERSION_KEY)?.whole(VERSION, VERSION).map(|_| ())
}

/// The recipe in a JSON object.
pub fn read(root: &Node) -> Result<Recipe> {
    for key in [ENSEMBLE, COARSE] {
        if let Some(node) = root.find(key)? {
            return Err(
                node.wrong("other models are named in the description of a model folder, for planrt_segmenter_load")
            );
        }
    }
    root.only(&[
        VERSION_KEY,
        "channels",
        "output",
        "orientation",
        "transpose",
        "crop_to_nonzero",
        "resampling",
        "intensities",
        "normalize_after_resampling",
        "tiling",
        "decision",
    ])?;
    check_version(root)?;
    let channels = optional(root, "channels", |node| node.whole(1, MOST_CHANNELS))?.unwrap_or(1) as usize;
    Ok(Recipe {
        channels,
        output: optional(root, "output", |node| node.text().map(str::to_owned))?,
        orientation: optional(root, "orientation", orientation)?,
        transpose: optional(root, "transpose", permutation)?.unwrap_or([0, 1, 2]),
        crop_to_nonzero: flag(root, "crop_to_nonzero")?,
        resampling: optional(root, "resampling", resampling)?,
        intensities: optional(root, "intensities", |node| intensities(node, channels))?
            .unwrap_or_else(|| vec![Intensity::Unchanged; channels]),
        normalize_after_resampling: flag(root, "normalize_after_resampling")?,
        tiling: tiling(&root.get("tiling")?)?,
        decision: decision(&root.get("decision")?)?,
    })
}

fn optional<'a, T>(node: &Node<'a>, key: &str, read: impl FnOnce(&Node<'a>) -> Result<T>) -> Result<Option<T>> {
    node.find(key)?.map(|member| read(&member)).transpose()
}

fn flag(node: &Node, key: &str) -> Result<bool> {
    Ok(optional(node, key, |member| member.boolean())?.unwrap_or(false))
}

/// `RAS` and its like.
pub fn orientation(node: &Node) -> Result<[Direction; 3]> {
    let direction = |letter| match letter {
        'R' => Some((0, Direction::Right)),
        'L' => Some((0, Direction::Left)),
        'A' => Some((1, Direction::Anterior)),
        'P' => Some((1, Direction::Posterior)),
        'S' => Some((2, Direction::Superior)),
        'I' => Some((2, Direction::Inferior)),
        _ => None,
    };
    let found: Option<Vec<_>> = node.text()?.chars().map(direction).collect();
    match found.as_deref() {
        Some(&[(a, x), (b, y), (c, z)]) if a != b && b != c && a != c => Ok([x, y, z]),
        _ => {
            Err(node.wrong("three letters are expected, one of R and L, one of A and P, one of S and I, as in \"RAS\""))
        }
    }
}

/// An order of the three axes.
pub fn permutation(node: &Node) -> Result<[usize; 3]> {
    let axes = node.three(|axis| Ok(axis.whole(0, 2)? as usize))?;
    match (0..3).all(|axis| axes.contains(&axis)) {
        true => Ok(axes),
        false => Err(node.wrong("each of 0, 1 and 2 is expected once")),
    }
}

fn interpolation(node: &Node) -> Result<Interpolation> {
    node.word(&[
        ("nearest", Interpolation::Nearest),
        ("linear", Interpolation::Linear),
        ("cubic", Interpolation::Cubic),
    ])
}

/// Millimetres, or 0 where the scan's stay.
fn spacing(node: &Node) -> Result<f64> {
    match node.number()? {
        0.0 => Ok(0.0),
        _ => node.positive(),
    }
}

fn resampling(node: &Node) -> Result<Resampling> {
    node.only(&["spacing_mm", "geometry", "data", "result", "separate_axis_above"])?;
    Ok(Resampling {
        spacing_mm: node.get("spacing_mm")?.three(spacing)?,
        geometry: node
            .get("geometry")?
            .word(&[("edges", ResamplingGeometry::Edges), ("centres", ResamplingGeometry::Centres)])?,
        data: optional(node, "data", interpolation)?.unwrap_or(Interpolation::Linear),
        result: optional(node, "result", interpolation)?.unwrap_or(Interpolation::Linear),
        separate_axis_above: optional(node, "separate_axis_above", Node::positive)?,
    })
}

fn intensities(node: &Node, channels: usize) -> Result<Vec<Intensity>> {
    let found = node.items()?.iter().map(intensity).collect::<Result<Vec<_>>>()?;
    match found.len() {
        1 => Ok(vec![found[0].clone(); channels]),
        count if count == channels => Ok(found),
        count => {
            Err(node.wrong(format_args!("one is expected, or {channels}, as there are channels, and not {count}")))
        }
    }
}

fn intensity(node: &Node) -> Result<Intensity> {
    let kind = node.get("kind")?;
    let only = |more: &[&str]| node.only(&[&["kind"], more].concat());
    let number = |key| node.get(key)?.number();
    Ok(match kind.text()? {
        "ct" => {
            only(&["low", "high", "mean", "deviation"])?;
            let (low, high) = (number("low")?, number("high")?);
            if low > high {
                return Err(node.wrong("\"low\" is above \"high\""));
            }
            Intensity::Ct { low, high, mean: number("mean")?, deviation: number("deviation")? }
        }
        "z_score" => {
            only(&["within"])?;
            let kinds = [
                ("whole", ZScore::Whole),
                ("filled_mask", ZScore::FilledMask),
                ("monai_whole", ZScore::MonaiWhole),
                ("monai_nonzero", ZScore::MonaiNonzero),
            ];
            Intensity::ZScore(optional(node, "within", |within| within.word(&kinds))?.unwrap_or(ZScore::Whole))
        }
        "range" => {
            only(&["from", "to", "clip"])?;
            Intensity::Range { from: range(node, "from")?, to: range(node, "to")?, clip: flag(node, "clip")? }
        }
        _ => {
            let plain = kind.word(&[
                ("unchanged", Intensity::Unchanged),
                ("zero_to_one", Intensity::ZeroToOne),
                ("rgb", Intensity::Rgb),
                // They were met above, and are here for the error to name.
                ("ct", Intensity::Unchanged),
                ("z_score", Intensity::Unchanged),
                ("range", Intensity::Unchanged),
            ])?;
            only(&[])?;
            plain
        }
    })
}

fn range(node: &Node, key: &str) -> Result<(f64, f64)> {
    let node = node.get(key)?;
    let ends = node.items()?.iter().map(Node::number).collect::<Result<Vec<_>>>()?;
    match ends[..] {
        [low, high] if low < high => Ok((low, high)),
        _ => Err(node.wrong("two numbers are expected, the second one above the first")),
    }
}

fn tiling(node: &Node) -> Result<Tiling> {
    node.only(&["patch", "overlap", "placement", "padding", "window", "sigma_scale", "mirrored"])?;
    let sigma_scale = optional(node, "sigma_scale", Node::positive)?;
    let window = match node.find("window")? {
        None => Window::NnUnet,
        Some(window) => window.word(&[
            ("constant", Window::Constant),
            ("nnunet", Window::NnUnet),
            ("monai", Window::Monai { sigma_scale: sigma_scale.unwrap_or(0.125) }),
        ])?,
    };
    if sigma_scale.is_some() && !matches!(window, Window::Monai { .. }) {
        return Err(node.wrong("\"sigma_scale\" belongs to the window \"monai\" alone"));
    }
    Ok(Tiling {
        patch: patch(&node.get("patch")?)?,
        overlap: optional(node, "overlap", overlap)?.unwrap_or(0.5),
        placement: optional(node, "placement", |placement| {
            placement.word(&[("even", Placement::Even), ("shifted_back", Placement::ShiftedBack)])
        })?
        .unwrap_or(Placement::Even),
        padding: optional(node, "padding", padding)?.unwrap_or(Padding::Constant(0.0)),
        window,
        mirrored: optional(node, "mirrored", |mirrored| mirrored.three(Node::boolean))?.unwrap_or_default(),
    })
}

pub fn patch(node: &Node) -> Result<[usize; 3]> {
    node.three(|extent| Ok(extent.whole(1, LARGEST_PATCH)? as usize))
}

pub fn overlap(node: &Node) -> Result<f64> {
    let overlap = node.number()?;
    match (0.0..1.0).contains(&overlap) {
        true => Ok(overlap),
        false => Err(node.wrong("a number from 0 to below 1 is expected")),
    }
}

fn padding(node: &Node) -> Result<Padding> {
    if node.value.is_number() {
        return Ok(Padding::Constant(node.number()? as f32));
    }
    node.word(&[("edge", Padding::Edge), ("reflect", Padding::Reflect)])
}

fn decision(node: &Node) -> Result<Decision> {
    node.only(&[
        "activation",
        "blend_probabilities",
        "resample_probabilities",
        "labels",
        "regions",
        "threshold",
        "before_resampling",
        "largest_component",
    ])?;
    let label = |node: &Node| Ok(node.whole(0, u16::MAX.into())? as u16);
    let threshold = optional(node, "threshold", |threshold| Ok(threshold.number()? as f32))?;
    let rule = match (node.find("labels")?, node.find("regions")?) {
        (Some(labels), None) => {
            if threshold.is_some() {
                return Err(node.wrong("\"threshold\" belongs to \"regions\" alone"));
            }
            let found = labels.items()?.iter().map(label).collect::<Result<Vec<_>>>()?;
            if found.is_empty() {
                return Err(labels.wrong("one label for each channel that the model gives is expected"));
            }
            Rule::Argmax { labels: found }
        }
        (None, Some(regions)) => {
            let region = |node: &Node| {
                node.only(&["channel", "label"])?;
                Ok((node.get("channel")?.whole(0, MOST_CHANNELS)? as usize, label(&node.get("label")?)?))
            };
            let order = regions.items()?.iter().map(region).collect::<Result<Vec<_>>>()?;
            if order.is_empty() {
                return Err(regions.wrong("one region at least is expected"));
            }
            Rule::Regions { threshold: threshold.unwrap_or(0.5), order }
        }
        _ => return Err(node.wrong("either \"labels\" or \"regions\" is expected")),
    };
    let activations = [("none", Activation::None), ("softmax", Activation::Softmax), ("sigmoid", Activation::Sigmoid)];
    Ok(Decision {
        activation: optional(node, "activation", |node| node.word(&activations))?.unwrap_or(Activation::None),
        blend_probabilities: flag(node, "blend_probabilities")?,
        resample_probabilities: flag(node, "resample_probabilities")?,
        rule,
        before_resampling: flag(node, "before_resampling")?,
        largest_component: flag(node, "largest_component")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::path::Path;

    fn whole() -> Value {
        json!({
            "planrt_recipe": 1,
            "channels": 2,
            "output": "logits",
            "orientation": "LPS",
            "transpose": [2, 0, 1],
            "crop_to_nonzero": true,
            "resampling": {"spacing_mm": [3, 0.75, 0.75], "geometry": "edges", "data": "cubic", "separate_axis_above": 3.0},
            "intensities": [
                {"kind": "ct", "low": -1000, "high": 400.5, "mean": 1.5, "deviation": 2.5},
                {"kind": "z_score", "within": "filled_mask"}
            ],
            "normalize_after_resampling": true,
            "tiling": {
                "patch": [1, 96, 128.0], "overlap": 0.25, "placement": "shifted_back", "padding": -1024,
                "window": "monai", "mirrored": [false, true, true]
            },
            "decision": {
                "activation": "sigmoid", "regions": [{"channel": 1, "label": 300}, {"channel": 0, "label": 2}],
                "threshold": 0.25, "resample_probabilities": true, "before_resampling": true, "largest_component": true
            }
        })
    }

    fn read_value(value: &Value) -> Result<Recipe> {
        read(&Node::new(value, Path::new("recipe.json")))
    }

    #[test]
    fn everything_is_read() {
        use Direction::{Left, Posterior, Superior};
        let recipe = read_value(&whole()).unwrap();
        let expected = Recipe {
            channels: 2,
            output: Some("logits".to_owned()),
            orientation: Some([Left, Posterior, Superior]),
            transpose: [2, 0, 1],
            crop_to_nonzero: true,
            resampling: Some(Resampling {
                spacing_mm: [3.0, 0.75, 0.75],
                geometry: ResamplingGeometry::Edges,
                data: Interpolation::Cubic,
                result: Interpolation::Linear,
                separate_axis_above: Some(3.0),
            }),
            intensities: vec![
                Intensity::Ct { low: -1000.0, high: 400.5, mean: 1.5, deviation: 2.5 },
                Intensity::ZScore(ZScore::FilledMask),
            ],
            normalize_after_resampling: true,
            tiling: Tiling {
                patch: [1, 96, 128],
                overlap: 0.25,
                placement: Placement::ShiftedBack,
                padding: Padding::Constant(-1024.0),
                window: Window::Monai { sigma_scale: 0.125 },
                mirrored: [false, true, true],
            },
            decision: Decision {
                activation: Activation::Sigmoid,
                blend_probabilities: false,
                resample_probabilities: true,
                rule: Rule::Regions { threshold: 0.25, order: vec![(1, 300), (0, 2)] },
                before_resampling: true,
                largest_component: true,
            },
        };
        assert_eq!(recipe, expected);
    }

    #[test]
    fn the_least_is_enough() {
        let least = json!({"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}});
        let recipe = read_value(&least).unwrap();
        assert_eq!((recipe.channels, recipe.orientation, recipe.transpose), (1, None, [0, 1, 2]));
        assert_eq!(recipe.intensities, [Intensity::Unchanged]);
        assert_eq!((recipe.tiling.overlap, &recipe.tiling.window), (0.5, &Window::NnUnet));
        assert_eq!(recipe.decision.rule, Rule::Argmax { labels: vec![0, 1] });
    }

    /// Each wrong value is refused, and the error names its key.
    #[test]
    fn errors_name_their_key() {
        let cases = [
            ("/planrt_recipe", json!(2), "planrt_recipe"),
            ("/channels", json!(0), "channels"),
            ("/channels", json!(3), "intensities"),
            ("/orientation", json!("RAA"), "orientation"),
            ("/orientation", json!("RASI"), "orientation"),
            ("/transpose", json!([0, 1, 1]), "transpose"),
            ("/crop_to_nonzero", json!("yes"), "crop_to_nonzero"),
            ("/output", json!(0), "output"),
            ("/resampling/spacing_mm/1", json!(-1), "resampling.spacing_mm[1]"),
            ("/resampling/spacing_mm", json!([1, 1]), "resampling.spacing_mm"),
            ("/resampling/geometry", json!("corners"), "resampling.geometry"),
            ("/resampling/data", json!("quintic"), "resampling.data"),
            ("/resampling/separate_axis_above", json!(-3), "resampling.separate_axis_above"),
            ("/intensities/0/kind", json!("mri"), "intensities[0].kind"),
            ("/intensities/0/low", json!(401), "intensities[0]"),
            ("/intensities/0/mean", json!(null), "mean"),
            ("/intensities/1/within", json!("mask"), "intensities[1].within"),
            ("/intensities/1", json!({"kind": "range", "from": [1, 1], "to": [0, 1]}), "intensities[1].from"),
            ("/intensities/1", json!({"kind": "rgb", "clip": true}), "clip"),
            ("/tiling/patch/0", json!(0), "tiling.patch[0]"),
            ("/tiling/patch/0", json!(1.5), "tiling.patch[0]"),
            ("/tiling/patch/0", json!(1u64 << 40), "tiling.patch[0]"),
            ("/tiling/overlap", json!(1), "tiling.overlap"),
            ("/tiling/placement", json!("random"), "tiling.placement"),
            ("/tiling/padding", json!("wrap"), "tiling.padding"),
            ("/tiling/window", json!("hann"), "tiling.window"),
            ("/tiling/mirrored", json!([0, 1]), "tiling.mirrored[0]"),
            ("/decision/activation", json!("relu"), "decision.activation"),
            ("/decision/regions/0/label", json!(65536), "decision.regions[0].label"),
            ("/decision/regions", json!([]), "decision.regions"),
            ("/decision/regions", json!(null), "decision"),
        ];
        for (place, value, named) in cases {
            let mut recipe = whole();
            *recipe.pointer_mut(place).unwrap() = value;
            let error = read_value(&recipe).unwrap_err();
            assert!(error.message().contains(&format!("\"{named}\"")), "{place}: {error}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        for place in ["", "/resampling", "/intensities/0", "/tiling", "/decision", "/decision/regions/0"] {
            let mut recipe = whole();
            recipe.pointer_mut(place).unwrap()["colour"] = json!(1);
            let error = read_value(&recipe).unwrap_err();
            assert!(error.message().contains("\"colour\" is not known"), "{place}: {error}");
        }
        for place in ["tiling", "decision"] {
            let mut recipe = whole();
            recipe.as_object_mut().unwrap().remove(place);
            let error = read_value(&recipe).unwrap_err();
            assert!(error.message().contains(&format!("\"{place}\" is missing")), "{error}");
        }
    }
}
