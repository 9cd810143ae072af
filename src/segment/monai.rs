//! MONAI bundles: `inference.json` as far as it says in known transforms what is done to a volume. What is not known is refused by its
//! name: a transform left out would change the labels.
//!
//! References (`@key`, `@key#member`) are followed. Expressions (`$…`) are Python: taken are references, True, False and None.

use super::description::{Options, is_there};
use super::recipe_json::{MOST_CHANNELS, orientation, overlap, patch};
use crate::error::Result;
use crate::json::{self, Node};
use crate::quote::quoted;
use crate::volume::recipe::{
    Activation, Decision, Direction, Intensity, Interpolation, Padding, Placement, Recipe, Resampling,
    ResamplingGeometry, Rule, Tiling, Window, ZScore,
};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// References that lead to references.
const MOST_STEPS: usize = 32;

/// Python's words for what JSON has, too.
static WORDS: [(&str, Value); 3] = [("None", Value::Null), ("True", Value::Bool(true)), ("False", Value::Bool(false))];

/// A bundle's description of its inference, where there is one.
pub fn find(folder: &Path) -> Option<PathBuf> {
    ["configs/inference.json", "inference.json"].map(|name| folder.join(name)).into_iter().find(|path| is_there(path))
}

/// The recipe of a bundle, from its `inference.json`.
pub fn read(file: &Path, options: &Options) -> Result<Recipe> {
    let value = json::read(file)?;
    let bundle = Bundle { root: Node::new(&value, file) };
    let metadata_file = file.with_file_name("metadata.json");
    let metadata_value = if is_there(&metadata_file) { json::read(&metadata_file)? } else { Value::Null };
    let metadata = Node::new(&metadata_value, &metadata_file);

    let channels = bundle.channels("in_channels", &metadata, "inputs")?;
    let before = bundle.before_network(channels)?;
    let tiling = bundle.tiling(options)?;
    let gives = || bundle.channels("out_channels", &metadata, "outputs");
    let (decision, result) = bundle.after_network(&before, gives)?;
    Ok(Recipe {
        channels,
        output: None,
        orientation: before.orientation,
        // MONAI's arrays have x first.
        transpose: [2, 1, 0],
        crop_to_nonzero: false,
        resampling: before.resampling.map(|resampling| Resampling { result, ..resampling }),
        intensities: vec![before.intensity.unwrap_or(Intensity::Unchanged); channels],
        normalize_after_resampling: before.normalize_after_resampling,
        tiling,
        decision,
    })
}

/// What the transforms before the network come to.
#[derive(Default)]
struct Before {
    orientation: Option<[Direction; 3]>,
    resampling: Option<Resampling>,
    intensity: Option<Intensity>,
    normalize_after_resampling: bool,
}

struct Bundle<'a> {
    root: Node<'a>,
}

/// A transform: its arguments, and which of its keys is the one that counts.
struct Transform<'a> {
    name: String,
    node: Node<'a>,
    key: usize,
    keys: usize,
}

impl<'a> Bundle<'a> {
    /// The value that a reference or an expression stands for, where the value is one.
    fn resolve(&self, node: &Node<'a>) -> Result<Node<'a>> {
        let mut node = node.clone();
        for _ in 0..MOST_STEPS {
            let Some(text) = node.value.as_str() else { return Ok(node) };
            let expression = text.strip_prefix('$').map(str::trim);
            if let Some((_, value)) = WORDS.iter().find(|(word, _)| Some(*word) == expression) {
                return Ok(node.with(value));
            }
            match expression.unwrap_or(text).strip_prefix('@') {
                Some(path) => node = node.with(self.target(&node, path)?.value),
                None if text.starts_with('%') => {
                    return Err(node.wrong(format_args!("the macro {} is not followed", quoted(text))));
                }
                None if expression.is_some() => {
                    return Err(node.wrong(format_args!(
                        "{} would have to be computed in Python: write what it comes to in its place",
                        quoted(text)
                    )));
                }
                None => return Ok(node),
            }
        }
        Err(node.wrong("the references lead nowhere"))
    }

    /// What `key`, `key#member` or `key#0` leads to.
    fn target(&self, from: &Node<'a>, path: &str) -> Result<Node<'a>> {
        let dangling = || from.wrong(format_args!("the reference {} leads nowhere", quoted(path)));
        let path = path.replace("::", "#");
        let mut node = self.root.clone();
        for step in path.split('#') {
            if step.is_empty() || step.contains(|c: char| c != '_' && !c.is_alphanumeric()) {
                return Err(from.wrong(format_args!("the reference {} is no plain one", quoted(&path))));
            }
            let next = match node.value {
                Value::Array(items) => step.parse().ok().and_then(|i: usize| items.get(i)),
                other => other.get(step),
            };
            node = node.with(next.ok_or_else(dangling)?);
        }
        Ok(node)
    }

    /// A member, with what it stands for.
    fn find(&self, node: &Node<'a>, key: &str) -> Result<Option<Node<'a>>> {
        let Some(member) = node.find(key)? else { return Ok(None) };
        let member = self.resolve(&member)?;
        Ok(Some(member).filter(|member| !member.value.is_null()))
    }

    fn get(&self, node: &Node<'a>, key: &str) -> Result<Node<'a>> {
        self.find(node, key)?.ok_or_else(|| node.wrong(format_args!("{} is missing", quoted(key))))
    }

    /// The name of a component's class, as `Spacingd`.
    fn class(&self, node: &Node<'a>) -> Result<String> {
        let target = self.get(node, "_target_")?;
        let name = target.text()?.rsplit('.').next().unwrap_or_default();
        let stem = name.strip_suffix("Dict").or_else(|| name.strip_suffix('D'));
        Ok(stem.map_or_else(|| name.to_owned(), |stem| format!("{stem}d")))
    }

    fn is_disabled(&self, node: &Node<'a>) -> Result<bool> {
        self.find(node, "_disabled_")?.map_or(Ok(false), |disabled| disabled.boolean())
    }

    /// The transforms of a `Compose`, in order, that are about what MONAI's evaluators have under the name `counted`: what goes into the
    /// network, or comes out of it. Where none is, about the first one's key.
    fn transforms(&self, key: &str, counted: &str) -> Result<Vec<Transform<'a>>> {
        let mut waiting = vec![self.get(&self.root, key)?];
        let mut all = Vec::new();
        let mut seen = 0;
        while let Some(node) = waiting.pop() {
            seen += 1;
            if seen > 1000 {
                return Err(node.wrong("these are more transforms than there can be"));
            }
            let node = self.resolve(&node)?;
            if node.value.is_array() {
                waiting.extend(node.items()?.into_iter().rev());
                continue;
            }
            if self.is_disabled(&node)? {
                continue;
            }
            let name = self.class(&node)?;
            if name == "Compose" {
                waiting.push(self.get(&node, "transforms")?);
                continue;
            }
            let keys = match self.find(&node, "keys")? {
                None => return Err(node.wrong(format_args!("the transform {} is not known here", quoted(&name)))),
                Some(keys) if keys.value.is_array() => {
                    let keys = keys.items()?;
                    keys.iter().map(|key| self.resolve(key)?.text()).collect::<Result<Vec<_>>>()?
                }
                Some(key) => vec![key.text()?],
            };
            all.push((name, node, keys));
        }
        let first = all.iter().find_map(|(_, _, keys)| keys.first().copied());
        let is_there = all.iter().any(|(_, _, keys)| keys.contains(&counted));
        let counted = if is_there { Some(counted) } else { first };
        // Others are about what is not segmented, as labels to compare with.
        let about = |(name, node, keys): (String, Node<'a>, Vec<&str>)| {
            let key = keys.iter().position(|key| Some(*key) == counted)?;
            Some(Transform { name, node, key, keys: keys.len() })
        };
        Ok(all.into_iter().filter_map(about).collect())
    }

    /// Refuses a type in which values would be others: rounded, or cut off. A type is mostly written as `$torch.float32`.
    fn keeps_values(&self, transform: &Transform<'a>) -> Result<()> {
        let Some(types) = transform.node.find("dtype")? else { return Ok(()) };
        let one = match types.value {
            Value::Array(items) if items.len() == transform.keys => types.items()?.swap_remove(transform.key),
            _ => types,
        };
        if one.value.is_null() {
            return Ok(());
        }
        let one = if one.text()?.starts_with('@') { self.resolve(&one)? } else { one };
        let name = one.text()?.rsplit('.').next().unwrap_or_default();
        match ["float32", "float64", "float", "double"].contains(&name) {
            true => Ok(()),
            false => Err(one.wrong("values are kept in float32 here, and no other type")),
        }
    }

    /// An argument, of which there may be one for each key.
    fn argument(&self, transform: &Transform<'a>, name: &str) -> Result<Option<Node<'a>>> {
        let Some(argument) = self.find(&transform.node, name)? else { return Ok(None) };
        match argument.value {
            Value::Array(items) if items.len() == transform.keys => {
                let items = argument.items()?;
                let one = self.resolve(&items[transform.key])?;
                Ok(Some(one).filter(|one| !one.value.is_null()))
            }
            _ => Ok(Some(argument)),
        }
    }

    fn flag(&self, transform: &Transform<'a>, name: &str, default: bool) -> Result<bool> {
        self.argument(transform, name)?.map_or(Ok(default), |flag| flag.boolean())
    }

    fn number(&self, transform: &Transform<'a>, name: &str) -> Result<Option<f64>> {
        self.argument(transform, name)?.map(|number| number.number()).transpose()
    }

    /// Refuses arguments that are none of these.
    fn only(&self, transform: &Transform<'a>, known: &[&str]) -> Result<()> {
        let common = ["_target_", "_disabled_", "_desc_", "_requires_", "keys", "allow_missing_keys", "lazy"];
        transform.node.only(&[&common, known].concat())
    }

    /// How many channels the network takes or gives: as its definition says, or the bundle's metadata.
    fn channels(&self, argument: &str, metadata: &Node<'a>, side: &str) -> Result<usize> {
        for key in ["network_def", "network", "net"] {
            let Some(network) = self.root.find(key)? else { continue };
            // What is computed in Python says nothing here, and is no fault yet.
            let Ok(network) = self.resolve(&network) else { continue };
            if !network.value.is_object() {
                continue;
            }
            if let Some(channels) = self.find(&network, argument)? {
                return Ok(channels.whole(1, MOST_CHANNELS)? as usize);
            }
        }
        let tensor = metadata
            .value
            .get("network_data_format")
            .and_then(|format| format.get(side)?.as_object()?.values().next()?.get("num_channels"));
        match tensor {
            Some(channels) => Ok(metadata.with(channels).whole(1, MOST_CHANNELS)? as usize),
            None => Err(self.root.wrong(format_args!(
                "neither \"network_def\" says {} nor metadata.json how many channels there are",
                quoted(argument)
            ))),
        }
    }

    fn before_network(&self, channels: usize) -> Result<Before> {
        let mut before = Before::default();
        for transform in self.transforms("preprocessing", "image")? {
            let twice = || transform.node.wrong(format_args!("a second transform of this kind, {}", transform.name));
            self.keeps_values(&transform)?;
            match transform.name.as_str() {
                // Reading, places and types, of which the values do not depend.
                "LoadImaged"
                | "EnsureChannelFirstd"
                | "AddChanneld"
                | "ToDeviced"
                | "Identityd"
                | "DeleteItemsd"
                | "EnsureTyped"
                | "ToTensord"
                | "CastToTyped" => {}
                "Orientationd" => {
                    if before.orientation.is_some() || before.resampling.is_some() {
                        return Err(twice());
                    }
                    before.orientation = self.orientation(&transform)?;
                }
                "Spacingd" => {
                    if before.resampling.is_some() {
                        return Err(twice());
                    }
                    before.resampling = Some(self.spacing(&transform)?);
                    before.normalize_after_resampling = before.intensity.is_none();
                }
                _ => {
                    if before.intensity.is_some() {
                        return Err(twice());
                    }
                    before.intensity = Some(self.intensity(&transform, channels)?);
                }
            }
        }
        Ok(before)
    }

    fn orientation(&self, transform: &Transform<'a>) -> Result<Option<[Direction; 3]>> {
        self.only(transform, &["axcodes", "as_closest_canonical", "labels"])?;
        if self.flag(transform, "as_closest_canonical", false)? {
            return Ok(Some([Direction::Right, Direction::Anterior, Direction::Superior]));
        }
        if let Some(labels) = self.find(&transform.node, "labels")? {
            return Err(labels.wrong("directions have the letters R and L, A and P, S and I here"));
        }
        Ok(Some(orientation(&self.get(&transform.node, "axcodes")?)?))
    }

    fn spacing(&self, transform: &Transform<'a>) -> Result<Resampling> {
        // The others are about the transform's types, or about how it says the same.
        self.only(
            transform,
            &[
                "pixdim",
                "mode",
                "padding_mode",
                "diagonal",
                "align_corners",
                "dtype",
                "scale_extent",
                "recompute_affine",
                "ensure_same_shape",
            ],
        )?;
        for argument in ["diagonal", "scale_extent", "recompute_affine"] {
            if self.flag(transform, argument, false)? {
                return Err(transform.node.wrong(format_args!("{} is not known here", quoted(argument))));
            }
        }
        if let Some(mode) = self.argument(transform, "padding_mode")? {
            mode.word(&[("border", ())])?;
        }
        let data = match self.argument(transform, "mode")? {
            None => Interpolation::Linear,
            Some(mode) => mode.word(&[("bilinear", Interpolation::Linear), ("nearest", Interpolation::Nearest)])?,
        };
        Ok(Resampling {
            spacing_mm: self.get(&transform.node, "pixdim")?.three(|spacing| self.resolve(spacing)?.positive())?,
            geometry: ResamplingGeometry::Centres,
            data,
            result: data,
            separate_axis_above: None,
        })
    }

    fn intensity(&self, transform: &Transform<'a>, channels: usize) -> Result<Intensity> {
        let each_channel = |by_channel: bool| match by_channel || channels == 1 {
            true => Ok(()),
            false => {
                Err(transform.node.wrong("statistics over all channels together are not known here: \"channel_wise\""))
            }
        };
        let name = transform.name.as_str();
        match name {
            "ScaleIntensityRanged" => {
                self.only(transform, &["a_min", "a_max", "b_min", "b_max", "clip", "dtype"])?;
                let end = |name| {
                    let missing = || transform.node.wrong(format_args!("{} is missing", quoted(name)));
                    self.number(transform, name)?.ok_or_else(missing)
                };
                let (from, to) = ((end("a_min")?, end("a_max")?), (end("b_min")?, end("b_max")?));
                if from.0 >= from.1 || to.0 >= to.1 {
                    return Err(transform
                        .node
                        .wrong("\"a_min\" and \"b_min\" are to be below \"a_max\" and \"b_max\""));
                }
                Ok(Intensity::Range { from, to, clip: self.flag(transform, "clip", false)? })
            }
            "NormalizeIntensityd" => {
                self.only(transform, &["subtrahend", "divisor", "nonzero", "channel_wise", "dtype"])?;
                let nonzero = self.flag(transform, "nonzero", false)?;
                match (self.number(transform, "subtrahend")?, self.number(transform, "divisor")?) {
                    (None, None) => {
                        each_channel(self.flag(transform, "channel_wise", false)?)?;
                        Ok(Intensity::ZScore(if nonzero { ZScore::MonaiNonzero } else { ZScore::MonaiWhole }))
                    }
                    (Some(mean), Some(deviation)) if deviation > 0.0 && !nonzero => {
                        Ok(Intensity::Range { from: (mean, mean + deviation), to: (0.0, 1.0), clip: false })
                    }
                    _ => Err(transform.node.wrong(
                        "\"subtrahend\" and \"divisor\" are known together, the latter above 0, and without \"nonzero\"",
                    )),
                }
            }
            "ScaleIntensityd" => {
                self.only(transform, &["minv", "maxv", "factor", "channel_wise", "dtype"])?;
                each_channel(self.flag(transform, "channel_wise", false)?)?;
                let ends =
                    (self.number(transform, "minv")?.unwrap_or(0.0), self.number(transform, "maxv")?.unwrap_or(1.0));
                match ends == (0.0, 1.0) && self.number(transform, "factor")?.is_none() {
                    true => Ok(Intensity::ZeroToOne),
                    false => {
                        Err(transform.node.wrong("only \"minv\" 0 and \"maxv\" 1 are known here, and no \"factor\""))
                    }
                }
            }
            _ => Err(transform.node.wrong(format_args!("the transform {} is not known here", quoted(name)))),
        }
    }

    fn tiling(&self, options: &Options) -> Result<Tiling> {
        let inferer = self.get(&self.root, "inferer")?;
        let name = self.class(&inferer)?;
        if !matches!(name.as_str(), "SlidingWindowInferer" | "SlidingWindowInfererAdapt") {
            return Err(inferer
                .wrong(format_args!("the inferer {} is not known here, a SlidingWindowInferer is", quoted(&name))));
        }
        // The others are about where and in which portions the same is computed.
        inferer.only(&[
            "_target_",
            "_desc_",
            "_requires_",
            "roi_size",
            "overlap",
            "mode",
            "sigma_scale",
            "padding_mode",
            "cval",
            "sw_batch_size",
            "sw_device",
            "device",
            "progress",
            "cache_roi_weight_map",
            "cpu_thresh",
            "buffer_steps",
            "buffer_dim",
        ])?;
        let sigma_scale = match self.find(&inferer, "sigma_scale")? {
            Some(scale) => scale.positive()?,
            None => 0.125,
        };
        let window = match self.find(&inferer, "mode")? {
            Some(mode) => mode.word(&[("constant", Window::Constant), ("gaussian", Window::Monai { sigma_scale })])?,
            None => Window::Constant,
        };
        let value = match self.find(&inferer, "cval")? {
            Some(value) => value.number()? as f32,
            None => 0.0,
        };
        let padding = match self.find(&inferer, "padding_mode")? {
            Some(mode) => mode.word(&[
                ("constant", Padding::Constant(value)),
                ("replicate", Padding::Edge),
                ("reflect", Padding::Reflect),
            ])?,
            None => Padding::Constant(value),
        };
        Ok(Tiling {
            patch: patch(&self.get(&inferer, "roi_size")?)?,
            overlap: self.find(&inferer, "overlap")?.map_or(Ok(0.25), |node| overlap(&node))?,
            placement: Placement::ShiftedBack,
            padding,
            window,
            mirrored: options.mirrored.unwrap_or_default(),
        })
    }

    /// How labels come about, and the interpolation of what the network gives.
    fn after_network(
        &self,
        before: &Before,
        channels: impl Fn() -> Result<usize>,
    ) -> Result<(Decision, Interpolation)> {
        let mut activation = None;
        let mut rule = None;
        let mut inverted: Option<bool> = None;
        let mut result = before.resampling.as_ref().map_or(Interpolation::Linear, |resampling| resampling.result);
        let mut before_resampling = false;
        let mut resample_probabilities = false;
        let mut largest_component = false;
        for transform in self.transforms("postprocessing", "pred")? {
            let node = &transform.node;
            let out_of_order = || node.wrong(format_args!("{} is not known at this place", transform.name));
            match transform.name.as_str() {
                // Labels fit into any type.
                "EnsureTyped" | "ToTensord" | "CastToTyped" if rule.is_none() => self.keeps_values(&transform)?,
                "SaveImaged"
                | "EnsureTyped"
                | "ToTensord"
                | "ToDeviced"
                | "CastToTyped"
                | "Identityd"
                | "DeleteItemsd"
                | "EnsureChannelFirstd" => {}
                "Activationsd" => {
                    self.only(&transform, &["softmax", "sigmoid", "other"])?;
                    if activation.is_some() || rule.is_some() {
                        return Err(out_of_order());
                    }
                    let flags = (self.flag(&transform, "softmax", false)?, self.flag(&transform, "sigmoid", false)?);
                    activation = Some(match (flags, self.argument(&transform, "other")?) {
                        ((true, false), None) => Activation::Softmax,
                        ((false, true), None) => Activation::Sigmoid,
                        ((false, false), None) => Activation::None,
                        _ => return Err(node.wrong("either \"softmax\" or \"sigmoid\" is known here")),
                    });
                    resample_probabilities = inverted.is_none();
                }
                "Invertd" => {
                    if inverted.is_some() {
                        return Err(out_of_order());
                    }
                    if self.argument(&transform, "post_func")?.is_some() {
                        return Err(node.wrong("\"post_func\" is not known here"));
                    }
                    let is_nearest = self.flag(&transform, "nearest_interp", true)?;
                    if is_nearest {
                        result = Interpolation::Nearest;
                    }
                    before_resampling = rule.is_some();
                    if before_resampling && result != Interpolation::Nearest {
                        return Err(
                            node.wrong("labels that are interpolated make labels up: \"nearest_interp\" is to be true")
                        );
                    }
                    if largest_component {
                        return Err(out_of_order());
                    }
                    inverted = Some(is_nearest);
                }
                "AsDiscreted" => {
                    if rule.is_some() {
                        return Err(out_of_order());
                    }
                    rule = Some(self.rule(&transform, &channels)?);
                }
                "KeepLargestConnectedComponentd" => {
                    self.only(
                        &transform,
                        &["applied_labels", "is_onehot", "independent", "connectivity", "num_components"],
                    )?;
                    let whole = self.argument(&transform, "applied_labels")?.is_none()
                        && !self.flag(&transform, "is_onehot", false)?
                        && self.flag(&transform, "independent", true)?
                        && self.number(&transform, "connectivity")?.is_none_or(|connectivity| connectivity == 3.0)
                        && self.number(&transform, "num_components")?.is_none_or(|count| count == 1.0);
                    if !whole {
                        return Err(
                            node.wrong("the largest component of each label by itself is known here, no other choice")
                        );
                    }
                    if rule.is_none() {
                        return Err(out_of_order());
                    }
                    largest_component = true;
                }
                name => return Err(node.wrong(format_args!("the transform {} is not known here", quoted(name)))),
            }
        }
        let is_moved = before.orientation.is_some() || before.resampling.is_some();
        if inverted.is_none() && is_moved {
            return Err(self
                .root
                .wrong("\"postprocessing\" has no Invertd, which brings labels back onto the scan's grid"));
        }
        let missing = || self.root.wrong("\"postprocessing\" has no AsDiscreted, which makes labels");
        let decision = Decision {
            activation: activation.unwrap_or(Activation::None),
            blend_probabilities: false,
            resample_probabilities,
            rule: rule.ok_or_else(missing)?,
            before_resampling,
            largest_component,
        };
        Ok((decision, result))
    }

    fn rule(&self, transform: &Transform<'a>, channels: impl Fn() -> Result<usize>) -> Result<Rule> {
        self.only(transform, &["argmax", "threshold", "to_onehot", "rounding", "dtype"])?;
        for argument in ["to_onehot", "rounding"] {
            if self.argument(transform, argument)?.is_some() {
                return Err(transform.node.wrong(format_args!("{} is not known here", quoted(argument))));
            }
        }
        let threshold = self.number(transform, "threshold")?;
        let count = channels()?;
        match (self.flag(transform, "argmax", false)?, threshold) {
            (true, None) => match u16::try_from(count - 1) {
                Ok(last) => Ok(Rule::Argmax { labels: (0..=last).collect() }),
                Err(_) => Err(transform.node.wrong("there are more labels than 16 bits can tell apart")),
            },
            // MONAI takes what is at least the threshold.
            (false, Some(threshold)) if count == 1 => {
                Ok(Rule::Regions { threshold: (threshold as f32).next_down(), order: vec![(0, 1)] })
            }
            (false, Some(_)) => Err(transform.node.wrong(
                "channels with a threshold each are masks that overlap, and no labels: say in a recipe.json which label each one \
                 paints, and in which order",
            )),
            _ => Err(transform.node.wrong("either \"argmax\" or \"threshold\" is known here")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_folder::TestFolder;
    use super::*;
    use serde_json::json;

    const RAS: Option<[Direction; 3]> = Some([Direction::Right, Direction::Anterior, Direction::Superior]);

    fn bundle(name: &str) -> PathBuf {
        find(&Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/descriptions")).join(name)).unwrap()
    }

    fn read_changed(place: &str, value: Value) -> Result<Recipe> {
        let mut bundle = json::read(&bundle("spleen_ct_segmentation")).unwrap();
        let (parent, key) = place.rsplit_once('/').unwrap();
        match bundle.pointer_mut(parent).unwrap() {
            Value::Array(items) => match key.parse::<usize>() {
                Ok(i) => items[i] = value,
                Err(_) => items.push(value),
            },
            object => object[key] = value,
        }
        let folder = TestFolder::new("bundle");
        folder.write("inference.json", bundle.to_string().as_bytes());
        read(&find(folder.path()).unwrap(), &Options::default())
    }

    #[test]
    fn labels_on_the_scans_grid() {
        let recipe = read(&bundle("spleen_ct_segmentation"), &Options::default()).unwrap();
        let expected = Recipe {
            output: None,
            channels: 1,
            orientation: RAS,
            transpose: [2, 1, 0],
            crop_to_nonzero: false,
            resampling: Some(Resampling {
                spacing_mm: [1.5, 1.5, 2.0],
                geometry: ResamplingGeometry::Centres,
                data: Interpolation::Linear,
                result: Interpolation::Linear,
                separate_axis_above: None,
            }),
            intensities: vec![Intensity::Range { from: (-57.0, 164.0), to: (0.0, 1.0), clip: true }],
            normalize_after_resampling: true,
            tiling: Tiling {
                patch: [96, 96, 64],
                overlap: 0.5,
                placement: Placement::ShiftedBack,
                padding: Padding::Constant(0.0),
                window: Window::Constant,
                mirrored: [false; 3],
            },
            decision: Decision {
                activation: Activation::Softmax,
                blend_probabilities: false,
                resample_probabilities: true,
                rule: Rule::Argmax { labels: vec![0, 1] },
                before_resampling: false,
                largest_component: false,
            },
        };
        assert_eq!(recipe, expected);
    }

    #[test]
    fn labels_on_the_models_grid() {
        let recipe = read(&bundle("wholeBody_ct_segmentation"), &Options::default()).unwrap();
        assert_eq!((recipe.channels, recipe.orientation), (1, RAS));
        assert_eq!(recipe.intensities, [Intensity::ZScore(ZScore::MonaiNonzero)]);
        assert!(!recipe.normalize_after_resampling);
        let resampling = recipe.resampling.unwrap();
        assert_eq!((resampling.data, resampling.result), (Interpolation::Linear, Interpolation::Nearest));
        assert_eq!(recipe.tiling.window, Window::Monai { sigma_scale: 0.125 });
        assert_eq!((recipe.tiling.padding, recipe.tiling.overlap), (Padding::Edge, 0.25));
        assert!(recipe.decision.before_resampling && recipe.decision.largest_component);
        assert_eq!(recipe.decision.rule, Rule::Argmax { labels: (0..105).collect() });
    }

    #[test]
    fn what_goes_into_the_network_counts_and_no_labels_beside_it() {
        let mut bundle = json::read(&bundle("spleen_ct_segmentation")).unwrap();
        for part in ["preprocessing", "postprocessing"] {
            for transform in bundle[part]["transforms"].as_array_mut().unwrap() {
                let key = transform["keys"].as_str().unwrap_or("image").to_owned();
                transform["keys"] = json!(["label", key]);
            }
        }
        bundle["preprocessing"]["transforms"][3]["mode"] = json!(["nearest", "bilinear"]);
        let transforms = bundle["preprocessing"]["transforms"].as_array_mut().unwrap();
        transforms.insert(0, json!({"_target_": "LoadImaged", "keys": "label"}));
        transforms.push(json!({"_target_": "CropForegroundd", "keys": "label"}));
        transforms.push(json!({"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"}));
        let types = json!(["$torch.int64", "$torch.float32"]);
        transforms.push(json!({"_target_": "EnsureTyped", "keys": ["label", "image"], "dtype": types}));
        let folder = TestFolder::new("bundle");
        folder.write("inference.json", bundle.to_string().as_bytes());
        let changed = read(&folder.path().join("inference.json"), &Options::default()).unwrap();
        assert_eq!(changed, read(&self::bundle("spleen_ct_segmentation"), &Options::default()).unwrap());
    }

    #[test]
    fn a_threshold_is_at_least_that() {
        let recipe = read_changed("/network_def/out_channels", json!(1)).unwrap();
        assert_eq!(recipe.decision.rule, Rule::Argmax { labels: vec![0] });
        let mut bundle = json::read(&bundle("spleen_ct_segmentation")).unwrap();
        bundle["network_def"]["out_channels"] = json!(1);
        bundle["postprocessing"]["transforms"][0] =
            json!({"_target_": "Activationsd", "keys": "pred", "sigmoid": true});
        bundle["postprocessing"]["transforms"][2] =
            json!({"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5});
        let folder = TestFolder::new("bundle");
        folder.write("inference.json", bundle.to_string().as_bytes());
        let decision = read(&folder.path().join("inference.json"), &Options::default()).unwrap().decision;
        let Rule::Regions { threshold, order } = decision.rule else { panic!("{:?}", decision.rule) };
        assert!(threshold < 0.5 && threshold.next_up() == 0.5 && order == [(0, 1)]);
        assert_eq!(decision.activation, Activation::Sigmoid);
    }

    /// What is not known is refused, with its name.
    #[test]
    fn what_is_not_known_is_named() {
        let (before, after) = ("/preprocessing/transforms", "/postprocessing/transforms");
        let transform = |name: &str| json!({"_target_": name, "keys": "image"});
        let cases = [
            (format!("{before}/-"), transform("CropForegroundd"), "CropForegroundd"),
            (format!("{before}/-"), json!({"_target_": "Lambda", "func": "$lambda x: x"}), "Lambda"),
            (format!("{before}/-"), transform("Orientationd"), "Orientationd"),
            (format!("{before}/-"), transform("NormalizeIntensityd"), "NormalizeIntensityd"),
            (format!("{before}/2/axcodes"), json!("RSA2"), "axcodes"),
            (format!("{before}/3/pixdim"), json!([1.5, 1.5, -1]), "pixdim[2]"),
            (format!("{before}/3/pixdim"), json!("$[1.5] * 3"), "$[1.5] * 3"),
            (format!("{before}/3/pixdim"), json!("@nowhere"), "nowhere"),
            (format!("{before}/3/pixdim"), json!("@preprocessing#transforms#3#pixdim"), "references"),
            (format!("{before}/3/pixdim"), json!("%other.json::pixdim"), "other.json"),
            (format!("{before}/3/mode"), json!(3), "mode"),
            (format!("{before}/3/padding_mode"), json!("zeros"), "padding_mode"),
            (format!("{before}/3/diagonal"), json!(true), "diagonal"),
            (format!("{before}/3/recompute_affine"), json!(true), "recompute_affine"),
            (
                format!("{before}/-"),
                json!({"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.int16"}),
                "dtype",
            ),
            (
                format!("{before}/-"),
                json!({"_target_": "EnsureTyped", "keys": ["image"], "dtype": ["$np.half"]}),
                "dtype",
            ),
            (
                format!("{before}/-"),
                json!({"_target_": "EnsureTyped", "keys": ["label", "image"], "dtype": ["$torch.float32", "$torch.int64"]}),
                "dtype",
            ),
            (format!("{before}/0/dtype"), json!("$np.int16"), "dtype"),
            (format!("{before}/4/dtype"), json!("$torch.uint8"), "dtype"),
            (format!("{before}/3/max_pixdim"), json!(2), "max_pixdim"),
            (format!("{before}/4/b_max"), json!(null), "b_max"),
            (format!("{before}/4/a_max"), json!(-60), "a_max"),
            ("/inferer/_target_".to_owned(), json!("SimpleInferer"), "SimpleInferer"),
            ("/inferer/roi_size".to_owned(), json!([96, 96, -1]), "roi_size[2]"),
            ("/inferer/roi_weight_map".to_owned(), json!([1]), "roi_weight_map"),
            ("/inferer/padding_mode".to_owned(), json!("circular"), "padding_mode"),
            ("/inferer/overlap".to_owned(), json!(1.0), "overlap"),
            ("/network_def/in_channels".to_owned(), json!(null), "in_channels"),
            (format!("{after}/-"), transform("MeanEnsembled"), "MeanEnsembled"),
            (format!("{after}/0/other"), json!("$torch.tanh"), "$torch.tanh"),
            (
                format!("{after}/0"),
                json!({"_target_": "CastToTyped", "keys": "pred", "dtype": "$torch.uint8"}),
                "dtype",
            ),
            (format!("{after}/1/post_func"), json!("$lambda x: x > 0"), "post_func"),
            (format!("{after}/1"), json!({"_target_": "SaveImaged", "keys": "pred"}), "Invertd"),
            (format!("{after}/2/argmax"), json!(false), "argmax"),
            (format!("{after}/2"), json!({"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}), "overlap"),
            (format!("{after}/2/to_onehot"), json!(2), "to_onehot"),
            (format!("{after}/3"), json!({"_target_": "Invertd", "keys": "pred"}), "Invertd"),
        ];
        for (place, value, named) in cases {
            // Those that are about the key of what is segmented after the network.
            let value = if named == "MeanEnsembled" { json!({"_target_": named, "keys": "pred"}) } else { value };
            let error = read_changed(&place, value).expect_err(&place);
            assert!(error.message().contains(named), "{place}: {error}");
        }
    }
}
