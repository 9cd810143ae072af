#!/usr/bin/env python3
"""How the files here were made: networks for 3D segmentation as their authors wrote them, small, exported by both of torch's exporters.

    export.py FOLDER [NAME...]

Needs torch, onnx, onnxscript, monai and dynamic_network_architectures (with timm, einops), which the tests do not: they were torch
2.15, monai 1.6 and dynamic_network_architectures 0.4. Weights are left out of the files, since what is tested is the graphs;
tests/python/test_networks.py puts others in their places.
"""

import lzma
import sys
import warnings
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn

warnings.filterwarnings("ignore")
NETWORKS = {}


def network(make):
    NETWORKS[make.__name__] = make
    return make


def volume(*extents):
    return torch.randn(1, 1, *extents)


@network
def monai_unet():
    from monai.networks.nets import UNet

    return UNet(3, 1, 2, (4, 8, 16), (2, 2), num_res_units=2), [volume(16, 16, 16)]


@network
def monai_basic_unet():
    from monai.networks.nets import BasicUNet

    return BasicUNet(3, 1, 2, features=(4, 4, 8, 8, 16, 4)), [volume(32, 16, 16)]


@network
def monai_attention_unet():
    from monai.networks.nets import AttentionUnet

    return AttentionUnet(3, 1, 2, (4, 8, 16), (2, 2)), [volume(16, 16, 16)]


@network
def segresnet():
    from monai.networks.nets import SegResNet

    return SegResNet(3, 8, 1, 2), [volume(16, 16, 16)]


@network
def segresnet_pixelshuffle():
    from monai.networks.nets import SegResNet

    return SegResNet(3, 8, 1, 2, upsample_mode="pixelshuffle"), [volume(16, 16, 16)]


@network
def segresnet_ds2():
    from monai.networks.nets import SegResNetDS2

    return SegResNetDS2(3, 8, 1, 2, blocks_down=(1, 1, 2), dsdepth=1), [volume(16, 16, 16)]


@network
def dynunet():
    from monai.networks.nets import DynUNet

    kernels, strides, up = [[1, 3, 3], [3, 3, 3], [3, 3, 3]], [1, [1, 2, 2], 2], [[1, 2, 2], 2]
    return DynUNet(3, 1, 2, kernels, strides, up, filters=[4, 8, 16], res_block=True, trans_bias=True), [volume(8, 16, 16)]


@network
def unetr():
    from monai.networks.nets import UNETR

    return UNETR(1, 2, (16, 16, 16), feature_size=4, hidden_size=24, mlp_dim=32, num_heads=3), [volume(16, 16, 16)]


@network
def swin_unetr():
    from monai.networks.nets import SwinUNETR

    return SwinUNETR(in_channels=1, out_channels=2, feature_size=12, depths=(2, 1, 1, 1), num_heads=(1, 2, 2, 2)), [volume(64, 32, 32)]


@network
def swin_unetr_v2():
    from monai.networks.nets import SwinUNETR

    return SwinUNETR(in_channels=1, out_channels=2, feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), use_v2=True,
                     downsample="mergingv2"), [volume(64, 32, 32)]


@network
def vista3d():
    from monai.networks.nets import vista3d132

    class Automatic(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = vista3d132(encoder_embed_dim=8, in_channels=1)

        def forward(self, image, classes):
            return self.network(image, class_vector=classes)

    return Automatic(), [volume(32, 32, 32), torch.tensor([[1], [3]])]


def nnunet(kind, norm, **more):
    from dynamic_network_architectures.architectures import unet

    counts = {"n_conv_per_stage": 2} if kind == "PlainConvUNet" else {"n_blocks_per_stage": (1, 2, 2)}
    return getattr(unet, kind)(
        input_channels=1, n_stages=3, features_per_stage=(4, 8, 16), conv_op=nn.Conv3d, kernel_sizes=[[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]], num_classes=3, n_conv_per_stage_decoder=1, conv_bias=True, norm_op=norm,
        norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, **counts, **more,
    ), [volume(8, 16, 16)]


@network
def nnunet_plain():
    return nnunet("PlainConvUNet", nn.InstanceNorm3d)


@network
def nnunet_deep_supervision():
    return nnunet("PlainConvUNet", nn.BatchNorm3d, deep_supervision=True)


@network
def nnunet_residual_encoder():
    return nnunet("ResidualEncoderUNet", nn.InstanceNorm3d)


@network
def synthseg():
    """SynthSeg's U-Net, which is Keras's: ELU, batch norm after each level, nearest neighbours up, softmax."""

    def level(ins, outs):
        return nn.Sequential(nn.Conv3d(ins, outs, 3, padding="same"), nn.ELU(), nn.Conv3d(outs, outs, 3, padding="same"), nn.ELU(),
                             nn.BatchNorm3d(outs))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.ModuleList([level(1, 4), level(4, 8), level(8, 16)])
            self.up = nn.ModuleList([level(24, 8), level(12, 4)])
            self.last = nn.Conv3d(4, 5, 1)

        def forward(self, x):
            kept = []
            for depth, module in enumerate(self.down):
                x = module(x)
                if depth < 2:
                    kept.append(x)
                    x = nn.functional.max_pool3d(x, 2)
            for module in self.up:
                x = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
                x = module(torch.cat([kept.pop(), x], 1))
            return torch.softmax(self.last(x), 1)

    return Net(), [volume(16, 16, 16)]


@network
def meshnet():
    layers, channels = [], 1
    for dilation in (1, 2, 4, 8, 4, 2, 1):
        layers += [nn.Conv3d(channels, 5, 3, padding=dilation, dilation=dilation), nn.BatchNorm3d(5), nn.ReLU(), nn.Dropout3d(0.1)]
        channels = 5
    return nn.Sequential(*layers, nn.Conv3d(5, 3, 1)), [volume(12, 13, 14)]


@network
def registration():
    """What registration by a network does with its field: scaled, squared, sampled."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv3d(2, 3, 3, padding=1)

        def forward(self, moving, fixed):
            field = self.convolution(torch.cat([moving, fixed], 1)).permute(0, 2, 3, 4, 1) * 0.1
            identity = torch.eye(3, 4)[None].expand(moving.shape[0], 3, 4)
            grid = nn.functional.affine_grid(identity, moving.shape, align_corners=False)
            for _ in range(2):
                step = nn.functional.grid_sample(field.permute(0, 4, 1, 2, 3), grid + field, align_corners=True, padding_mode="border")
                field = field + step.permute(0, 2, 3, 4, 1)
            return nn.functional.grid_sample(moving, grid + field, align_corners=False), torch.argmax(field, -1)

    return Net(), [volume(8, 9, 10), volume(8, 9, 10)]


def stripped(model):
    """Nothing but the graph: no texts, and of weights only types and shapes."""

    def strip(graph):
        del graph.value_info[:], graph.metadata_props[:]
        graph.doc_string = ""
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    strip(attribute.g)
        for tensor in graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype.kind == "f" and array.size > 16:
                tensor.CopyFrom(onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims))
        for value in [*graph.input, *graph.output]:
            value.doc_string = ""
            del value.metadata_props[:]

    strip(model.graph)
    del model.metadata_props[:]
    model.doc_string = ""
    return model


def export(name, kind, path):
    module, inputs = NETWORKS[name]()
    module.eval()
    names = [f"in{i}" for i in range(len(inputs))]
    axes = [[0, *range(2, tensor.dim())] if tensor.dim() > 3 else [0] for tensor in inputs]
    if kind == "half":
        module, inputs = module.half(), [t.half() if t.is_floating_point() else t for t in inputs]
        torch.onnx.export(module, tuple(inputs), path, dynamo=True, opset_version=18, input_names=names, external_data=False)
    elif kind == "dynamo":
        shapes = tuple({axis: torch.export.Dim.AUTO for axis in own} for own in axes)
        torch.onnx.export(module, tuple(inputs), path, dynamo=True, opset_version=20, input_names=names, dynamic_shapes=shapes,
                          external_data=False)
    else:
        shapes = {n: {axis: f"{n}_{axis}" for axis in own} for n, own in zip(names, axes)}
        torch.onnx.export(module, tuple(inputs), path, dynamo=False, opset_version=13, input_names=names, dynamic_axes=shapes)


def main():
    folder = Path(sys.argv[1])
    for name in sys.argv[2:] or NETWORKS:
        for kind in ("script", "dynamo", *(["half"] if name in ("nnunet_plain", "unetr") else [])):
            path = folder / f"{name}.{kind}.onnx"
            try:
                export(name, kind, path)
            except Exception as error:  # noqa: BLE001 not every network goes through every exporter
                print(f"{name} {kind}: {type(error).__name__} {str(error)[:100]}")
                continue
            model = stripped(onnx.load(path))
            path.unlink()
            path.with_suffix(".onnx.xz").write_bytes(lzma.compress(model.SerializeToString(), preset=9))


if __name__ == "__main__":
    main()
