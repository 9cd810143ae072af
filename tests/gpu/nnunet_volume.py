#!/usr/bin/env python3
"""nnU-Net's whole chain by nnunetv2's own predictor and by planrt, on the same GPU with the same weights, for BENCHMARKS.md.

    nnunet_volume.py make FOLDER [--patch 128] [--steps 150] [--features 32 64 128 256 320 320]
    nnunet_volume.py run FOLDER [--extents 300 512 512]

`make` trains a PlainConvUNet with nnU-Net's default features for some seconds on made-up scans (ellipsoids of two kinds in noise), and
writes it as nnU-Net leaves a trained model: plans.json, dataset.json, fold_0/checkpoint_final.pth; beside it fold_0/model.onnx, of
which `planrt build --fp16` makes fold_0/model.plan. `run` segments a scan of int16, 0.8 x 0.8 x 1.0 mm, which the plans take to 1.5 mm:
nnunetv2 with predict_single_npy_array as it is by default (half precision, Gaussian window, everything on the device), planrt with
planrt_segmenter_run. Both with and without mirroring; times, and in how many voxels the labels differ and how near those are to a tie.
Needs PyTorch with a GPU and nnunetv2; planrt's Python package for `run`. `--device cpu` tries it out where there is no GPU.
"""

import argparse
import json
import os
import pathlib
import time

import numpy as np
import torch

SPACING_MM, MODEL_MM, CLASSES = (1.0, 0.8, 0.8), 1.5, 3
NAME = "nnUNetTrainer__nnUNetPlans__3d_fullres"


def phantom(extents, spacing, device, seed, bodies):
    """A scan in Hounsfield units and its labels: organs (1) of 60 HU with lesions (2) of 130 HU, in fat and noise."""
    generator = torch.Generator("cpu").manual_seed(seed)
    random = lambda *shape: torch.rand(*shape, generator=generator)
    axes = [torch.arange(n, device=device, dtype=torch.float32) * mm for n, mm in zip(extents, spacing)]
    size = torch.tensor([n * mm for n, mm in zip(extents, spacing)])
    labels = torch.zeros(extents, dtype=torch.uint8, device=device)
    for body in range(bodies):
        middle, radii = (random(3) * size).tolist(), (20 + 40 * random(3)).tolist()
        inner = [m + (float(random(1)) - 0.5) * r for m, r in zip(middle, radii)]
        for label, centre, scale in (1, middle, 1.0), (2, inner, 0.3):
            away = [((axis - c) / (r * scale)) ** 2 for axis, c, r in zip(axes, centre, radii)]
            labels[(away[0][:, None, None] + away[1][:, None] + away[2]) < 1] = label
    torch.manual_seed(seed)
    values = torch.tensor([-90.0, 60.0, 130.0], device=device)[labels.long()]
    return values + 35 * torch.randn(extents, device=device), labels


def plans(patch, features):
    order = lambda order: {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None}
    stages = len(features)
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [patch] * 3,
        "median_image_size_in_voxels": [200.0, 273.0, 273.0],
        "spacing": [MODEL_MM] * 3,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": order(3),
        "resampling_fn_seg_kwargs": {**order(1), "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": order(1),
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": features,
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * stages,
                "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
                "n_conv_per_stage": [2] * stages,
                "n_conv_per_stage_decoder": [2] * (stages - 1),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": True,
    }
    foreground = {"max": 400.0, "mean": 70.0, "median": 65.0, "min": -200.0}
    foreground.update({"percentile_00_5": -150.0, "percentile_99_5": 250.0, "std": 60.0})
    return {
        "dataset_name": "Dataset701_Phantom",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(SPACING_MM),
        "original_median_shape_after_transp": [300, 512, 512],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": foreground},
    }


def make(arguments):
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    device = torch.device(arguments.device)
    description = plans(arguments.patch, arguments.features)
    settings = dict(description["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"])
    settings.update(conv_op=torch.nn.Conv3d, norm_op=torch.nn.InstanceNorm3d, nonlin=torch.nn.LeakyReLU)
    torch.manual_seed(1)
    network = PlainConvUNet(1, num_classes=CLASSES, deep_supervision=False, **settings).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    start = time.perf_counter()
    extents = (min(arguments.patch, 96),) * 3
    for step in range(arguments.steps):
        values, labels = phantom(extents, (MODEL_MM,) * 3, device, 100 + step, 5)
        image = ((values.clamp(-150, 250) - 70) / 60)[None, None]
        with torch.autocast(device.type, torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(network(image).float(), labels[None].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"trained {arguments.steps} steps in {time.perf_counter() - start:.1f} s, loss {loss.item():.4f}", flush=True)
    network = network.cpu().eval()
    weights = network.state_dict()

    folder = pathlib.Path(arguments.folder) / NAME
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(description, indent=1))
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1, "lesion": 2}}
    dataset.update({"numTraining": 1, "file_ending": ".nii.gz"})
    (folder / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {"network_weights": weights, "trainer_name": "nnUNetTrainer"}
    checkpoint.update({"init_args": {"configuration": "3d_fullres"}, "inference_allowed_mirroring_axes": (0, 1, 2)})
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    example = torch.zeros(1, 1, *(arguments.patch,) * 3)
    torch.onnx.export(
        network, (example,), folder / "fold_0" / "model.onnx", input_names=["image"], output_names=["logits"],
        opset_version=17, dynamo=False, dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )
    print(f"exported, {time.perf_counter() - start:.1f} s", flush=True)


def timed(device, work):
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def run(arguments):
    device = torch.device(arguments.device)
    folder = pathlib.Path(arguments.folder) / NAME
    scan, truth = phantom(tuple(arguments.extents), SPACING_MM, device, 7, 60)
    scan, truth = scan.round().to(torch.int16).cpu().numpy(), truth.cpu().numpy()
    labels, prepared = {}, None

    import planrt

    volume = planrt.Volume(scan, SPACING_MM)
    for mirrored in (False, True) if arguments.mirrored else (False,):
        with planrt.Segmenter(folder, mirrored=[mirrored] * 3) as segmenter:
            out = np.zeros(scan.shape, np.uint8)
            runs = [timed(torch.device("cpu"), lambda: segmenter.run(volume, out))[1] for _ in range(2 if mirrored else 4)]
            labels[mirrored] = out
            print(f"planrt, mirrored {mirrored}: first {runs[0] * 1e3:.1f} ms, then {np.median(runs[1:]) * 1e3:.1f} ms; {segmenter.estimate(volume)}", flush=True)

    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    for mirrored in (False, True) if arguments.mirrored else (False,):
        predictor = nnUNetPredictor(use_mirroring=mirrored, perform_everything_on_device=device.type == "cuda", device=device, allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(folder), (0,))
        network = []
        whole = predictor.predict_logits_from_preprocessed_data

        def logits_of(data):
            nonlocal prepared
            prepared = data
            logits, seconds = timed(device, lambda: whole(data))
            network.append((logits, seconds))
            return logits

        predictor.predict_logits_from_preprocessed_data = logits_of
        # cuDNN tries its algorithms when it meets a shape.
        whole(torch.zeros(1, *(extent + 1 for extent in predictor.configuration_manager.patch_size)))
        if mirrored:
            # What is not the network takes as long with mirroring.
            logits_of(prepared)
            print(f"nnunetv2, mirrored {mirrored}: the sliding window {network[-1][1] * 1e3:.1f} ms", flush=True)
            theirs = None
        else:
            properties = {"spacing": list(SPACING_MM)}
            # As its readers give it.
            image = scan[None].astype(np.float32)
            torch.cuda.reset_peak_memory_stats() if device.type == "cuda" else None
            theirs, seconds = timed(device, lambda: predictor.predict_single_npy_array(image, properties))
            peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0
            print(f"nnunetv2, mirrored {mirrored}: {seconds * 1e3:.1f} ms, of which the sliding window {network[-1][1] * 1e3:.1f} ms, peak {peak:.0f} MiB", flush=True)
        # How near a tie the voxels are in which labels differ.
        logits = network[-1][0].float().to(device)
        back = torch.nn.functional.interpolate(logits[None], scan.shape, mode="trilinear", align_corners=False)[0]
        if theirs is None:
            theirs = back.argmax(0).to(torch.uint8).cpu().numpy()
        ours = labels[mirrored]
        differ = ours != theirs
        two = back.topk(2, 0).values
        margin = (two[0] - two[1]).cpu().numpy()
        dice = [2 * np.sum((ours == c) & (theirs == c)) / max(1, np.sum(ours == c) + np.sum(theirs == c)) for c in range(1, CLASSES)]
        right = [2 * np.sum((truth == c) & (theirs == c)) / max(1, np.sum(truth == c) + np.sum(theirs == c)) for c in range(1, CLASSES)]
        near = margin[differ] if differ.any() else np.zeros(1)
        print(
            f"mirrored {mirrored}: {differ.sum()} of {differ.size} voxels differ ({100 * differ.mean():.4f} %), Dice {[f'{d:.5f}' for d in dice]}; "
            f"the largest of the margins of nnunetv2's logits there {near.max():.3f}, median {np.median(near):.4f}, of all voxels' {np.median(margin):.2f}; "
            f"Dice of nnunetv2 with the truth {[f'{d:.3f}' for d in right]}",
            flush=True,
        )


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", choices=["make", "run"])
parser.add_argument("folder")
parser.add_argument("--device", default="cuda")
parser.add_argument("--patch", type=int, default=128)
parser.add_argument("--steps", type=int, default=150)
parser.add_argument("--features", type=int, nargs="+", default=[32, 64, 128, 256, 320, 320])
parser.add_argument("--extents", type=int, nargs=3, default=[300, 512, 512])
parser.add_argument("--mirrored", action="store_true", help="with mirroring, too")
arguments = parser.parse_args()
os.environ.setdefault("nnUNet_raw", "/nowhere")
os.environ.setdefault("nnUNet_preprocessed", "/nowhere")
os.environ.setdefault("nnUNet_results", "/nowhere")
{"make": make, "run": run}[arguments.what](arguments)
