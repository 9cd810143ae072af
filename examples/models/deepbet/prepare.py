"""A head as deepbet's first network takes it, for planrt-convert's --prepare:

    pip download --no-deps deepbet==1.0.2 && unzip deepbet-1.0.2-*.whl 'data/models/*'
    planrt-convert data/models/bbox_model.pt --input INPUT__0=1x1x128x128x128 --output OUTPUT__0 --batch 1:1:2 \\
      --data ch2.nii.gz --prepare prepare:head --precision fp32,fp16 --out deepbet
"""

import numpy as np

SIDE = 128


def oriented(volume):
    """The voxels, turned so that their axes lead to the patient's right, anterior, superior, whichever way they lay in the file."""
    voxels = np.asarray(volume.voxels, np.float32) * volume.rescale_slope + volume.rescale_intercept
    # Where the index of x, of y and of z grows to: left, posterior, superior.
    grows = np.asarray(volume.direction, float).reshape(3, 3).T
    axes = np.abs(grows).argmax(0)
    turned = voxels.transpose([2 - axis for axis in axes])
    for patient, sign in enumerate((-1, -1, 1)):
        if grows[axes[patient], patient] * sign < 0:
            turned = np.flip(turned, patient)
    return turned


def small(voxels):
    """The nearest voxel for each of so many along each axis."""
    return voxels[np.ix_(*[((np.arange(SIDE) + 0.5) * extent / SIDE).astype(int) for extent in voxels.shape])]


def head(volume):
    """What the network takes of a `planrt.Volume`."""
    voxels = small(oriented(volume))
    low, high = np.quantile(voxels, [0.005, 0.995])
    voxels = np.clip((voxels - low) / (high - low), 0, 1)
    return (0.226 * (voxels - voxels.mean()) / voxels.std() + 0.449).astype(np.float32)
