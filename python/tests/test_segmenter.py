#!/usr/bin/env python3
"""Segmenters and scans on the CPU: PLANRT_LIBRARY=libplanrt.so.0 PLANRT_MODELS=folder test_segmenter.py

The folder is what tests/models/make_models.py wrote.
"""

import asyncio
import concurrent.futures
import ctypes
import gc
import gzip
import json
import os
import shutil
import tempfile
import threading
import unittest
import weakref
from pathlib import Path

import numpy as np
import planrt
from planrt import Engine, Error, ErrorCode, LabelMap, Scan, Segmenter, Session, Volume
from scans import nifti

MODELS = Path(os.environ["PLANRT_MODELS"])
RECIPE = {"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}}
VOXELS = np.random.default_rng(7).normal(size=(9, 18, 20)).astype(np.float32)
SPACING = (2.0, 0.75, 0.5)


class Case(unittest.TestCase):
    def fails(self, code, text, call, *arguments, **named):
        with self.assertRaises(Error) as caught:
            call(*arguments, **named)
        self.assertEqual(caught.exception.code, code)
        self.assertIn(text, str(caught.exception))
        return caught.exception

    def folder(self):
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        return folder


class Running(Case):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine(MODELS / "tiny.onnx", threads=1)
        cls.segmenter = Segmenter.from_folds(cls.engine, RECIPE)
        cls.volume = Volume(VOXELS, SPACING)
        cls.expected = cls.segmenter.run(cls.volume).labels

    def same(self, labels):
        np.testing.assert_array_equal(labels, self.expected)

    def tiles(self, segmenter):
        segmentation = segmenter.submit(self.volume)
        segmentation.result()
        return segmentation.progress()[1]

    def test_a_folder(self):
        folder = self.folder()
        shutil.copy(MODELS / "tiny.onnx", folder / "model.onnx")
        (folder / "recipe.json").write_text(json.dumps(RECIPE))
        segmenter = Segmenter(folder)
        self.same(segmenter.run(self.volume).labels)
        self.assertEqual((segmenter.channels, segmenter.score_channels, segmenter.largest_label), (1, 2, 1))
        self.assertEqual(segmenter.patch, (8, 8, 8))
        session = {"largest_batch": 1, "contexts": 1, "queue_capacity": 1}
        same = Segmenter(folder, threads=1, overlap=0.5, mirrored=(False, False, False), session=session)
        self.same(same.run(self.volume).labels)
        tiles = lambda **options: self.tiles(Segmenter(folder, **options))
        self.assertEqual((tiles(), tiles(overlap=0.0), tiles(overlap=0.9)), (2 * 4 * 4, 2 * 3 * 3, 2 * 11 * 13))
        self.assertEqual(tiles(mirrored=[True, False, True]), 32)
        self.fails(ErrorCode.NOT_FOUND, "none", Segmenter, folder / "none")
        self.fails(ErrorCode.INVALID_ARGUMENT, "overlap", Segmenter, folder, overlap=1.0)
        (folder / "recipe.json").write_text("{}")
        self.fails(ErrorCode.INVALID_MODEL, "planrt_recipe", Segmenter, folder)

    def test_a_folder_whose_plans_do_not_run_here(self):
        folder, bad = self.folder(), self.folder() / "other.plan"
        bad.write_bytes(b"ptrt" + bytes(60))
        planrt.write_folder(folder, name="seg", onnx=MODELS / "tiny.onnx", plans=[{"file": bad}], more={"recipe": RECIPE})
        self.fails(ErrorCode.NO_CUDA, "other.plan", Segmenter, folder)
        quiet = planrt.Runtime(log_level=None)
        self.same(Segmenter(folder, quiet, allow_cpu=True).run(self.volume).labels)
        build = planrt.BuildOptions(progress=lambda *_told: True)
        # Nothing builds here: then the CPU, where that is allowed.
        self.fails(ErrorCode.NO_CUDA, "other.plan", Segmenter, folder, build=build, built_plan=folder / "built.plan")
        built = folder / "built.plan"
        self.same(Segmenter(folder, quiet, build=build, built_plan=built, allow_cpu=True).run(self.volume).labels)
        with self.assertRaisesRegex(ValueError, "go together"):
            Segmenter(folder, build=build)

    def test_what_it_is_over(self):
        self.same(Segmenter.from_folds([self.engine], json.dumps(RECIPE)).run(self.volume).labels)
        with Session(self.engine, block_when_full=True) as session:
            segmenter = Segmenter.from_folds([session], RECIPE)
            self.same(segmenter.run(self.volume).labels)
            self.assertGreater(session.statistics()["items"], 0)
        self.same(Segmenter.from_folds([self.engine] * 3, RECIPE).run(self.volume).labels)
        self.assertRaises(TypeError, Segmenter.from_folds, [self.engine, session], RECIPE)
        self.assertRaises(TypeError, Segmenter.from_folds, ["model.onnx"], RECIPE)
        self.fails(ErrorCode.INVALID_ARGUMENT, "engine", Segmenter.from_folds, [], RECIPE)
        self.fails(ErrorCode.INVALID_MODEL, "colour", Segmenter.from_folds, self.engine, {**RECIPE, "colour": 1})

    def test_voxels_of_any_kind(self):
        # Whole numbers, so that all types hold them.
        whole = np.round(VOXELS * 20)
        expected = self.segmenter.run(Volume(whole, SPACING)).labels
        for dtype in "int8 int16 int32 int64 float16 float32 float64 >i2 >f4 >f8".split():
            result = self.segmenter.run(Volume(whole.astype(dtype), SPACING))
            np.testing.assert_array_equal(result.labels, expected, dtype)
        above = whole - whole.min()
        expected = self.segmenter.run(Volume(above, SPACING)).labels
        for dtype in "uint8 uint16 uint32 uint64".split():
            result = self.segmenter.run(Volume(above.astype(dtype), SPACING))
            np.testing.assert_array_equal(result.labels, expected, dtype)
        truth = self.segmenter.run(Volume(whole > 0, SPACING)).labels
        np.testing.assert_array_equal(truth, self.segmenter.run(Volume((whole > 0).astype("u1"), SPACING)).labels)
        rescaled = self.segmenter.run(Volume(np.round(VOXELS * 20).astype("i2"), SPACING, rescale_slope=0.05))
        exact = self.segmenter.run(Volume((np.round(VOXELS * 20) * 0.05).astype("f4"), SPACING))
        np.testing.assert_array_equal(rescaled.labels, exact.labels)
        self.assertRaises(ValueError, self.segmenter.run, Volume(np.zeros((3, 3)), SPACING))
        self.assertRaises(ValueError, self.segmenter.run, Volume(VOXELS, (1.0, 1.0)))
        self.assertRaises(ValueError, self.segmenter.run, Volume(VOXELS, SPACING, direction=np.eye(2)))
        self.fails(ErrorCode.INVALID_ARGUMENT, "channels", self.segmenter.run, Volume(np.stack([VOXELS] * 2), SPACING))
        self.fails(ErrorCode.INVALID_ARGUMENT, "above 0", self.segmenter.run, Volume(VOXELS[:0], SPACING))
        self.fails(ErrorCode.INVALID_ARGUMENT, "spacing", self.segmenter.run, Volume(VOXELS, (1.0, 0.0, 1.0)))

    def test_strides(self):
        wide = np.zeros((12, 40, 45), np.float32)
        part = wide[10:1:-1, 2:38:2, 44:4:-2]
        part[...] = VOXELS
        labels = np.full((20, 18, 9), 9, np.uint16).transpose(2, 1, 0)[:, ::-1]
        result = self.segmenter.run(Volume(part, SPACING), labels)
        self.assertIs(result.labels, labels)
        self.same(labels)
        np.testing.assert_array_equal(self.segmenter.run(Volume(VOXELS.T, SPACING)).labels.shape, (20, 18, 9))
        one = np.broadcast_to(np.float32(0.5), VOXELS.shape)
        self.assertEqual(len(np.unique(self.segmenter.run(Volume(one, SPACING)).labels)), 1)
        channel = np.stack([VOXELS] * 3)[1:2]
        self.same(self.segmenter.run(Volume(channel, SPACING)).labels)
        for wrong, raised in (
            (np.zeros((9, 18, 21), np.uint8), ValueError),
            (np.zeros((9, 18, 20), np.int16), TypeError),
            ([[[0]]], TypeError),
            (np.broadcast_to(np.uint8(0), (9, 18, 20)), ValueError),
        ):
            self.assertRaises(raised, self.segmenter.run, self.volume, wrong)

    def test_wide_labels(self):
        wide = Segmenter.from_folds(self.engine, RECIPE | {"decision": {"labels": [0, 300]}})
        result = wide.run(self.volume)
        self.assertEqual((result.labels.dtype, wide.largest_label), (np.uint16, 300))
        self.same(result.labels // 300)
        narrow = np.zeros(VOXELS.shape, np.uint8)
        self.fails(ErrorCode.INVALID_ARGUMENT, "300", wide.run, self.volume, narrow)
        self.assertAlmostEqual(result.volume_ml(300), np.count_nonzero(self.expected) * 0.75e-3)
        self.assertEqual(result.volume_ml(7), 0)
        self.fails(ErrorCode.INVALID_ARGUMENT, "-1", result.volume_ml, -1)

    def test_what_labels_are_decided_by(self):
        logits = self.segmenter.run(self.volume, logits=True)
        self.same(logits.labels)
        self.same(logits.scores.argmax(axis=0))
        probabilities = self.segmenter.run(self.volume, probabilities=True).scores
        exponents = np.exp(logits.scores - logits.scores.max(axis=0))
        np.testing.assert_allclose(probabilities, exponents / exponents.sum(axis=0), rtol=1e-5)
        half = np.zeros((9, 18, 20, 2), np.float16).transpose(3, 0, 1, 2)
        self.assertIs(self.segmenter.run(self.volume, logits=half).scores, half)
        np.testing.assert_array_equal(half, logits.scores.astype(np.float16))
        self.assertIsNone(self.segmenter.run(self.volume).scores)
        self.assertRaises(ValueError, self.segmenter.run, self.volume, logits=True, probabilities=True)
        self.assertRaises(TypeError, self.segmenter.run, self.volume, logits=np.zeros((2, 9, 18, 20)))

    def test_futures(self):
        volumes = [Volume(np.roll(VOXELS, turn, 2), SPACING) for turn in range(4)]
        expected = [self.segmenter.run(volume).labels for volume in volumes]
        under_way = [self.segmenter.submit(volume, priority=turn % 2) for turn, volume in enumerate(volumes)]
        concurrent.futures.wait(under_way)
        for segmentation, labels in zip(under_way, expected):
            np.testing.assert_array_equal(segmentation.result().labels, labels)
            done, count = segmentation.progress()
            self.assertTrue(done == count > 0)
            self.assertFalse(segmentation.cancel())

        async def wait():
            return await asyncio.wrap_future(self.segmenter.submit(self.volume))

        self.assertIsInstance(asyncio.run(wait()), LabelMap)

    def test_progress_and_its_ends(self):
        told = []
        self.segmenter.run(self.volume, progress=lambda done, count: told.append((done, count)))
        count = told[0][1]
        self.assertEqual(told, [(done, count) for done in range(count + 1)])
        with self.assertRaises(concurrent.futures.CancelledError):
            self.segmenter.run(self.volume, progress=lambda done, _: done < 2)

        def wrong(_done, _count):
            raise KeyError("as the test asked")

        self.assertRaises(KeyError, self.segmenter.run, self.volume, progress=wrong)
        begun, go_on = threading.Event(), threading.Event()

        def held(done, _count):
            begun.set()
            go_on.wait()

        segmentation = self.segmenter.submit(self.volume, progress=held)
        begun.wait()
        self.assertTrue(segmentation.cancel())
        go_on.set()
        self.assertRaises(concurrent.futures.CancelledError, segmentation.result)
        self.fails(ErrorCode.DEADLINE, "time-out", self.segmenter.run, self.volume, timeout=0)

    def test_waits_inside_callbacks(self):
        raised, other = [], self.segmenter.submit(self.volume)

        def wait(_done, _count):
            if not raised:
                self.same(other.result(60).labels)
                raised.append(None)
                try:
                    segmentation.result()
                except Error as error:
                    raised.append(error)
            return True

        went = threading.Event()
        segmentation = self.segmenter.submit(self.volume, progress=lambda *told: went.wait(60) and wait(*told))
        went.set()
        self.same(segmentation.result(60).labels)
        self.assertEqual(raised[1].code, ErrorCode.IN_USE)
        called = threading.Event()
        segmentation.add_done_callback(lambda _: (self.same(self.segmenter.run(self.volume).labels), called.set()))
        self.assertTrue(called.wait(60))

    def test_what_is_not_allowed(self):
        broken = VOXELS.copy()
        broken[4, 9, 10] = np.nan
        self.fails(ErrorCode.INVALID_MODEL, "tile", self.segmenter.run, Volume(broken, SPACING))
        self.segmenter.run(Volume(broken, SPACING), nan_allowed=True)
        skew = Volume(VOXELS, SPACING, direction=[[1, 0.3, 0], [0, 1, 0], [0, 0, 1]])
        self.fails(ErrorCode.INVALID_ARGUMENT, "perpendicular", self.segmenter.run, skew)
        self.same(self.segmenter.run(skew, any_direction=True).labels)

    def test_numbers_that_do_not_fit_are_not_cut(self):
        segmenter = Segmenter.from_folds(Engine(MODELS / "tiny.onnx"), RECIPE)
        volume = Volume(VOXELS, SPACING)
        for wrong in [{"priority": 2**31}, {"priority": -(2**40)}, {"memory_budget": 0}, {"memory_budget": -1}]:
            with self.assertRaises(ValueError, msg=wrong):
                segmenter.run(volume, **wrong)
        session = Session(Engine(MODELS / "small.onnx"))
        with self.assertRaisesRegex(ValueError, "32 bits"):
            session.submit({"image": np.zeros((1, 1, 8, 8, 8), np.float32)}, priority=2**31)
        with self.assertRaisesRegex(ctypes.ArgumentError, "32 bits"):
            segmenter.run(volume).volume_ml(2**32)
        self.assertRaises(ValueError, segmenter.run, volume, timeout=1e20)
        for voxels in [VOXELS.astype(np.complex64), VOXELS.astype(str), VOXELS.astype(object)]:
            with self.assertRaisesRegex(TypeError, "numbers"):
                segmenter.run(Volume(voxels, SPACING))

    def test_memory(self):
        most, least, device, least_device = self.segmenter.estimate(self.volume)
        self.assertEqual((device, least_device), (0, 0))
        self.assertLessEqual(least, most)
        self.same(self.segmenter.run(self.volume, memory_budget=least).labels)
        self.fails(ErrorCode.OUT_OF_MEMORY, "budget", self.segmenter.run, self.volume, memory_budget=least - 1)
        self.fails(ErrorCode.OUT_OF_MEMORY, "budget", self.segmenter.estimate, self.volume, memory_budget=1)
        # What labels are decided by takes its own.
        resampled = RECIPE | {"resampling": {"spacing_mm": [1.5, 1.0, 0.5], "geometry": "centres", "data": "linear"}}
        for segmenter in (self.segmenter, Segmenter.from_folds(self.engine, resampled)):
            plain = segmenter.estimate(self.volume).least
            scores = np.empty((2, *VOXELS.shape), np.float16)
            for asked in ({"logits": True}, {"logits": scores}, {"probabilities": True}, {"logits": lambda *_: None}):
                least = segmenter.estimate(self.volume, **asked).least
                self.assertGreaterEqual(least, plain)
                segmenter.run(self.volume, memory_budget=least, **asked)
                with self.assertRaisesRegex(Error, "budget"):
                    segmenter.run(self.volume, memory_budget=least - 1, **asked)

    def test_an_interrupted_volume_keeps_its_memory(self):
        begun, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)

        def held(_done, _count):
            begun.set()
            go_on.wait()

        voxels, labels = VOXELS.copy(), np.zeros(VOXELS.shape, np.uint8)
        gone = [weakref.ref(voxels), weakref.ref(labels)]
        submit = planrt._library.load().planrt_segmenter_submit
        check = submit.errcheck

        def interrupt(*_):
            begun.wait()
            raise KeyboardInterrupt  # as Ctrl-C, which is heard of when the library returns

        submit.errcheck = interrupt
        try:
            with self.assertRaises(KeyboardInterrupt):
                self.segmenter.submit(Volume(voxels, SPACING), labels, progress=held)
        finally:
            submit.errcheck = check
        del voxels, labels
        gc.collect()
        self.assertFalse(any(one() is None for one in gone))
        go_on.set()
        for _ in range(200):
            gc.collect()
            if not planrt._segmenter._under_way:
                break
            threading.Event().wait(0.01)
        self.assertFalse(planrt._segmenter._under_way)

    def test_what_is_no_volume(self):
        for given in (None, VOXELS):
            with self.assertRaisesRegex(TypeError, type(given).__name__):
                self.segmenter.run(given)
        with self.assertRaisesRegex(ValueError, "zeros"):
            self.segmenter.run(Volume(VOXELS, SPACING, direction=np.zeros((3, 3))))
        with self.assertRaisesRegex(ValueError, "null character"):
            Segmenter.from_folds(self.engine, json.dumps(RECIPE) + "\0 and more")

    def test_a_mask_is_refused(self):
        with self.assertRaisesRegex(TypeError, "mask"):
            self.segmenter.run(Volume(np.ma.masked_array(VOXELS, VOXELS > 1), SPACING))

    def test_ends(self):
        segmenter = Segmenter.from_folds(self.engine, RECIPE)
        begun, go_on = threading.Event(), threading.Event()

        def held(_done, _count):
            begun.set()
            go_on.wait()

        segmentation = segmenter.submit(self.volume, progress=held)
        begun.wait()
        threading.Timer(0.05, go_on.set).start()
        segmenter.close()
        self.fails(ErrorCode.SHUT_DOWN, "", segmentation.result)
        self.fails(ErrorCode.INVALID_ARGUMENT, "closed", segmenter.run, self.volume)
        # Nothing keeps what is done with.
        segmenter = Segmenter.from_folds(self.engine, RECIPE)
        voxels = VOXELS.copy()
        gone = [weakref.ref(segmenter), weakref.ref(voxels)]
        result = segmenter.submit(Volume(voxels, SPACING)).result()
        del segmenter, voxels
        for _ in range(200):
            gc.collect()
            if not any(one() for one in gone):
                break
            threading.Event().wait(0.01)
        self.assertEqual([one() for one in gone], [None, None])
        self.assertGreater(result.volume_ml(0), 0)


class Scans(Case):
    def setUp(self):
        self.path = self.folder()
        self.file = self.path / "scan.nii.gz"
        self.voxels = np.round(VOXELS * 100).astype("i2")
        self.file.write_bytes(gzip.compress(nifti(self.voxels)))

    def test_read(self):
        scan = Scan(self.file)
        volume = scan.volume
        np.testing.assert_array_equal(volume.voxels, self.voxels)
        self.assertEqual((volume.voxels.dtype, volume.shape), (np.int16, (9, 18, 20)))
        self.assertEqual((volume.rescale_slope, volume.rescale_intercept, scan.note), (2.0, 1.0, ""))
        np.testing.assert_allclose(volume.spacing_mm, (2.0, 0.75, 0.5))
        # The file's coordinates grow to the right and to the front, a volume's to the left and to the back.
        np.testing.assert_allclose(volume.origin_mm, (-1.0, -2.0, 3.0))
        np.testing.assert_allclose(volume.direction, [[0, 0, -1], [1, 0, 0], [0, 1, 0]], atol=1e-6)
        self.assertFalse(volume.voxels.flags.writeable)
        voxels = volume.voxels
        del scan, volume
        gc.collect()
        np.testing.assert_array_equal(voxels, self.voxels)
        pair = Scan(self.file, self.file).volume
        np.testing.assert_array_equal(pair.voxels, [self.voxels, self.voxels])
        self.assertRaises(ValueError, Scan)
        self.fails(ErrorCode.NOT_FOUND, "none.nii", Scan, self.path / "none.nii")
        (self.path / "no.nii").write_bytes(b"no")
        self.fails(ErrorCode.INVALID_ARGUMENT, "no.nii", Scan, self.path / "no.nii")

    def test_written(self):
        scan = Scan(self.file)
        segmenter = Segmenter.from_folds(Engine(MODELS / "tiny.onnx", threads=1), RECIPE)
        result = segmenter.run(scan)
        np.testing.assert_array_equal(segmenter.run(scan.volume).labels, result.labels)
        scan.write_labels(self.path / "mask.nii.gz", result.labels[::-1][::-1])
        written = Scan(self.path / "mask.nii.gz").volume
        np.testing.assert_array_equal(written.voxels, result.labels)
        np.testing.assert_allclose(written.direction, scan.volume.direction)
        scan.write_overlay(self.path / "picture.png", result.labels)
        self.assertEqual((self.path / "picture.png").read_bytes()[:4], b"\x89PNG")
        self.assertRaises(ValueError, scan.write_labels, self.path / "no.nii", result.labels[1:])
        self.fails(ErrorCode.INVALID_ARGUMENT, "", scan.write_labels, self.path / "no.nii", VOXELS)
        self.fails(ErrorCode.IO, "", scan.write_labels, self.path / "none" / "no.nii", result.labels)
        self.assertFalse((self.path / "no.nii").exists())


if __name__ == "__main__":
    unittest.main()
