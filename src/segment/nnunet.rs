//! nnU-Net's description of a trained model (v2): `plans.json` and `dataset.json`.

use super::description::Options;
use super::recipe_json::{LARGEST_PATCH, MOST_CHANNELS, patch, permutation};
use crate::error::Result;
use crate::json::{self, Node};
use crate::quote::quoted;
use crate::volume::recipe::{
    Activation, Decision, Direction, Intensity, Interpolation, Padding, Placement, Recipe, Resampling,
    ResamplingGeometry, Rule, Tiling, Window, ZScore,
};
use serde_json::{Map, Value};
use std::path::Path;

pub const PLANS: &str = "plans.json";
const DATASET: &str = "dataset.json";

/// From this ratio of the largest to the smallest spacing on the axis of the former is resampled by itself.
const ANISOTROPIC: f64 = 3.0;

/// The recipe of the model in a folder as nnU-Net leaves it after training.
pub fn read(folder: &Path, options: &Options) -> Result<Recipe> {
    let (plans_file, dataset_file) = (folder.join(PLANS), folder.join(DATASET));
    let (plans_value, dataset_value) = (json::read(&plans_file)?, json::read(&dataset_file)?);
    let (plans, dataset) = (Node::new(&plans_value, &plans_file), Node::new(&dataset_value, &dataset_file));
    let trained = Trained::from_name(folder);
    let name = configuration_name(&plans, options, &trained)?;
    let configurations = plans.get("configurations")?;
    let merged = inherited(&configurations, &name)?;
    let configuration = configurations.get(&name)?;
    let configuration = configuration.with(&merged);

    let patch_node = configuration.get("patch_size")?;
    // A configuration for planes takes one after the other.
    let is_planes = patch_node.items()?.len() == 2;
    let patch = match is_planes {
        true => {
            let [y, x] = pair(&patch_node, |extent| extent.whole(1, LARGEST_PATCH))?;
            [1, y as usize, x as usize]
        }
        false => patch(&patch_node)?,
    };
    let mut mirrored = options.mirrored.unwrap_or(trained.mirrored);
    if is_planes {
        mirrored[0] = false;
    }
    if let Some(stage) = configuration.find("previous_stage")? {
        return Err(stage.wrong("cascades, whose second network takes the labels of the first, are not run"));
    }
    if let Some(preprocessor) = configuration.find("preprocessor_name")? {
        preprocessor.word(&[("DefaultPreprocessor", ())])?;
    }
    if let Some(manager) = plans.find("label_manager")? {
        manager.word(&[("LabelManager", ())])?;
    }
    let transpose = match plans.find("transpose_forward")? {
        Some(axes) => permutation(&axes)?,
        None => [0, 1, 2],
    };
    let intensities = intensities(&plans, &configuration)?;
    let named = match dataset.find("channel_names")? {
        Some(names) => Some(names),
        None => dataset.find("modality")?,
    };
    if let Some(names) = named
        && names.members()?.count() != intensities.len()
    {
        return Err(names.wrong(format_args!("the plans normalize {} channels", intensities.len())));
    }
    Ok(Recipe {
        channels: intensities.len(),
        output: None,
        orientation: orientation(&plans)?,
        transpose,
        crop_to_nonzero: true,
        resampling: resampling(&configuration, is_planes)?,
        intensities,
        normalize_after_resampling: false,
        tiling: Tiling {
            patch,
            overlap: 0.5,
            placement: Placement::Even,
            padding: Padding::Constant(0.0),
            window: Window::NnUnet,
            mirrored,
        },
        decision: decision(&dataset)?,
    })
}

/// What the name of the folder says, which nnU-Net calls `TRAINER__PLANS__CONFIGURATION`. The checkpoint says it for certain.
struct Trained {
    configuration: Option<String>,
    /// The axes that the trainer has mirrored the training's images over.
    mirrored: [bool; 3],
}

impl Trained {
    fn from_name(folder: &Path) -> Self {
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let [trainer, _, configuration] = name.split("__").collect::<Vec<_>>()[..] else {
            return Self { configuration: None, mirrored: [true; 3] };
        };
        let mirrored = match trainer {
            _ if ["NoMirroring", "noMirroring", "NoDA"].iter().any(|word| trainer.contains(word)) => [false; 3],
            _ if trainer.contains("onlyMirror01") => [true, true, false],
            _ => [true; 3],
        };
        Self { configuration: Some(configuration.to_owned()), mirrored }
    }
}

/// The configuration that is asked for, else the one in the folder's name, else `3d_fullres`, else the only one, or the only one
/// for volumes.
fn configuration_name(plans: &Node, options: &Options, trained: &Trained) -> Result<String> {
    let configurations = plans.get("configurations")?;
    let names: Vec<_> = configurations.members()?.map(|(name, _)| name).collect();
    let there = || quoted(&names.join(", ")).to_string();
    if let Some(name) = &options.configuration {
        return match names.contains(&name.as_str()) {
            true => Ok(name.clone()),
            false => Err(configurations.wrong(format_args!("there is no {}, only {}", quoted(name), there()))),
        };
    }
    if let Some(name) = trained.configuration.iter().find(|name| names.contains(&name.as_str())) {
        return Ok(name.clone());
    }
    if let [only] = names[..] {
        return Ok(only.to_owned());
    }
    let mut volumes = names.iter().filter(|name| name.starts_with("3d") && !name.contains("cascade"));
    match (names.contains(&"3d_fullres"), volumes.next(), volumes.next()) {
        (true, ..) => Ok("3d_fullres".to_owned()),
        (false, Some(name), None) => Ok((*name).to_owned()),
        _ => Err(configurations.wrong(format_args!("which one the models are has to be said: {}", there()))),
    }
}

/// A configuration with what it has from those that it inherits from.
fn inherited(configurations: &Node, name: &str) -> Result<Value> {
    let mut merged = Map::new();
    let mut names: Vec<String> = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        let node = configurations.get(&name)?;
        if names.contains(&name) {
            return Err(node.wrong("the configuration inherits from itself"));
        }
        for (key, member) in node.members()? {
            merged.entry(key).or_insert_with(|| member.value.clone());
        }
        next = node.find("inherits_from")?.map(|parent| parent.text().map(str::to_owned)).transpose()?;
        names.push(name);
    }
    Ok(Value::Object(merged))
}

/// How the images were turned when the network was trained: as their reader does it.
fn orientation(plans: &Node) -> Result<Option<[Direction; 3]>> {
    let ras = Some([Direction::Right, Direction::Anterior, Direction::Superior]);
    match plans.find("image_reader_writer")? {
        None => Ok(None),
        Some(reader) => reader.word(&[
            ("SimpleITKIO", None),
            ("NibabelIO", None),
            ("NibabelIOWithReorient", ras),
            ("SimpleITKIOWithReorient", ras),
            ("Tiff3DIO", None),
        ]),
    }
}

fn intensities(plans: &Node, configuration: &Node) -> Result<Vec<Intensity>> {
    let schemes = configuration.get("normalization_schemes")?;
    let masked = match configuration.find("use_mask_for_norm")? {
        Some(masked) => masked.items()?.iter().map(Node::boolean).collect::<Result<Vec<_>>>()?,
        None => Vec::new(),
    };
    let foreground = match plans.find("foreground_intensity_properties_per_channel")? {
        Some(foreground) => Some(foreground),
        None => plans.find("foreground_intensity_properties_by_modality")?,
    };
    let schemes = schemes.items()?;
    if schemes.is_empty()
        || schemes.len() as u64 > MOST_CHANNELS
        || !(masked.is_empty() || masked.len() == schemes.len())
    {
        return Err(configuration.wrong(format_args!(
            "a normalization scheme and a mask for each channel are expected, not {} and {}",
            schemes.len(),
            masked.len()
        )));
    }
    let z_score = |channel: usize| match masked.get(channel) {
        Some(true) => ZScore::FilledMask,
        _ => ZScore::Whole,
    };
    let of_channel = |(channel, scheme): (usize, &Node)| {
        if scheme.text()? != "CTNormalization" {
            return scheme.word(&[
                ("CTNormalization", Intensity::Unchanged), // met before
                ("ZScoreNormalization", Intensity::ZScore(z_score(channel))),
                ("NoNormalization", Intensity::Unchanged),
                ("RescaleTo01Normalization", Intensity::ZeroToOne),
                ("RGBTo01Normalization", Intensity::Rgb),
            ]);
        }
        let Some(foreground) = &foreground else {
            return Err(plans.wrong("\"foreground_intensity_properties_per_channel\" is missing"));
        };
        let properties = foreground.get(&channel.to_string())?;
        let number = |key| properties.get(key)?.number();
        let (low, high) = (number("percentile_00_5")?, number("percentile_99_5")?);
        if low > high {
            return Err(properties.wrong("\"percentile_00_5\" is above \"percentile_99_5\""));
        }
        Ok(Intensity::Ct { low, high, mean: number("mean")?, deviation: number("std")? })
    };
    schemes.iter().enumerate().map(of_channel).collect()
}

/// How a function of nnU-Net's resamples: the interpolation in the plane, and from which ratio on an axis is by itself.
#[derive(Clone, PartialEq)]
enum Function {
    Resamples { order: Interpolation, separate_above: Option<f64> },
    DoesNot,
}

/// The two values of what is said of planes.
fn pair<'a, T>(node: &Node<'a>, read: impl Fn(&Node<'a>) -> Result<T>) -> Result<[T; 2]> {
    let items = node.items()?.iter().map(read).collect::<Result<Vec<_>>>()?;
    items.try_into().map_err(|_| node.wrong("two values are expected, as the patch has"))
}

fn resampling(configuration: &Node, is_planes: bool) -> Result<Option<Resampling>> {
    let data = function(configuration, "resampling_fn_data")?;
    let result = function(configuration, "resampling_fn_probabilities")?;
    let (
        Function::Resamples { order: data, separate_above },
        Function::Resamples { order: result, separate_above: back },
    ) = (&data, &result)
    else {
        return match data == result {
            true => Ok(None),
            false => Err(configuration.wrong("images are resampled and probabilities are not, or the other way round")),
        };
    };
    if separate_above != back {
        return Err(configuration.wrong("images and probabilities treat an axis separately from different ratios on"));
    }
    let spacing = configuration.get("spacing")?;
    Ok(Some(Resampling {
        // Planes stay where the scan has them.
        spacing_mm: match is_planes {
            true => pair(&spacing, Node::positive).map(|[y, x]| [0.0, y, x])?,
            false => spacing.three(Node::positive)?,
        },
        geometry: ResamplingGeometry::Edges,
        data: *data,
        result: *result,
        separate_axis_above: *separate_above,
    }))
}

fn function(configuration: &Node, key: &str) -> Result<Function> {
    let name = configuration.get(key)?;
    let arguments_key = format!("{key}_kwargs");
    let none = Value::Object(Map::new());
    let arguments = match configuration.find(&arguments_key)? {
        Some(arguments) => arguments,
        None => name.with(&none),
    };
    // Not null, where it is left out, but what the function has it for: the one never treats an axis separately then.
    let is_left_out = arguments.value.get("force_separate_z").is_none();
    let separate_above = match arguments.find("force_separate_z")? {
        Some(forced) if forced.boolean()? => {
            return Err(forced.wrong("an axis that is always treated separately is not known here"));
        }
        Some(_) => None,
        None if is_left_out && name.text()? == "resample_data_or_seg_to_shape" => None,
        None => match arguments.find("separate_z_anisotropy_threshold")? {
            Some(ratio) => Some(ratio.positive()?),
            None => Some(ANISOTROPIC),
        },
    };
    if let Some(is_labels) = arguments.find("is_seg")?
        && is_labels.boolean()?
    {
        return Err(is_labels.wrong("images and probabilities are resampled, and no labels"));
    }
    match name.text()? {
        "resample_data_or_seg_to_shape" => {
            arguments.only(&["is_seg", "order", "order_z", "force_separate_z", "separate_z_anisotropy_threshold"])?;
            let order = match arguments.find("order")? {
                None => Interpolation::Cubic,
                Some(order) => match order.whole(0, 5)? {
                    0 => Interpolation::Nearest,
                    1 => Interpolation::Linear,
                    3 => Interpolation::Cubic,
                    _ => return Err(order.wrong("splines of the orders 0, 1 and 3 are known here")),
                },
            };
            if let Some(along) = arguments.find("order_z")?
                && separate_above.is_some()
                && along.whole(0, 5)? != 0
            {
                return Err(along.wrong("an axis that is treated separately takes the nearest plane here: order 0"));
            }
            Ok(Function::Resamples { order, separate_above })
        }
        "resample_torch_fornnunet" => {
            arguments.only(&[
                "is_seg",
                "num_threads",
                "device",
                "memefficient_seg_resampling",
                "force_separate_z",
                "separate_z_anisotropy_threshold",
                "mode",
                "aniso_axis_mode",
            ])?;
            if let Some(mode) = arguments.find("mode")? {
                mode.word(&[("linear", ())])?;
            }
            if let Some(mode) = arguments.find("aniso_axis_mode")? {
                mode.word(&[("nearest-exact", ())])?;
            }
            Ok(Function::Resamples { order: Interpolation::Linear, separate_above })
        }
        "no_resampling_hack" => Ok(Function::DoesNot),
        _ => name.word(&[
            ("resample_data_or_seg_to_shape", Function::DoesNot), // both met before
            ("resample_torch_fornnunet", Function::DoesNot),
            ("no_resampling_hack", Function::DoesNot),
        ]),
    }
}

/// What the channels that the network gives mean.
fn decision(dataset: &Node) -> Result<Decision> {
    let labels = dataset.get("labels")?;
    let label = |node: &Node| Ok(node.whole(0, u16::MAX.into())? as u16);
    let mut is_regions = false;
    let mut values = Vec::new();
    let mut regions = 0;
    // "ignore" is what nothing was learned of, and the network has no channel for it.
    for (_, member) in labels.members()?.filter(|(name, _)| *name != "ignore") {
        let of_region = match member.value.is_array() {
            true => member.items()?.iter().map(label).collect::<Result<Vec<_>>>()?,
            false => vec![label(&member)?],
        };
        is_regions |= of_region.len() > 1;
        regions += usize::from(of_region.iter().any(|label| *label != 0));
        values.extend(of_region);
    }
    values.sort_unstable();
    values.dedup();
    let (activation, rule) = match is_regions {
        true => {
            // Channel `i` is the `i`th region as the file has them, and paints the `i`th of these.
            let order = dataset.get("regions_class_order")?;
            let painted = order.items()?.iter().map(label).collect::<Result<Vec<_>>>()?;
            if painted.len() != regions {
                return Err(order.wrong(format_args!("one label for each of the {regions} regions is expected")));
            }
            (Activation::Sigmoid, Rule::Regions { threshold: 0.5, order: painted.into_iter().enumerate().collect() })
        }
        false => {
            // Channel `c` is label `c`.
            if values.is_empty() || values.iter().enumerate().any(|(i, label)| i != usize::from(*label)) {
                return Err(labels.wrong("labels from 0 on without a gap are expected"));
            }
            (Activation::Softmax, Rule::Argmax { labels: values })
        }
    };
    Ok(Decision {
        activation,
        blend_probabilities: false,
        resample_probabilities: false,
        rule,
        before_resampling: false,
        largest_component: false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_folder::TestFolder;
    use super::*;
    use serde_json::json;

    const NAME: &str = "nnUNetTrainer__nnUNetPlans__3d_fullres";

    fn description(file: &str) -> Value {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/descriptions")).join(NAME);
        json::read(&folder.join(file)).unwrap()
    }

    fn read_changed(name: &str, options: &Options, change: impl FnOnce(&mut Value, &mut Value)) -> Result<Recipe> {
        let (mut plans, mut dataset) = (description(PLANS), description(DATASET));
        change(&mut plans, &mut dataset);
        let folder = TestFolder::new(name);
        folder.write(PLANS, plans.to_string().as_bytes());
        folder.write(DATASET, dataset.to_string().as_bytes());
        read(folder.path(), options)
    }

    fn configuration(name: &str) -> Options {
        Options { configuration: Some(name.to_owned()), ..Options::default() }
    }

    #[test]
    fn plans_become_a_recipe() {
        let recipe = read_changed(NAME, &Options::default(), |_, _| {}).unwrap();
        let expected = Recipe {
            output: None,
            channels: 2,
            orientation: None,
            transpose: [0, 1, 2],
            crop_to_nonzero: true,
            resampling: Some(Resampling {
                spacing_mm: [2.5, 0.7675780057907104, 0.7675780057907104],
                geometry: ResamplingGeometry::Edges,
                data: Interpolation::Cubic,
                result: Interpolation::Linear,
                separate_axis_above: Some(3.0),
            }),
            intensities: vec![
                Intensity::Ct { low: -75.0, high: 197.0, mean: 99.4062, deviation: 39.3616 },
                Intensity::ZScore(ZScore::FilledMask),
            ],
            normalize_after_resampling: false,
            tiling: Tiling {
                patch: [64, 192, 160],
                overlap: 0.5,
                placement: Placement::Even,
                padding: Padding::Constant(0.0),
                window: Window::NnUnet,
                mirrored: [true; 3],
            },
            decision: Decision {
                activation: Activation::Softmax,
                blend_probabilities: false,
                resample_probabilities: false,
                rule: Rule::Argmax { labels: vec![0, 1, 2] },
                before_resampling: false,
                largest_component: false,
            },
        };
        assert_eq!(recipe, expected);
    }

    #[test]
    fn a_configuration_inherits() {
        let recipe = read_changed(NAME, &configuration("3d_lowres"), |_, _| {}).unwrap();
        let resampling = recipe.resampling.unwrap();
        assert_eq!((resampling.data, resampling.result), (Interpolation::Linear, Interpolation::Linear));
        assert_eq!((resampling.separate_axis_above, resampling.spacing_mm), (None, [2.5, 1.4246, 1.4246]));
        assert_eq!((recipe.tiling.patch, recipe.channels), ([72, 160, 160], 2));
        let error = read_changed(NAME, &configuration("3d_lowres"), |plans, _| {
            plans["configurations"]["3d_fullres"]["inherits_from"] = json!("3d_lowres");
        });
        assert!(error.unwrap_err().message().contains("inherits from itself"));
    }

    #[test]
    fn planes_are_taken_one_after_the_other() {
        for name in ["model", "nnUNetTrainer__nnUNetPlans__2d"] {
            let options = if name == "model" { configuration("2d") } else { Options::default() };
            let recipe = read_changed(name, &options, |_, _| {}).unwrap();
            let planes = recipe.resampling.unwrap();
            assert_eq!(recipe.tiling.patch[0], 1);
            assert_eq!((planes.spacing_mm[0], recipe.tiling.mirrored), (0.0, [false, true, true]));
            assert!(planes.spacing_mm[1] > 0.0 && recipe.tiling.patch[1] > 1);
        }
        let only = read_changed("model", &Options::default(), |plans, _| {
            let configurations = plans["configurations"].as_object_mut().unwrap();
            let planes = configurations.remove("2d").unwrap();
            *configurations = [("2d".to_owned(), planes)].into_iter().collect();
        });
        assert_eq!(only.unwrap().tiling.patch[0], 1);
    }

    #[test]
    fn the_configuration_and_the_trainer_are_in_the_name_of_the_folder() {
        let patch = |name: &str| read_changed(name, &Options::default(), |_, _| {}).unwrap().tiling.patch;
        assert_eq!(patch("nnUNetTrainer__nnUNetPlans__3d_lowres"), [72, 160, 160]);
        assert_eq!(patch("model"), [64, 192, 160]);
        let mirrored = |name: &str| read_changed(name, &Options::default(), |_, _| {}).unwrap().tiling.mirrored;
        assert_eq!(mirrored("nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"), [false; 3]);
        assert_eq!(mirrored("nnUNetTrainerNoDA__nnUNetPlans__3d_fullres"), [false; 3]);
        assert_eq!(mirrored("nnUNetTrainerDA5__nnUNetPlans__3d_fullres"), [true; 3]);
        assert_eq!(mirrored("nnUNetTrainer_onlyMirror01__nnUNetPlans__3d_fullres"), [true, true, false]);
        let options = Options { mirrored: Some([false, true, true]), ..Options::default() };
        assert_eq!(read_changed(NAME, &options, |_, _| {}).unwrap().tiling.mirrored, [false, true, true]);
        let error = read_changed("model", &Options::default(), |plans, _| {
            let configurations = plans["configurations"].as_object_mut().unwrap();
            let whole = configurations.remove("3d_fullres").unwrap();
            configurations.insert("3d_a".to_owned(), whole.clone());
            configurations.insert("3d_b".to_owned(), whole);
        });
        assert!(error.unwrap_err().message().contains("3d_a"));
    }

    #[test]
    fn older_keys_and_other_readers() {
        let recipe = read_changed(NAME, &Options::default(), |plans, dataset| {
            let plans = plans.as_object_mut().unwrap();
            let properties = plans.remove("foreground_intensity_properties_per_channel").unwrap();
            plans.insert("foreground_intensity_properties_by_modality".to_owned(), properties);
            plans.insert("image_reader_writer".to_owned(), json!("NibabelIOWithReorient"));
            plans.insert("transpose_forward".to_owned(), json!([2, 0, 1]));
            let dataset = dataset.as_object_mut().unwrap();
            let names = dataset.remove("channel_names").unwrap();
            dataset.insert("modality".to_owned(), names);
        })
        .unwrap();
        assert_eq!(recipe.intensities[0], Intensity::Ct { low: -75.0, high: 197.0, mean: 99.4062, deviation: 39.3616 });
        assert_eq!(recipe.orientation, Some([Direction::Right, Direction::Anterior, Direction::Superior]));
        assert_eq!(recipe.transpose, [2, 0, 1]);
    }

    #[test]
    fn regions_are_painted_in_their_order() {
        let recipe = read_changed(NAME, &Options::default(), |_, dataset| {
            dataset["labels"] =
                json!({"background": 0, "whole_tumour": [1, 2, 3], "core": [2, 3], "enhancing": [3], "ignore": 4});
            dataset["regions_class_order"] = json!([1, 2, 3]);
        })
        .unwrap();
        assert_eq!(recipe.decision.activation, Activation::Sigmoid);
        assert_eq!(recipe.decision.rule, Rule::Regions { threshold: 0.5, order: vec![(0, 1), (1, 2), (2, 3)] });
    }

    #[test]
    fn each_normalization_is_known() {
        let intensity = |scheme: &str, masked: Value| {
            let recipe = read_changed(NAME, &Options::default(), |plans, _| {
                let configuration = &mut plans["configurations"]["3d_fullres"];
                configuration["normalization_schemes"][1] = json!(scheme);
                configuration["use_mask_for_norm"] = masked;
            });
            recipe.unwrap().intensities[1].clone()
        };
        assert_eq!(intensity("ZScoreNormalization", json!([true, false])), Intensity::ZScore(ZScore::Whole));
        assert_eq!(intensity("ZScoreNormalization", Value::Null), Intensity::ZScore(ZScore::Whole));
        assert_eq!(intensity("NoNormalization", json!([false, true])), Intensity::Unchanged);
        assert_eq!(intensity("RescaleTo01Normalization", json!([false, true])), Intensity::ZeroToOne);
        assert_eq!(intensity("RGBTo01Normalization", json!([false, true])), Intensity::Rgb);
    }

    #[test]
    fn functions_that_resample_have_defaults_of_their_own() {
        let separate = |function: &str, arguments: Value| {
            let recipe = read_changed(NAME, &Options::default(), |plans, _| {
                let configuration = &mut plans["configurations"]["3d_fullres"];
                for of in ["data", "probabilities"] {
                    configuration[format!("resampling_fn_{of}")] = json!(function);
                    configuration[format!("resampling_fn_{of}_kwargs")] = arguments.clone();
                }
            });
            recipe.unwrap().resampling.map(|resampling| resampling.separate_axis_above)
        };
        let (scipy, torch) = ("resample_data_or_seg_to_shape", "resample_torch_fornnunet");
        assert_eq!(separate(scipy, json!({"order": 1})), Some(None));
        assert_eq!(separate(scipy, json!({"order": 1, "separate_z_anisotropy_threshold": 2})), Some(None));
        assert_eq!(separate(scipy, json!({"order": 1, "force_separate_z": null})), Some(Some(3.0)));
        assert_eq!(separate(scipy, json!({"order": 1, "force_separate_z": false})), Some(None));
        assert_eq!(separate(torch, json!({})), Some(Some(3.0)));
        assert_eq!(separate(torch, json!({"separate_z_anisotropy_threshold": 2})), Some(Some(2.0)));
        assert_eq!(separate(torch, json!({"force_separate_z": false})), Some(None));
        assert_eq!(separate("no_resampling_hack", json!({})), None);
    }

    #[test]
    fn what_is_not_known_is_named() {
        let kwargs = "/configurations/3d_fullres/resampling_fn_data_kwargs";
        let cases = [
            ("/configurations/3d_fullres/patch_size", json!([64, 64]), "spacing"),
            ("/configurations/3d_fullres/patch_size", json!([64, 64, 64, 64]), "patch_size"),
            ("/configurations/3d_fullres/patch_size", json!([64]), "patch_size"),
            ("/configurations/3d_fullres/preprocessor_name", json!("Mine"), "preprocessor_name"),
            ("/configurations/3d_fullres/normalization_schemes/1", json!("Mine"), "normalization_schemes[1]"),
            ("/configurations/3d_fullres/normalization_schemes", json!(["CTNormalization"]), "a mask for each channel"),
            ("/configurations/3d_fullres/resampling_fn_data", json!("mine"), "resampling_fn_data"),
            ("/configurations/3d_fullres/resampling_fn_data", json!("no_resampling_hack"), "other way"),
            (kwargs, json!({"order": 5}), "order"),
            (kwargs, json!({"order_z": 1, "force_separate_z": null}), "order_z"),
            (kwargs, json!({"force_separate_z": true}), "force_separate_z"),
            (kwargs, json!({"separate_z_anisotropy_threshold": 4, "force_separate_z": null}), "different ratios"),
            (kwargs, json!({"colour": 4}), "colour"),
            ("/configurations/3d_fullres/spacing", json!([1, 1]), "spacing"),
            ("/configurations/3d_fullres/inherits_from", json!("4d"), "4d"),
            ("/image_reader_writer", json!("NaturalImage2DIO"), "image_reader_writer"),
            ("/label_manager", json!("Mine"), "label_manager"),
            ("/transpose_forward", json!([0, 0, 1]), "transpose_forward"),
            ("/foreground_intensity_properties_per_channel", json!({}), "\"0\" is missing"),
        ];
        for (place, value, named) in cases {
            let error = read_changed(NAME, &Options::default(), |plans, _| {
                let (parent, key) = place.rsplit_once('/').unwrap();
                match plans.pointer_mut(parent).unwrap() {
                    Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
                    object => object[key] = value,
                }
            });
            let error = error.expect_err(place);
            assert!(error.message().contains(named), "{place}: {error}");
        }
        let error = read_changed(NAME, &configuration("3d_cascade_fullres"), |_, _| {}).unwrap_err();
        assert!(error.message().contains("previous_stage"), "{error}");
        for labels in
            [json!({"background": 0, "liver": 2}), json!({"0": "background"}), json!({"a": [1, 2]}), json!({})]
        {
            let error = read_changed(NAME, &Options::default(), |_, dataset| dataset["labels"] = labels.clone());
            assert!(error.is_err(), "{labels}");
        }
    }
}
