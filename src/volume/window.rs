//! How much each voxel of a tile counts where tiles overlap.

use super::grid::voxels;
use super::recipe::Window;
use super::work::allocate;
use crate::error::{Code, Error, Result};

/// MONAI lets no weight be smaller: more than half of a tile has this one, so that its window is no product of three.
const MONAI_LEAST: f32 = 1e-3;

/// A caller's weights: what is multiplied by them keeps float32's digits.
const WEIGHTS: std::ops::RangeInclusive<f32> = 1e-30..=1e30;

/// One weight for each voxel of the patch, all above 0.
pub fn weights(window: &Window, patch: [usize; 3]) -> Result<Vec<f32>> {
    let count = voxels(patch).map_err(|error| error.within("the patch"))?;
    let mut weights = match window {
        // Looked over below.
        Window::Weights(_) => Vec::new(),
        _ => allocate("the window of a patch", count)?,
    };
    match window {
        Window::Constant => weights.fill(1.0),
        Window::NnUnet => {
            let along = patch.map(|extent| {
                let (centre, deviation) = ((extent / 2) as f64, extent as f64 / 8.0);
                (0..extent).map(|i| (-(i as f64 - centre).powi(2) / (2.0 * deviation * deviation)).exp()).collect()
            });
            fill_product(&mut weights, &along, |z, y, x| (10.0 * z * y * x) as f32);
        }
        Window::Monai { sigma_scale } => {
            if !(*sigma_scale > 0.0 && sigma_scale.is_finite()) {
                let message = format!("a Gaussian window with a deviation of {sigma_scale} patches; it is above 0");
                return Err(Error::new(Code::InvalidArgument, message));
            }
            // In float32 from one voxel to the next, as MONAI has it.
            let along = patch.map(|extent| {
                let (centre, deviation) = ((extent as f32 - 1.0) / 2.0, *sigma_scale as f32 * extent as f32);
                let one =
                    |i: usize| f64::from((i as f32 - centre).powi(2) / (-2.0 * deviation * deviation)).exp() as f32;
                (0..extent).map(one).collect()
            });
            fill_product(&mut weights, &along, |z: f32, y, x| (z * y * x).max(MONAI_LEAST));
        }
        Window::Weights(given) => {
            if given.len() != count {
                let message = format!("the window has {} weights; a patch of {patch:?} takes {count}", given.len());
                return Err(Error::new(Code::InvalidArgument, message));
            }
            if let Some(at) = given.iter().position(|weight| !WEIGHTS.contains(weight)) {
                let (weight, least, most) = (given[at], WEIGHTS.start(), WEIGHTS.end());
                return Err(Error::new(
                    Code::InvalidArgument,
                    format!(
                        "weight {at} of the window is {weight:?}; weights are from {least:?} to {most:?}, and none is 0, since some \
                         voxels have one tile only"
                    ),
                ));
            }
            weights = given.clone();
        }
    }
    Ok(weights)
}

fn fill_product<T: Copy>(weights: &mut [f32], [z, y, x]: &[Vec<T>; 3], one: impl Fn(T, T, T) -> f32) {
    let mut weights = weights.iter_mut();
    for z in z {
        for y in y {
            weights.by_ref().zip(x).for_each(|(weight, x)| *weight = one(*z, *y, *x));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nnunet() {
        let weights = weights(&Window::NnUnet, [1, 4, 5]).unwrap();
        assert_eq!(weights.len(), 20);
        assert_eq!(weights[2 * 5 + 2], 10.0);
        let deviations = |y: f64, x: f64| (10.0 * (-0.5 * ((y / 0.5).powi(2) + (x / 0.625).powi(2))).exp()) as f32;
        let near = |at: usize, wanted: f32| assert!((weights[at] - wanted).abs() <= wanted * 1e-6, "{at}");
        near(0, deviations(2.0, 2.0));
        near(3 * 5 + 4, deviations(1.0, 2.0)); // even extents have their centre above the middle
        near(2 * 5 + 1, deviations(0.0, 1.0));
        let smallest = super::weights(&Window::NnUnet, [128; 3]).unwrap().into_iter().fold(f32::INFINITY, f32::min);
        assert!(smallest > 3.7e-10);
    }

    #[test]
    fn monai() {
        let weights = weights(&Window::Monai { sigma_scale: 0.125 }, [1, 1, 8]).unwrap();
        let wanted = |distance: f32| (-0.5 * distance * distance).exp();
        for (x, weight) in weights.iter().enumerate() {
            assert!((weight - wanted(x as f32 - 3.5).max(1e-3)).abs() < 2e-7, "{x}: {weight}");
        }
        assert_eq!(weights[0], weights[7]);
        assert_eq!(super::weights(&Window::Monai { sigma_scale: 0.125 }, [8; 3]).unwrap()[0], 1e-3);
        assert!(super::weights(&Window::Monai { sigma_scale: 0.0 }, [8; 3]).is_err());
    }

    #[test]
    fn a_patch_that_no_memory_holds_is_refused() {
        let kinds = [Window::Constant, Window::NnUnet, Window::Monai { sigma_scale: 0.125 }];
        for window in kinds.iter().chain([&Window::Weights(vec![1.0])]) {
            for patch in [[1 << 20; 3], [usize::MAX, 1, 1], [1 << 22; 3]] {
                let code = weights(window, patch).unwrap_err().code();
                assert!(
                    matches!(code, Code::OutOfMemory | Code::Shape | Code::InvalidArgument),
                    "{window:?} {patch:?}"
                );
            }
        }
    }

    #[test]
    fn the_others() {
        assert_eq!(weights(&Window::Constant, [1, 2, 1]).unwrap(), [1.0, 1.0]);
        let own = |weights: &[f32]| super::weights(&Window::Weights(weights.to_vec()), [1, 1, 2]);
        assert_eq!(own(&[0.5, 2.0]).unwrap(), [0.5, 2.0]);
        assert_eq!(own(&[1e-30, 1e30]).unwrap(), [1e-30, 1e30]);
        let without_digits = [f32::MIN_POSITIVE, 1e-45, f32::MAX];
        for bad in [0.0, f32::NAN, f32::INFINITY, -1.0].into_iter().chain(without_digits) {
            assert_eq!(own(&[0.5, bad]).unwrap_err().code(), Code::InvalidArgument, "{bad}");
        }
        assert_eq!(own(&[0.5]).unwrap_err().code(), Code::InvalidArgument);
    }
}
