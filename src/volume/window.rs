//! How much each voxel of a tile counts where tiles overlap.

use super::recipe::Window;
use crate::error::{Code, Error, Result};

/// MONAI lets no weight be smaller: more than half of a tile has this one, so that its window is no product of three.
const MONAI_LEAST: f32 = 1e-3;

/// One weight for each voxel of the patch, all above 0.
pub fn weights(window: &Window, patch: [usize; 3]) -> Result<Vec<f32>> {
    let count: usize = patch.iter().product();
    match window {
        Window::Constant => Ok(vec![1.0; count]),
        Window::NnUnet => {
            let along = patch.map(|extent| {
                let (centre, deviation) = ((extent / 2) as f64, extent as f64 / 8.0);
                (0..extent).map(|i| (-(i as f64 - centre).powi(2) / (2.0 * deviation * deviation)).exp()).collect()
            });
            Ok(product(&along, |z, y, x| (10.0 * z * y * x) as f32))
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
            let least = product(&along, |z: f32, y: f32, x: f32| z * y * x);
            Ok(least.into_iter().map(|weight| weight.max(MONAI_LEAST)).collect())
        }
        Window::Weights(weights) => {
            if weights.len() != count {
                let message = format!("the window has {} weights; a patch of {patch:?} takes {count}", weights.len());
                return Err(Error::new(Code::InvalidArgument, message));
            }
            match weights.iter().position(|weight| !(*weight > 0.0 && weight.is_finite())) {
                None => Ok(weights.clone()),
                Some(at) => Err(Error::new(
                    Code::InvalidArgument,
                    format!(
                        "weight {at} of the window is {}; weights are above 0, since some voxels have one tile only",
                        weights[at]
                    ),
                )),
            }
        }
    }
}

fn product<T: Copy>(along: &[Vec<T>; 3], one: impl Fn(T, T, T) -> f32) -> Vec<f32> {
    let [z, y, x] = along;
    z.iter()
        .flat_map(|z| y.iter().flat_map(move |y| x.iter().map(move |x| (*z, *y, *x))))
        .map(|(z, y, x)| one(z, y, x))
        .collect()
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
    fn the_others() {
        assert_eq!(weights(&Window::Constant, [1, 2, 1]).unwrap(), [1.0, 1.0]);
        let own = |weights: &[f32]| super::weights(&Window::Weights(weights.to_vec()), [1, 1, 2]);
        assert_eq!(own(&[0.5, 2.0]).unwrap(), [0.5, 2.0]);
        for bad in [&[0.5][..], &[0.5, 0.0], &[f32::NAN, 1.0], &[f32::INFINITY, 1.0], &[1.0, -1.0]] {
            assert_eq!(own(bad).unwrap_err().code(), Code::InvalidArgument);
        }
    }
}
