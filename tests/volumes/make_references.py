#!/usr/bin/env python3
"""Makes references.npz: what nnU-Net and MONAI themselves answer to the cases in cases.py. Run by hand:

    python3 -m venv venv
    venv/bin/pip install torch==2.15.0 numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0 SimpleITK tqdm pandas
    venv/bin/pip install --no-deps monai==1.6.1 nnunetv2==2.8.1 acvl-utils==0.2.6 batchgenerators==0.25.5 \\
        batchgeneratorsv2==0.3.6 dynamic-network-architectures==0.4.4
    venv/bin/python tests/volumes/make_references.py

nnU-Net adds tiles up in float16. So it is run twice: as it is, and with float32 in the place of float16; the second answer is stored, and the first
one printed beside it.
"""

import os
import pathlib
import sys

os.environ.update(nnUNet_raw="/nowhere", nnUNet_preprocessed="/nowhere", nnUNet_results="/nowhere")

import types

import numpy as np
import torch


class Anything(type):
    def __getattr__(self, name):
        return Anything.named(name)

    @staticmethod
    def named(name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})


# nnunetv2 imports it for its own files, which are not read here, and it imports much.
sys.modules["blosc2"] = types.ModuleType("blosc2")
sys.modules["blosc2"].__getattr__ = Anything.named

from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    Invertd,
    NormalizeIntensityd,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
)
from nnunetv2.inference import predict_from_raw_data, sliding_window_prediction
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import cases


class Network(torch.nn.Module):
    def __init__(self, seed, channels, classes, patch):
        super().__init__()
        self.along, self.places = map(torch.from_numpy, cases.weights(seed, channels, classes, patch))

    def forward(self, x):
        out = x[:, :1] * self.along[:, 0].reshape(1, -1, *[1] * (x.ndim - 2))
        for channel in range(1, x.shape[1]):
            out = out + x[:, channel : channel + 1] * self.along[:, channel].reshape(1, -1, *[1] * (x.ndim - 2))
        return out + self.places


def blended(number, case):
    image = torch.from_numpy(cases.scan(number, (1, 1, *case["extents"])).astype(np.float32))
    network = Network(number, 1, cases.CLASSES, case["patch"])
    answer = sliding_window_inference(
        image,
        case["patch"],
        3,
        network,
        overlap=case["overlap"],
        mode=case["mode"],
        padding_mode=case["padding"],
        cval=case["value"],
    )
    return answer[0].numpy()


def monai_labels(number, case):
    image = cases.scan(number, (1, *case["extents"]), 1).astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3] = case["direction"] * np.array(case["spacing"])
    scale = {
        "range": ScaleIntensityRanged("image", -200, 900, 0, 1, clip=True),
        "nonzero": NormalizeIntensityd("image", nonzero=True),
    }[case["scale"]]
    before = Compose([Orientationd("image", "RAS", labels=None), Spacingd("image", case["target"], mode="bilinear"), scale])
    data = before({"image": MetaTensor(torch.from_numpy(image), affine=torch.from_numpy(affine))})
    network = Network(number, 1, cases.CLASSES, case["patch"])
    logits = sliding_window_inference(data["image"][None], case["patch"], 2, network, overlap=0.5, mode="gaussian")[0]
    data["pred"] = MetaTensor(logits, meta=data["image"].meta)
    nearest = case["argmax_first"]
    back = Invertd("pred", transform=before, orig_keys="image", nearest_interp=nearest, to_tensor=True)
    decide = AsDiscreted("pred", argmax=True)
    after = [decide, back] if nearest else [Activationsd("pred", softmax=True), back, decide]
    return np.asarray(Compose(after)(data)["pred"][0]).astype(np.uint8)


class Wide:
    """torch with float32 for half."""

    half = torch.float32

    def __getattr__(self, name):
        return getattr(torch, name)


def segmented(number, case, wide):
    name, plans, dataset = cases.plans(case)
    manager = PlansManager(plans)
    configuration = manager.get_configuration(name)
    properties = {"spacing": list(case["spacing"])}
    preprocessor = configuration.preprocessor_class(verbose=False)
    image = cases.voxels(case, number)
    data, _, properties = preprocessor.run_case_npy(image, None, properties, manager, configuration, dataset)
    predictor = nnUNetPredictor(
        use_mirroring=bool(case["mirrored"]), perform_everything_on_device=True, device=torch.device("cpu"), allow_tqdm=False
    )
    network = Network(number, case["channels"], case["classes"], case["patch"])
    predictor.manual_initialization(network, manager, configuration, [network.state_dict()], dataset, "none", case["mirrored"] or None)
    kept = predict_from_raw_data.torch, predict_from_raw_data.compute_gaussian
    if wide:
        predict_from_raw_data.torch = Wide()
        predict_from_raw_data.compute_gaussian = lambda *arguments, **named: sliding_window_prediction.compute_gaussian(
            *arguments, **named, dtype=torch.float32
        )
    try:
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    finally:
        predict_from_raw_data.torch, predict_from_raw_data.compute_gaussian = kept
    return convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, manager, configuration, manager.get_label_manager(dataset), properties, return_probabilities=True
    )


def main():
    answers = {}
    for number, case in enumerate(cases.BLENDING):
        answers[f"blended {number}"] = blended(number, case)
    for number, case in enumerate(cases.MONAI):
        answers[f"monai {number}"] = monai_labels(number, case)
        print(f"{case['name']}: labels {np.bincount(answers[f'monai {number}'].ravel())}")
    for number, case in enumerate(cases.NNUNET):
        labels, probabilities = segmented(number, case, True)
        narrow, _ = segmented(number, case, False)
        answers[f"segmented {number}"] = labels
        differ = np.count_nonzero(labels != narrow)
        print(f"{case['name']}: labels {np.bincount(labels.ravel())}, {differ} of {labels.size} others in float16")
    np.savez_compressed(HERE / "references.npz", **answers)


main()
