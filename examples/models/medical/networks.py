"""Three segmentation networks of the kinds that are common in medical imaging, small: for planrt-convert's gallery and for measuring.

    airway  InstanceNorm, transposed convolutions, 128x160x112; dark tubes
    heart   GroupNorm, trilinear upsampling, 160x176x176; a body with a chamber in it
    vessel  BatchNorm, transposed convolutions, 224x224x224; bright tubes

`train.py` gives them their weights.
"""

import torch
from torch import nn

SIZES = {"airway": (128, 160, 112), "heart": (160, 176, 176), "vessel": (224, 224, 224)}
CLASSES = {"airway": 2, "heart": 3, "vessel": 2}
_NORMS = {
    "airway": lambda channels: nn.InstanceNorm3d(channels, affine=True),
    "heart": lambda channels: nn.GroupNorm(4, channels),
    "vessel": nn.BatchNorm3d,
}


class Trilinear(nn.Sequential):
    def __init__(self, channels_in, channels_out):
        super().__init__(
            nn.Conv3d(channels_in, channels_out, 1), nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        )


class UNet(nn.Module):
    """A U-Net whose output is the probability of each class."""

    def __init__(self, name, filters=8, levels=4):
        super().__init__()
        norm = _NORMS[name]

        def block(channels_in, channels, stride=1):
            layers = []
            for number, first in enumerate((channels_in, channels)):
                layers += [nn.Conv3d(first, channels, 3, stride if number == 0 else 1, 1), norm(channels), nn.LeakyReLU(0.01)]
            return nn.Sequential(*layers)

        channels = [filters * 2**level for level in range(levels)]
        self.down = nn.ModuleList(
            block(1 if level == 0 else channels[level - 1], channels[level], 1 if level == 0 else 2) for level in range(levels)
        )
        pairs = list(zip(channels[:0:-1], channels[-2::-1]))
        self.up = nn.ModuleList(
            Trilinear(deep, shallow) if name == "heart" else nn.ConvTranspose3d(deep, shallow, 2, 2) for deep, shallow in pairs
        )
        self.join = nn.ModuleList(block(2 * shallow, shallow) for _deep, shallow in pairs)
        self.head = nn.Conv3d(filters, CLASSES[name], 1)

    def forward(self, x):
        kept = []
        for block in self.down:
            x = block(x)
            kept.append(x)
        kept.pop()
        for up, join in zip(self.up, self.join):
            x = join(torch.cat([up(x), kept.pop()], 1))
        return self.head(x).softmax(1)
