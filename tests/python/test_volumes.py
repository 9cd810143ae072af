#!/usr/bin/env python3
"""Whole volumes, held against nnU-Net and MONAI (tests/volumes/references.npz) and against what numpy computes here.

    test_volumes.py
"""

import itertools
import json
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
import planrt
from onnx import TensorProto, helper, numpy_helper
from planrt import Engine, Error, ErrorCode, Segmenter, Volume

VOLUMES = Path(__file__).resolve().parent.parent / "volumes"
sys.path.insert(0, str(VOLUMES))
import cases

REFERENCES = np.load(VOLUMES / "references.npz")


class Network:
    """A graph under construction, whose inputs and outputs have the batch first."""

    def __init__(self, channels, patch):
        self.nodes, self.weights, self.outputs = [], [], []
        shape = ["batch", channels, *patch]
        self.inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]

    def op(self, kind, *inputs, **attributes):
        out = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def constant(self, values, dtype=np.float32):
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def output(self, name, tensor, channels, patch):
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        shape = ["batch", channels, *patch]
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return self

    def model(self):
        graph = helper.make_graph(self.nodes, "test", self.inputs, self.outputs, self.weights)
        opset = [helper.make_opsetid("", 13)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()

    def engine(self):
        return Engine(self.model(), threads=1)


def along(network, x, factors, axes):
    """Channels of x times factors [class, channel], and summed one after the other."""
    factors = np.asarray(factors, np.float32)
    total = None
    for channel in range(factors.shape[1]):
        one = x
        if factors.shape[1] > 1:
            starts, ends, of = (network.constant([value], np.int64) for value in (channel, channel + 1, 1))
            one = network.op("Slice", x, starts, ends, of)
        product = network.op("Mul", one, network.constant(factors[:, channel].reshape(1, -1, *[1] * axes)))
        total = product if total is None else network.op("Add", total, product)
    return total


def placed(number, channels, classes, patch):
    """The network of tests/volumes/cases.py."""
    factors, places = cases.weights(number, channels, classes, patch)
    network = Network(channels, patch)
    sum_ = network.op("Add", along(network, "image", factors, len(patch)), network.constant(places[np.newaxis]))
    return network.output("logits", sum_, classes, patch)


def scaled(factors, patch, biases=None):
    """A network that gives each voxel's value times a factor, and a bias, for each class."""
    network = Network(1, patch)
    out = along(network, "image", np.reshape(factors, (-1, 1)), len(patch))
    if biases is not None:
        out = network.op("Add", out, network.constant(np.reshape(biases, (1, -1, *[1] * len(patch)))))
    return network.output("logits", out, len(factors), patch)


def recipe(patch, classes=2, tiling=None, decision=None, **more):
    return {
        "planrt_recipe": 1,
        "tiling": {"patch": list(patch), **(tiling or {})},
        "decision": decision or {"labels": list(range(classes))},
        **more,
    }


def same_bits(one, other):
    return one.shape == other.shape and np.array_equal(one.view(np.uint32), other.view(np.uint32))


class Case(unittest.TestCase):
    def fails(self, code, text, call, *arguments, **named):
        with self.assertRaises(Error) as caught:
            call(*arguments, **named)
        self.assertEqual(caught.exception.code, code, caught.exception)
        self.assertIn(text, str(caught.exception))
        return caught.exception

    def folder(self):
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        return folder


class References(Case):
    def test_blended_as_monai_does(self):
        for number, case in enumerate(cases.BLENDING):
            with self.subTest(case["name"]):
                padding = {"constant": case["value"], "replicate": "edge", "reflect": "reflect"}[case["padding"]]
                window = {"constant": "constant", "gaussian": "monai"}[case["mode"]]
                tiling = {"overlap": case["overlap"], "placement": "shifted_back", "padding": padding, "window": window}
                engine = placed(number, 1, cases.CLASSES, case["patch"]).engine()
                segmenter = Segmenter.from_folds(engine, recipe(case["patch"], cases.CLASSES, tiling))
                volume = Volume(cases.scan(number, (1, 1, *case["extents"]))[0, 0], (1, 1, 1))
                result = segmenter.run(volume, logits=True)
                expected = REFERENCES[f"blended {number}"]
                self.assertTrue(same_bits(result.scores, expected), np.abs(result.scores - expected).max())
                np.testing.assert_array_equal(result.labels, expected.argmax(axis=0))

    def test_segmented_as_monai_does(self):
        for number, case in enumerate(cases.MONAI):
            with self.subTest(case["name"]):
                scale = {
                    "range": {"kind": "range", "from": [-200, 900], "to": [0, 1], "clip": True},
                    "nonzero": {"kind": "z_score", "within": "monai_nonzero"},
                }[case["scale"]]
                decision = {"labels": list(range(cases.CLASSES))}
                if case["argmax_first"]:
                    decision["before_resampling"] = True
                else:
                    decision.update(activation="softmax", resample_probabilities=True)
                described = recipe(
                    case["patch"],
                    tiling={"overlap": 0.5, "placement": "shifted_back", "window": "monai"},
                    decision=decision,
                    orientation="RAS",
                    transpose=[2, 1, 0],
                    resampling={"spacing_mm": list(case["target"]), "geometry": "centres", "data": "linear"},
                    intensities=[scale],
                    normalize_after_resampling=True,
                )
                segmenter = Segmenter.from_folds(placed(number, 1, cases.CLASSES, case["patch"]).engine(), described)
                # Its axes are x, y and z, and its coordinates grow to the right and to the front.
                voxels = cases.scan(number, (1, *case["extents"]), 1)[0].transpose(2, 1, 0)
                direction = np.diag([-1.0, -1.0, 1.0]) @ case["direction"]
                labels = segmenter.run(Volume(voxels, case["spacing"][::-1], direction=direction)).labels
                expected = REFERENCES[f"monai {number}"].transpose(2, 1, 0)
                np.testing.assert_array_equal(labels, expected)

    def test_segmented_as_nnunet_does(self):
        for number, case in enumerate(cases.NNUNET):
            with self.subTest(case["name"]):
                folder = self.folder()
                _, plans, dataset = cases.plans(case)
                (folder / "plans.json").write_text(json.dumps(plans))
                (folder / "dataset.json").write_text(json.dumps(dataset))
                patch = case["patch"]
                (folder / "model.onnx").write_bytes(placed(number, case["channels"], case["classes"], patch).model())
                mirrored = [axis - 3 + len(patch) in case["mirrored"] for axis in range(3)]
                volume = Volume(cases.voxels(case, number), case["spacing"])
                labels = Segmenter(folder, mirrored=mirrored).run(volume).labels
                expected = REFERENCES[f"segmented {number}"]
                np.testing.assert_array_equal(labels, expected)


def f_shaped():
    """A letter whose mirror images and turns all differ, in a scan of three different extents."""
    voxels = np.zeros((11, 13, 9), np.int16)
    voxels[2:10, 2:4, 2:4] = 900
    voxels[2:4, 2:11, 2:4] = 700
    voxels[5:7, 2:8, 2:4] = 500
    voxels[2:4, 2:4, 2:8] = 300
    return voxels


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=0))
    return exponents / exponents.sum(axis=0, dtype=np.float32)


class Geometry(Case):
    SPACING = (1.5, 0.9, 1.2)
    WAY = {
        "orientation": "RAS",
        "resampling": {"spacing_mm": [1.3, 1.1, 1.0], "geometry": "edges", "data": "cubic"},
    }

    def test_all_orientations_of_a_letter(self):
        engine = placed(3, 1, 3, (6, 5, 4)).engine()
        segmenter = Segmenter.from_folds(engine, recipe((6, 5, 4), 3, **self.WAY))
        letter = f_shaped()
        expected = segmenter.run(Volume(letter, self.SPACING), probabilities=True)
        self.assertEqual(len(np.unique(expected.labels)), 3)
        count = 0
        for axes in itertools.permutations(range(3)):
            for steps in itertools.product((1, -1), repeat=3):
                turned = tuple(slice(None, None, step) for step in steps)
                direction = np.zeros((3, 3))
                for column in range(3):
                    # Column x, y, z is of array axis 2, 1, 0, and so is each row of a scan that lies as it is kept.
                    direction[2 - axes[2 - column], column] = steps[2 - column]
                spacing = [self.SPACING[axis] for axis in axes]
                volume = Volume(letter.transpose(axes)[turned], spacing, (5, -6, 7), direction)
                result = segmenter.run(volume, probabilities=True)
                np.testing.assert_array_equal(result.labels, expected.labels.transpose(axes)[turned], f"{axes} {steps}")
                scores = expected.scores.transpose(0, *[axis + 1 for axis in axes])[(slice(None), *turned)]
                np.testing.assert_array_equal(result.scores, scores, f"{axes} {steps}")
                self.assertAlmostEqual(result.volume_ml(1), expected.volume_ml(1))
                # Without gaps, too.
                dense = Volume(np.ascontiguousarray(volume.voxels), spacing, (5, -6, 7), direction)
                np.testing.assert_array_equal(segmenter.run(dense).labels, result.labels)
                # Oblique by 15 degrees: the closest axes are the same.
                for tilt in self.tilts():
                    oblique = Volume(volume.voxels, spacing, (5, -6, 7), tilt @ direction)
                    np.testing.assert_array_equal(segmenter.run(oblique).labels, result.labels)
                count += 1
        self.assertEqual(count, 48)

    @staticmethod
    def tilts():
        cos, sin = np.cos(np.radians(15)), np.sin(np.radians(15))
        for axis in range(3):
            tilt = np.eye(3)
            a, b = (axis + 1) % 3, (axis + 2) % 3
            tilt[a, a], tilt[a, b], tilt[b, a], tilt[b, b] = cos, -sin, sin, cos
            yield tilt

    def test_planes_come_where_they_belong(self):
        for orientation, transpose in (("RAS", [0, 1, 2]), ("LPI", [2, 0, 1]), (None, [1, 2, 0])):
            way = {**self.WAY, "orientation": orientation, "transpose": transpose}
            segmenter = Segmenter.from_folds(placed(3, 1, 3, (6, 5, 4)).engine(), recipe((6, 5, 4), 3, **way))
            letter = Volume(f_shaped(), self.SPACING)
            expected = segmenter.run(letter, logits=True)
            seen = np.full_like(expected.scores, np.nan)
            count = []

            def take(start, values):
                self.assertEqual(values.shape[1:].count(1), 1)
                self.assertFalse(values.flags.writeable)
                z, y, x = (slice(first, first + extent) for first, extent in zip(start, values.shape[1:]))
                self.assertTrue(np.isnan(seen[:, z, y, x]).all())
                seen[:, z, y, x] = values
                count.append(start)

            result = segmenter.run(letter, logits=take)
            self.assertIsNone(result.scores)
            np.testing.assert_array_equal(result.labels, expected.labels)
            np.testing.assert_array_equal(seen, expected.scores)
            self.assertEqual(len(count), letter.shape[transpose[0]])
            probabilities = segmenter.run(letter, probabilities=True).scores
            seen[...] = np.nan
            segmenter.run(letter, probabilities=take)
            np.testing.assert_array_equal(seen, probabilities)

            def broken(_start, _values):
                raise ZeroDivisionError("as the test asked")

            self.assertRaises(ZeroDivisionError, segmenter.run, letter, logits=broken)

    def test_what_is_cut_off_has_no_planes(self):
        way = {"crop_to_nonzero": True}
        segmenter = Segmenter.from_folds(scaled([-1, 0.01], (4, 4, 4)).engine(), recipe((4, 4, 4), **way))
        letter = Volume(f_shaped(), (1, 1, 1))
        planes = []
        scores = segmenter.run(letter, logits=True).scores
        segmenter.run(letter, logits=lambda start, values: planes.append((start, np.array(values))))
        self.assertEqual([start for start, _ in planes], [(z, 2, 2) for z in range(2, 10)])
        self.assertEqual(planes[0][1].shape, (2, 1, 9, 6))
        for (z, _, _), values in planes:
            np.testing.assert_array_equal(values[:, 0], scores[:, z, 2:11, 2:8])
        self.assertFalse(scores[:, :2].any())


class Networks(Case):
    def test_what_a_network_gives_may_be_the_middle(self):
        """Sums of whole numbers, which float32 holds exactly: whatever the tiles are, they are the convolution of the whole volume."""
        rng = np.random.default_rng(5)
        for kernel, patch in (((3, 3, 3), (7, 8, 9)), ((1, 5, 3), (4, 9, 7)), ((1, 3, 3), (1, 8, 9))):
            planes = patch[0] == 1
            first, second = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((2, 1, *kernel), (3, 2, *kernel)))
            network = Network(1, patch[1:] if planes else patch)
            weights = [one[:, :, 0] if planes else one for one in (first, second)]
            hidden = network.op("Conv", "image", network.constant(weights[0]))
            out = network.op("Conv", hidden, network.constant(weights[1]))
            given = [extent - 2 * (size - 1) for extent, size in zip(patch, kernel)]
            network.output("logits", out, 3, given[1:] if planes else given)
            engine = network.engine()
            for extents, padding, pad in (
                ((12, 13, 14), 0, {"mode": "constant"}),
                ((3, 2, 3), 0, {"mode": "constant"}),
                ((11, 13, 14), "edge", {"mode": "edge"}),
                ((11, 13, 14), "reflect", {"mode": "reflect"}),
            ):
                voxels = rng.integers(-9, 10, extents).astype(np.int16)
                around = np.pad(voxels.astype(np.float64), [(size - 1, size - 1) for size in kernel], **pad)
                expected = self.convolved(self.convolved(around[np.newaxis], first), second).astype(np.float32)
                for placement in ("even", "shifted_back"):
                    tiling = {"padding": padding, "overlap": 0.3, "window": "constant", "placement": placement}
                    segmenter = Segmenter.from_folds(engine, recipe(patch, 3, tiling))
                    result = segmenter.run(Volume(voxels, (1, 1, 1)), logits=True)
                    np.testing.assert_array_equal(result.scores, expected, f"{kernel} {extents} {padding}")
                    np.testing.assert_array_equal(result.labels, expected.argmax(axis=0))
        window = np.ones((7 - 4, 8 - 4, 9 - 4))
        network = Network(1, (7, 8, 9))
        kernels = [network.constant(np.ones(shape)) for shape in ((1, 1, 3, 3, 3), (2, 1, 3, 3, 3))]
        network.output("logits", network.op("Conv", network.op("Conv", "image", kernels[0]), kernels[1]), 2, (3, 4, 5))
        Segmenter.from_folds(network.engine(), recipe((7, 8, 9)), window=window)
        self.fails(ErrorCode.INVALID_ARGUMENT, "60", Segmenter.from_folds, network.engine(), recipe((7, 8, 9)), window=np.ones(7 * 8 * 9))
        # What lies nearer to one side than to the other is no map of a tile.
        network = Network(1, (7, 8, 9))
        kernel = network.constant(np.ones((2, 1, 2, 1, 1)))
        odd = network.output("logits", network.op("Conv", "image", kernel), 2, (6, 8, 9)).engine()
        self.fails(ErrorCode.UNSUPPORTED, "middle", Segmenter.from_folds, odd, recipe((7, 8, 9)))

    @staticmethod
    def convolved(volume, kernel):
        extents = [extent - size + 1 for extent, size in zip(volume.shape[1:], kernel.shape[2:])]
        out = np.zeros((kernel.shape[0], *extents))
        for place in np.ndindex(kernel.shape[2:]):
            part = volume[(slice(None), *(slice(at, at + extent) for at, extent in zip(place, extents)))]
            out += np.tensordot(kernel[(slice(None), slice(None), *place)].astype(np.float64), part, 1)
        return out

    def test_one_of_several_outputs(self):
        patch = (4, 4, 4)
        network = Network(1, patch)
        small = network.op("AveragePool", "image", kernel_shape=[2, 2, 2], strides=[2, 2, 2])
        network.output("auxiliary", small, 1, (2, 2, 2))
        network.output("half", along(network, "image", [[1], [0.5]], 3), 2, patch)
        network.output("double", along(network, "image", [[1], [2]], 3), 2, patch)
        engine = network.engine()
        voxels = np.arange(-60, 60, dtype=np.float32).reshape(4, 5, 6)
        volume = Volume(voxels, (1, 1, 1))
        run = lambda described=None, **options: Segmenter.from_folds(engine, recipe(patch, output=described), **options).run(volume).labels
        np.testing.assert_array_equal(run("half"), voxels < 0)
        np.testing.assert_array_equal(run("double"), voxels > 0)
        np.testing.assert_array_equal(run("half", output="double"), voxels > 0)
        self.fails(ErrorCode.NOT_FOUND, "half", run, "none")
        self.fails(ErrorCode.INVALID_ARGUMENT, "labels for 2 channels", run)

    def test_one_class_and_three_hundred(self):
        voxels = np.random.default_rng(3).normal(size=(7, 8, 9)).astype(np.float32)
        volume = Volume(voxels, (1, 1, 1))
        decision = {"activation": "sigmoid", "regions": [{"channel": 0, "label": 7}], "threshold": 0.25}
        one = Segmenter.from_folds(scaled([2], (4, 4, 4)).engine(), recipe((4, 4, 4), decision=decision))
        probability = 1 / (1 + np.exp(-2 * voxels.astype(np.float64)))
        result = one.run(volume, probabilities=True)
        np.testing.assert_array_equal(result.labels, np.where(probability > 0.25, 7, 0))
        np.testing.assert_allclose(result.scores[0], probability, rtol=1e-6)
        only = Segmenter.from_folds(scaled([2], (4, 4, 4)).engine(), recipe((4, 4, 4), decision={"labels": [9]}))
        self.assertTrue((only.run(volume).labels == 9).all())

        # Class c is the largest where the value is about c: c·x - c²/2 is.
        factors, biases = np.arange(300), -np.arange(300) ** 2 / 2
        many = Segmenter.from_folds(scaled(factors, (4, 4, 4), biases).engine(), recipe((4, 4, 4), 300))
        values = np.random.default_rng(3).integers(0, 300, (7, 8, 9)).astype(np.int16)
        values[0, 0, :2] = 299, 0
        result = many.run(Volume(values, (1, 1, 1)))
        self.assertEqual((result.labels.dtype, many.largest_label, many.score_channels), (np.uint16, 299, 300))
        np.testing.assert_array_equal(result.labels, values)
        self.fails(ErrorCode.INVALID_ARGUMENT, "299", many.run, Volume(values, (1, 1, 1)), np.zeros(values.shape, np.uint8))

    def test_labels_are_painted_in_their_order(self):
        voxels = np.random.default_rng(4).normal(size=(6, 7, 8)).astype(np.float32)
        regions = [{"channel": 2, "label": 4}, {"channel": 0, "label": 300}, {"channel": 1, "label": 2}]
        decision = {"activation": "sigmoid", "regions": regions, "threshold": 0.5}
        segmenter = Segmenter.from_folds(scaled([1, -1, 2], (4, 4, 4), [0.25, -0.5, -2.5]).engine(), recipe((4, 4, 4), decision=decision))
        result = segmenter.run(Volume(voxels, (2, 1, 0.5)), logits=True)
        expected = np.zeros(voxels.shape, np.uint16)
        for region in regions:
            expected[result.scores[region["channel"]] > 0] = region["label"]
        np.testing.assert_array_equal(result.labels, expected)
        for label in (0, 2, 4, 300):
            self.assertAlmostEqual(result.volume_ml(label), np.count_nonzero(expected == label) / 1000)

    def test_only_the_largest_part_of_each_label(self):
        voxels = np.zeros((8, 9, 10), np.float32)
        voxels[0:2, 0:3, 0:3] = 1
        # Joined by a corner alone, which counts.
        voxels[2, 3, 3] = 1
        voxels[5:7, 5:8, 5:8] = 1
        voxels[4, 0, 8:] = 2
        voxels[6, 0, 9] = 2
        decision = {"labels": [0, 1, 300], "largest_component": True}
        segmenter = Segmenter.from_folds(scaled([0, 1, 1.5], (4, 4, 4), [0, -0.5, -1.25]).engine(), recipe((4, 4, 4), decision=decision))
        result = segmenter.run(Volume(voxels, (1, 1, 1)))
        expected = np.zeros(voxels.shape, np.uint16)
        expected[0:2, 0:3, 0:3] = expected[2, 3, 3] = 1
        expected[4, 0, 8:] = 300
        np.testing.assert_array_equal(result.labels, expected)
        self.assertEqual((result.volume_ml(1), result.volume_ml(300)), (0.019, 0.002))

    def test_folds_and_ensembles_are_averaged(self):
        volume = Volume(cases.scan(9, (1, 12, 13, 11))[0], (1.5, 1.0, 1.0))
        patches = ((6, 6, 6), (1, 7, 8), (5, 9, 8))
        targets = ([1.2, 1.2, 1.2], [0, 1.3, 1.3], [1.5, 1.0, 1.0])
        members, recipes = [], []
        for number, (patch, target) in enumerate(zip(patches, targets)):
            way = {"resampling": {"spacing_mm": target, "geometry": "edges", "data": "cubic"}, "crop_to_nonzero": True}
            recipes.append(recipe(patch, 3, {"mirrored": [number == 0, False, True]}, **way))
            members.append(Segmenter.from_folds(placed(20 + number, 1, 3, patch).engine(), recipes[-1]))
        ensemble = Segmenter.ensemble(members)
        mean = np.zeros((3, *volume.shape), np.float32)
        for member in members:
            mean += member.run(volume, probabilities=True).scores
        mean /= np.float32(3)
        for _ in range(3):
            result = ensemble.run(volume, probabilities=True)
            self.assertTrue(same_bits(result.scores, mean))
            np.testing.assert_array_equal(result.labels, mean.argmax(axis=0))
        seen = np.zeros_like(mean)

        def take(start, values):
            z, y, x = (slice(first, first + extent) for first, extent in zip(start, values.shape[1:]))
            seen[:, z, y, x] = values

        part = (slice(2, 11), slice(0, 10), slice(1, 11))
        inside = ensemble.run(volume, region=part, probabilities=take)
        alone = ensemble.run(Volume(volume.voxels[part], volume.spacing_mm), probabilities=True)
        np.testing.assert_array_equal(inside.labels[part], alone.labels)
        np.testing.assert_array_equal(seen[(slice(None), *part)], alone.scores)
        self.fails(ErrorCode.UNSUPPORTED, "probabilities", ensemble.run, volume, logits=True)
        most, least, *_device = ensemble.estimate(volume)
        self.assertGreater(least, members[0].estimate(volume).least)
        np.testing.assert_array_equal(ensemble.run(volume, memory_budget=least).labels, result.labels)
        self.fails(ErrorCode.OUT_OF_MEMORY, "budget", ensemble.run, volume, memory_budget=least - 1)
        other = Segmenter.from_folds(placed(1, 1, 3, (4, 4, 4)).engine(), recipe((4, 4, 4), 3, transpose=[1, 0, 2], crop_to_nonzero=True))
        self.fails(ErrorCode.INVALID_ARGUMENT, "axis", Segmenter.ensemble, [members[0], other])
        ensemble.check_company(volume, 2)

        engines = [placed(30 + number, 1, 3, (6, 6, 6)).engine() for number in range(3)]
        folds = Segmenter.from_folds(engines, recipes[0])
        alone = [Segmenter.from_folds(engine, recipes[0]).run(volume, logits=True).scores for engine in engines]
        np.testing.assert_allclose(folds.run(volume, logits=True).scores, np.mean(alone, axis=0), atol=1e-3)

    def test_a_small_model_says_where_to_look(self):
        voxels = cases.scan(11, (1, 16, 15, 14))[0].copy()
        voxels[5:8, 6:9, 4:10] = 3000
        volume = Volume(voxels, (2.0, 1.0, 1.5), rescale_slope=0.5)
        coarse = Segmenter.from_folds(
            scaled([0, 1], (8, 8, 8), [0, -1400]).engine(), recipe((8, 8, 8), orientation="RAS", crop_to_nonzero=True)
        )
        np.testing.assert_array_equal(coarse.run(volume).labels, voxels == 3000)
        engine = placed(5, 1, 3, (5, 6, 4)).engine()
        way = {"resampling": {"spacing_mm": [1.6, 1.2, 1.2], "geometry": "edges"}, "intensities": [{"kind": "z_score"}]}
        fine = recipe((5, 6, 4), 3, **way)
        plain = Segmenter.from_folds(engine, fine)
        # Three millimetres are one voxel and a half along z, three along y and two along x.
        box = (slice(3, 10), slice(3, 12), slice(2, 12))
        both = Segmenter.from_folds(engine, fine, coarse=(coarse, 3.0))
        result = both.run(volume, logits=True)
        alone = plain.run(Volume(voxels[box], volume.spacing_mm, rescale_slope=0.5), logits=True)
        expected = np.zeros(voxels.shape, np.uint8)
        expected[box] = alone.labels
        np.testing.assert_array_equal(result.labels, expected)
        np.testing.assert_array_equal(result.scores[(slice(None), *box)], alone.scores)
        self.assertAlmostEqual(sum(result.volume_ml(label) for label in range(3)), voxels.size * 3 / 1000)
        region = plain.run(volume, region=box)
        np.testing.assert_array_equal(region.labels, expected)
        # Nothing is found where nothing is.
        empty = both.run(Volume(np.zeros_like(voxels), volume.spacing_mm))
        self.assertFalse(empty.labels.any())
        self.assertAlmostEqual(empty.volume_ml(0), voxels.size * 3 / 1000)
        nowhere = (slice(9, None), slice(0, 5), slice(None))
        self.assertFalse(both.run(volume, region=nowhere).labels.any())
        told = []
        both.run(volume, progress=lambda done, count: told.append((done, count)))
        self.assertEqual([done for done, _ in told], sorted(done for done, _ in told))
        self.assertEqual(told[-1][0], told[-1][1])
        both.check_company(volume, 3)

    def test_a_window_of_the_callers(self):
        patch, voxels = (5, 6, 4), cases.scan(11, (1, 9, 10, 11))[0]
        engine = placed(5, 1, 3, patch).engine()
        window = np.random.default_rng(1).uniform(0.1, 2, patch).astype(np.float32)
        segmenter = Segmenter.from_folds(engine, recipe(patch, 3, {"placement": "shifted_back"}), window=window)
        factors, places = cases.weights(5, 1, 3, patch)
        sums, weights = np.zeros((3, 9, 10, 11), np.float32), np.zeros((9, 10, 11), np.float32)
        starts = [sorted({min(at, extent - size) for at in range(0, extent, int(size * 0.5))}) for extent, size in zip(voxels.shape, patch)]
        for start in itertools.product(*starts):
            tile = tuple(slice(at, at + size) for at, size in zip(start, patch))
            sums[(slice(None), *tile)] += (voxels[tile] * factors[:, 0].reshape(3, 1, 1, 1) + places) * window
            weights[tile] += window
        result = segmenter.run(Volume(voxels, (1, 1, 1)), logits=True)
        self.assertTrue(same_bits(result.scores, sums / weights))
        for wrong in (window.transpose(1, 0, 2), window.ravel()):
            self.assertRaises(ValueError, Segmenter.from_folds, engine, recipe(patch, 3), window=wrong)
        self.fails(ErrorCode.INVALID_ARGUMENT, "weight 0", Segmenter.from_folds, engine, recipe(patch, 3), window=window * 1e-38)


class BadInput(Case):
    PATCH = (4, 4, 4)

    @classmethod
    def setUpClass(cls):
        cls.segmenter = Segmenter.from_folds(scaled([0, 1], cls.PATCH).engine(), recipe(cls.PATCH))
        cls.volume = Volume(np.ones((6, 6, 6), np.float32), (1, 1, 1))

    def tearDown(self):
        # Whatever was refused, the others go on.
        self.assertTrue(self.segmenter.run(self.volume).labels.all())

    def test_geometry_that_is_none(self):
        voxels, invalid = self.volume.voxels, ErrorCode.INVALID_ARGUMENT
        for bad in (0.0, -1.0, np.nan, np.inf):
            for axis in range(3):
                spacing = [1.0, 1.0, 1.0]
                spacing[axis] = bad
                self.fails(invalid, "spacing", self.segmenter.run, Volume(voxels, spacing))
        self.fails(invalid, "origin", self.segmenter.run, Volume(voxels, (1, 1, 1), (0, np.nan, 0)))
        direction = np.eye(3)
        direction[1, 2] = np.nan
        self.fails(invalid, "direction", self.segmenter.run, Volume(voxels, (1, 1, 1), direction=direction))
        flat = np.eye(3)
        flat[:, 1] = flat[:, 0]
        self.fails(invalid, "direction", self.segmenter.run, Volume(voxels, (1, 1, 1), direction=flat))
        self.fails(invalid, "determinant", self.segmenter.run, Volume(voxels, (1, 1, 1), direction=flat), any_direction=True)
        self.fails(invalid, "slope", self.segmenter.run, Volume(voxels, (1, 1, 1), rescale_slope=np.nan))

    def test_models_that_do_not_fit(self):
        engine = scaled([0, 1], self.PATCH).engine()
        self.fails(ErrorCode.SHAPE, "4", Segmenter.from_folds, engine, recipe((4, 4, 5)))
        self.fails(ErrorCode.INVALID_ARGUMENT, "3 channels", Segmenter.from_folds, engine, recipe(self.PATCH, 3))
        self.fails(ErrorCode.SHAPE, "dimension 1", Segmenter.from_folds, engine, recipe(self.PATCH, channels=2))
        other = scaled([0, 1, 2], self.PATCH).engine()
        self.fails(ErrorCode.INVALID_ARGUMENT, "folds", Segmenter.from_folds, [engine, other], recipe(self.PATCH))
        pair = np.ones((2, 6, 6, 6), np.float32)
        self.fails(ErrorCode.INVALID_ARGUMENT, "channels", self.segmenter.run, Volume(pair, (1, 1, 1)))

    def test_more_voxels_than_there_is_memory(self):
        voxels = np.broadcast_to(np.int16(1), (2048, 1024, 1024))
        huge = Volume(voxels, (1, 1, 1))
        least = self.segmenter.estimate(huge).least
        self.assertGreater(least, 4 << 31)
        labels = np.empty(huge.shape, np.uint8)  # which no page is taken for
        self.fails(ErrorCode.OUT_OF_MEMORY, "budget", self.segmenter.run, huge, labels, memory_budget=1 << 30)
        # Without a budget, what no machine has.
        beyond = Volume(np.broadcast_to(np.int16(1), (1 << 22, 1 << 22, 1 << 15)), (1, 1, 1))
        self.assertGreater(self.segmenter.estimate(beyond).least, 4 << 59)

    def test_a_budget_too_small_by_a_byte(self):
        way = {"resampling": {"spacing_mm": [1.2, 1.2, 1.2], "geometry": "edges"}, "crop_to_nonzero": True}
        patch = (12, 12, 12)
        segmenter = Segmenter.from_folds(scaled([0, 1] * 4, patch).engine(), recipe(patch, 8, **way))
        volume = Volume(np.ones((16, 17, 18), np.float32), (1, 1, 1))
        most, least, *_device = segmenter.estimate(volume)
        self.assertLess(least, most)
        for budget in (least, (least + most) // 2, most):
            self.assertTrue(segmenter.run(volume, memory_budget=budget).labels.all())
        self.fails(ErrorCode.OUT_OF_MEMORY, str(least), segmenter.run, volume, memory_budget=least - 1)

    def test_a_budget_is_kept_by_strips(self):
        classes, patch = 24, (6, 7, 5)
        for way in (
            {},
            {"resampling": {"spacing_mm": [1.1, 1.4, 0.8], "geometry": "edges"}, "crop_to_nonzero": True, "orientation": "RAS"},
            {"resampling": {"spacing_mm": [1.5, 1.4, 1.2], "geometry": "centres", "result": "nearest"}, "transpose": [1, 2, 0]},
        ):
            decision = {"labels": list(range(classes)), "before_resampling": "transpose" in way}
            engine = placed(8, 1, classes, patch).engine()
            segmenter = Segmenter.from_folds(engine, recipe(patch, decision=decision, **way))
            volume = Volume(cases.scan(4, (1, 18, 40, 38), 2)[0], (1.0, 1.0, 1.0))
            expected = segmenter.run(volume)
            scores = None if decision["before_resampling"] else segmenter.run(volume, logits=True).scores
            most, least, *_device = segmenter.estimate(volume)
            self.assertLess(least, most / 2)
            counts = set()
            for budget in np.linspace(least, most, 7).astype(int):
                told = segmenter.estimate(volume, memory_budget=int(budget))
                self.assertLessEqual(told.most, budget)
                self.assertEqual(told.least, least)
                segmentation = segmenter.submit(volume, memory_budget=int(budget))
                np.testing.assert_array_equal(segmentation.result().labels, expected.labels)
                done, count = segmentation.progress()
                self.assertEqual(done, count)
                counts.add(count)
            self.assertGreater(len(counts), 1)
            if scores is not None:
                self.assertTrue(same_bits(segmenter.run(volume, logits=True, memory_budget=least + 100000).scores, scores))
                seen = np.zeros_like(scores)

                def take(start, values):
                    z, y, x = (slice(first, first + extent) for first, extent in zip(start, values.shape[1:]))
                    self.assertFalse(seen[:, z, y, x].any())
                    seen[:, z, y, x] = values

                segmenter.run(volume, logits=take, memory_budget=least + 100000)
                self.assertTrue(same_bits(seen, scores))
            self.fails(ErrorCode.OUT_OF_MEMORY, str(least), segmenter.run, volume, memory_budget=least - 1)

    def test_what_is_no_number_is_named_by_its_place(self):
        voxels = np.ones((10, 10, 10), np.float32)
        voxels[9, 9, 9] = np.nan
        error = self.fails(ErrorCode.INVALID_MODEL, "z 6, y 6, x 6", self.segmenter.run, Volume(voxels, (1, 1, 1)))
        self.assertIn("64 of 64", str(error))
        allowed = self.segmenter.run(Volume(voxels, (1, 1, 1)), nan_allowed=True).labels
        self.assertEqual(np.count_nonzero(allowed), 1000 - 1)

    def test_memory_goes_when_it_was_cancelled(self):
        for _ in range(20):
            volume = Volume(np.ones((40, 40, 40), np.float32), (1, 1, 1))
            segmentation = self.segmenter.submit(volume)
            segmentation.cancel()
            del volume, segmentation

    def test_regions_that_are_none(self):
        for wrong in ((slice(0, 2),) * 2, (slice(0, 6, 2),) * 3, (slice(3, 3), slice(None), slice(None)), (1, 2, 3), ...):
            self.assertRaises(ValueError, self.segmenter.run, self.volume, region=wrong)


if __name__ == "__main__":
    unittest.main()
