//! Optimization profiles: checked against one another and the network before TensorRT sees them.

use super::Bounds;
use super::onnx::{self, Model};
use crate::backend::tensorrt::{failed, gather};
use crate::error::{Code, Error, Result};
use crate::log::{Level, Log};
use crate::quote::quoted;
use crate::tensor::Shape;
use std::collections::HashMap;
use std::ffi::CString;
use tensorrt_sys::{Builder, BuilderConfig, Dims, Generation, Network, OptProfileSelector, OptimizationProfile};

fn wrong(message: String) -> Error {
    Error::new(Code::Shape, message)
}

/// What can be seen without the model.
pub fn check(profiles: &[Vec<Bounds>]) -> Result<()> {
    for Bounds { input, min, opt, max } in profiles.iter().flatten() {
        if min.len() != opt.len() || opt.len() != max.len() {
            return Err(wrong(format!(
                "{}: the shapes {min}, {opt} and {max} of a profile differ in how many dimensions they have",
                quoted(input)
            )));
        }
        for (axis, ((&min, &opt), &max)) in min.iter().zip(opt.iter()).zip(max.iter()).enumerate() {
            if min < 1 || min > opt || opt > max {
                return Err(wrong(format!(
                    "{}: dimension {axis} is {min} at least, {opt} at best and {max} at most; they are positive and do not fall",
                    quoted(input)
                )));
            }
        }
    }
    Ok(())
}

struct Input {
    name: String,
    shape: Shape,
    is_shape: bool,
}

/// Adds the profiles to a build; one of a batch of 1 where nothing is said and only the batch is open.
pub fn add(
    builder: &Builder,
    config: &mut BuilderConfig,
    (network, model): (&Network, &Model),
    profiles: &[Vec<Bounds>],
    log: &Log,
) -> Result<()> {
    let inputs = network
        .inputs()
        .map(|input| {
            let dims = input.dimensions().unwrap_or_default();
            Ok(Input {
                name: input.name().unwrap_or_default().to_string_lossy().into_owned(),
                shape: Shape::new(&dims)?,
                is_shape: input.is_shape_tensor(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    for bounds in profiles.iter().flatten() {
        check_against(bounds, &inputs)?;
    }
    // 8.5 lets extents of one name differ.
    if builder.version().generation != Generation::V8 || builder.version().minor >= 6 {
        profiles.iter().enumerate().try_for_each(|(number, bounds)| check_named(number, bounds, &model.inputs))?;
    }
    if !inputs.iter().any(|input| input.shape.is_dynamic() || input.is_shape) {
        return Ok(());
    }
    let default = [Vec::new()];
    let profiles = if profiles.is_empty() { &default[..] } else { profiles };
    for (number, bounds) in profiles.iter().enumerate() {
        let (profile, said) = gather(|| -> Result<OptimizationProfile> {
            let mut profile = builder
                .create_optimization_profile()
                .ok_or_else(|| Error::new(Code::TensorRt, "TensorRT makes no optimization profile"))?;
            for input in &inputs {
                set(&mut profile, input, bounds, number, log)?;
            }
            Ok(profile)
        });
        let profile = profile?;
        let (added, more) = gather(|| profile.is_valid().then(|| config.add_optimization_profile(&profile)).flatten());
        if added.is_none() {
            let said = if more.text().is_empty() { said } else { more };
            return Err(failed(Code::Shape, format!("TensorRT refuses optimization profile {number}"), &said));
        }
    }
    Ok(())
}

fn check_against(bounds: &Bounds, inputs: &[Input]) -> Result<()> {
    let Some(input) = inputs.iter().find(|input| input.name == bounds.input) else {
        let names: Vec<_> = inputs.iter().map(|input| quoted(&input.name).to_string()).collect();
        let message = format!("the model has no input {}; it has {}", quoted(&bounds.input), names.join(", "));
        return Err(Error::new(Code::NotFound, message));
    };
    // The bounds of an input that is a shape are those of its values.
    if input.is_shape {
        return Ok(());
    }
    let Input { name, shape, .. } = input;
    for given in [&bounds.min, &bounds.opt, &bounds.max] {
        let fits =
            given.len() == shape.len() && shape.iter().zip(given.iter()).all(|(own, given)| *own < 0 || own == given);
        if !fits {
            return Err(wrong(format!(
                "{} is {shape} in the model, where -1 is open; the profile says {given}",
                quoted(name)
            )));
        }
    }
    Ok(())
}

/// Whether extents to which the model gives one name can be one.
fn check_named(number: usize, profile: &[Bounds], inputs: &[onnx::Input]) -> Result<()> {
    let mut known: HashMap<&str, (i64, &str, i64, &str)> = HashMap::new();
    for Bounds { input, min, max, .. } in profile {
        let Some(of) = inputs.iter().find(|of| of.name == *input) else { continue };
        for ((name, &min), &max) in
            of.extents.iter().zip(min.iter()).zip(max.iter()).filter(|((name, _), _)| !name.is_empty())
        {
            let (least, at_least, most, at_most) = known.entry(name).or_insert((min, input, max, input));
            if min > *least {
                (*least, *at_least) = (min, input);
            }
            if max < *most {
                (*most, *at_most) = (max, input);
            }
            if *least > *most {
                return Err(wrong(format!(
                    "the model's dimension {} is at least {least} in {} and at most {most} in {} of profile {number}: it is the \
                     same one",
                    quoted(name),
                    quoted(at_least),
                    quoted(at_most)
                )));
            }
        }
    }
    Ok(())
}

fn set(profile: &mut OptimizationProfile, input: &Input, bounds: &[Bounds], number: usize, log: &Log) -> Result<()> {
    use OptProfileSelector::{Max, Min, Opt};
    let Input { name, shape, is_shape } = input;
    let given = bounds.iter().find(|bounds| bounds.input == *name);
    let [min, opt, max] = match given {
        Some(Bounds { min, opt, max, .. }) => [*min, *opt, *max],
        None if !shape.is_dynamic() && !is_shape => return Ok(()),
        None => {
            let only_batch_is_open = !is_shape && !shape.with_first(1).is_dynamic();
            if !bounds.is_empty() || !only_batch_is_open {
                return Err(wrong(format!(
                    "profile {number} lacks shapes for {}, which is {shape} in the model, where -1 is open: say the smallest, the \
                     best and the largest",
                    quoted(name)
                )));
            }
            let one = shape.with_first(1);
            log.write(
                Level::Warning,
                &format!("no shapes are given for {} ({shape}): the plan takes {one} only", quoted(name)),
            );
            [one; 3]
        }
    };
    let c_name = CString::new(name.as_str()).unwrap_or_default();
    for (select, shape) in [(Min, min), (Opt, opt), (Max, max)] {
        let is_taken = match is_shape {
            true => profile.set_shape_values(&c_name, select, &shape),
            false => Dims::new(&shape).is_some_and(|dims| profile.set_dimensions(&c_name, select, &dims)),
        };
        if !is_taken {
            return Err(wrong(format!("TensorRT refuses the shape {shape} for {} in profile {number}", quoted(name))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(min: &[i64], opt: &[i64], max: &[i64]) -> Vec<Vec<Bounds>> {
        let shape = |extents| Shape::new(extents).unwrap();
        vec![vec![Bounds { input: "x".to_owned(), min: shape(min), opt: shape(opt), max: shape(max) }]]
    }

    #[test]
    fn shapes_that_contradict_one_another_are_refused() {
        assert!(check(&bounds(&[1, 4], &[2, 4], &[2, 4])).is_ok());
        for (min, opt, max) in [([3, 4], [2, 4], [8, 4]), ([1, 4], [9, 4], [8, 4]), ([0, 4], [1, 4], [1, 4])] {
            let error = check(&bounds(&min, &opt, &max)).unwrap_err();
            assert!(error.code() == Code::Shape && error.message().contains("dimension 0"), "{error}");
        }
        assert!(check(&bounds(&[1], &[1, 4], &[1, 4])).is_err());
        let mut named = bounds(&[0], &[1], &[1]);
        named[0][0].input = "\u{1b}[2J".to_owned();
        let error = check(&named).unwrap_err();
        assert!(error.message().starts_with("\"\\u{1b}[2J\": dimension 0"), "{error}");
    }

    #[test]
    fn extents_of_one_name_are_one() {
        let input =
            |name: &str| onnx::Input { name: name.to_owned(), extents: vec!["batch".to_owned(), String::new()] };
        let two = |least: i64| {
            let mut all = bounds(&[1, 4], &[2, 4], &[2, 4]).remove(0);
            all.extend(bounds(&[least, 5], &[3, 5], &[3, 5]).remove(0));
            all[1].input = "z".to_owned();
            all
        };
        let inputs = [input("x"), input("z")];
        assert!(check_named(0, &two(2), &inputs).is_ok());
        let error = check_named(0, &two(3), &inputs).unwrap_err();
        assert!(error.code() == Code::Shape && error.message().contains("\"batch\" is at least 3 in \"z\""), "{error}");
    }
}
