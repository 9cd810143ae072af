#!/usr/bin/env python3
"""planrt-convert: PLANRT_LIBRARY=libplanrt.so.0 PLANRT_MODELS=folder test_convert.py [TENSORRT_RTX]

Without PyTorch, what begins with a PyTorch model is left out; without TENSORRT_RTX, the folder of TensorRT-RTX, what builds plans; without
PLANRT_DEEPBET, a folder with deepbet's networks, and PLANRT_HEADS, one with ch2.nii.gz and ch2bet.nii.gz, what runs these.
"""

import contextlib
import gzip
import importlib.util
import io
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
import unittest.mock
from pathlib import Path

import numpy as np
import onnx
import planrt
from onnx import TensorProto, helper
from planrt_convert import cli, numbers, overlay, plans, search, speed, steps
from scans import nifti

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "models" / "deepbet"))
import prepare

MODELS = Path(os.environ["PLANRT_MODELS"])
HAS_TORCH = importlib.util.find_spec("torch") is not None
DEEPBET, HEADS = (path if path and Path(path).is_dir() else None for path in map(os.environ.get, ("PLANRT_DEEPBET", "PLANRT_HEADS")))
TENSORRT = None


class Case(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)
        self.out = self.scratch / "out"

    def convert(self, model, *words, code=0):
        """Runs the program: what it says."""
        said = io.StringIO()
        command = [str(model), "--out", str(self.out), *map(str, words)]
        for option, value in (("--seconds", "0"), ("--precision", "none")):
            if option not in words:
                command += [option, value]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            got = cli.main(command)
        self.assertEqual(got, code, said.getvalue())
        return said.getvalue()

    def written(self, name):
        path = self.scratch / name
        path.write_text("this is nothing of what its name says")
        return path

    def array(self, array):
        path = self.scratch / "array.npy"
        np.save(path, array)
        return path

    def report(self):
        return json.loads((self.out / "report.json").read_text())


class FromOnnx(Case):
    def test_a_model_becomes_a_folder_with_a_report(self):
        said = self.convert(MODELS / "small.onnx", "--batch", "1:2:4", "--seconds", "0.05")
        self.assertIn("4 checks passed, 0 failed", said)
        engine = planrt.Engine.from_folder(self.out)
        self.assertTrue(engine.self_test(self.out)["agrees"])
        report = self.report()
        self.assertTrue(report["passed"])
        self.assertEqual({check["input"] for check in report["checks"]}, {f"random, batch {n}" for n in (1, 2, 3, 4)})
        self.assertEqual(report["checks"][0]["labels_changed"], 0)
        self.assertIn("Conv", {row["operator"] for row in report["operators"]["onnx"]})
        self.assertEqual({row["concurrency"] for row in report["throughput"]}, {1, 4})
        page = (self.out / "report.html").read_text()
        self.assertIn("All 4 checks passed", page)
        self.assertIn("viewport", page)
        self.assertIsNone(re.search(r"<script|<link|https?://", page))  # nothing from elsewhere
        passport = json.loads((self.out / "planrt.json").read_text())
        self.assertIn("report.html", {file["path"] for file in passport["files"]})
        self.assertEqual(passport["checks"], report["checks"])
        self.assertFalse(self.scratch.joinpath("out.work").exists())

    def test_every_model_of_the_tests_is_converted(self):
        for name in ("tiny", "fixed_batch", "labels", "group_norm", "other_types", "unet_instance"):
            with self.subTest(name):
                sizes = [] if name != "any_size" else ["--input", "image=1x1x8x8x8"]
                self.convert(MODELS / f"{name}.onnx", *sizes, "--rtol", "1e-3", "--atol", "1e-2")

    def test_a_check_that_fails_is_reported_and_nothing_is_deployed(self):
        self.convert(MODELS / "small.onnx")
        planrt.Engine.from_folder(self.out)
        said = self.convert(MODELS / "unet_instance.onnx", "--rtol", "0", "--atol", "0", code=1)
        self.assertIn("failed: ONNX Runtime and planrt on the CPU", said)
        self.assertFalse((self.out / "planrt.json").exists())
        report = self.report()
        self.assertFalse(report["passed"])
        (first, *_) = [check for check in report["checks"] if not check["passed"]]
        self.assertIn("operator", first["first_off"])
        self.assertIn("first node that is off", (self.out / "report.html").read_text())

    def test_what_planrt_refuses_is_a_check_that_failed(self):
        node = helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["picked"])
        graph = helper.make_graph(
            [node],
            "picks",
            [
                helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 3, 4]),
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, 3]),
            ],
            [helper.make_tensor_value_info("picked", TensorProto.INT64, [None, 3])],
        )
        path = self.scratch / "picks.onnx"
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, path)
        self.convert(path, code=1)
        self.assertIn("NonMaxSuppression", (self.out / "report.html").read_text())

    def nan_model(self):
        """Of numbers below zero the second node makes NaN, which the third hands on."""
        nodes = [
            helper.make_node("Add", ["image", "image"], ["twice"], "double"),
            helper.make_node("Sqrt", ["twice"], ["root"], "the root"),
            helper.make_node("Neg", ["root"], ["prob"], "turned"),
        ]
        shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, 4, 4]) for name in ("image", "prob")]
        graph = helper.make_graph(nodes, "roots", shape[:1], shape[1:])
        path = self.scratch / "roots.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return path

    def test_a_model_that_answers_nan_fails_its_checks(self):
        model = self.nan_model()
        said = self.convert(model, "--batch", "1", code=1)
        self.assertIn("the first comes from Sqrt 'the root'", said)
        self.assertFalse((self.out / "planrt.json").exists())
        page = (self.out / "report.html").read_text()
        self.assertIn("ONNX Runtime itself answers NaN", page)
        (check,) = [check for check in self.report()["checks"] if not check["passed"]]
        self.assertGreater(check["nan"], 0)
        # Of inputs that have it the model is not to blame, but nothing is shown by them either.
        said = self.convert(model, "--batch", "1", "--data", self.array(np.full((1, 1, 4, 4), np.nan, np.float32)), code=1)
        self.assertIn("the input 'image' has NaN itself", said)
        # Meant so.
        self.convert(model, "--batch", "1", "--allow-nan")
        self.assertTrue(planrt.Engine.from_folder(self.out).self_test(self.out)["agrees"])
        self.assertIn("the first comes from Sqrt", (self.out / "report.html").read_text())

    def test_what_is_no_tensor_is_refused(self):
        node = helper.make_node("SplitToSequence", ["x"], ["y"])
        parts = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])], [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)]
        path = self.scratch / "parts.onnx"
        onnx.save(helper.make_model(helper.make_graph([node], "g", *parts), opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        self.assertIn("output 'y' is no tensor (sequence)", self.convert(path, code=cli.WRONG))

    def test_where_nan_comes_from(self):
        infinite = self.scratch / "infinite.onnx"
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
        nodes = [helper.make_node("Div", ["x", "zero"], ["large"], "quotient"), helper.make_node("Sub", ["large", "large"], ["y"], "none")]
        zero = onnx.numpy_helper.from_array(np.zeros(2, np.float32), "zero")
        model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], [zero]), opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, infinite)
        found = numbers.first_nan(infinite, {"x": np.ones(2, np.float32)})
        self.assertEqual(found, "the first comes from Sub 'none' of 'large', which has infinities: 2 of 2 elements of 'y'")
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full(2, np.nan, np.float32), "zero"))
        onnx.save(model, infinite)
        self.assertIn("weights 'zero' have NaN", numbers.first_nan(infinite, {"x": np.ones(2, np.float32)}))
        others = [None, [np.ones(1), np.ones(2)], np.array(["text"]), np.array([1, 2]), np.array([1, np.inf])]
        self.assertEqual([numbers.has_infinite(one) for one in others], [False, False, False, False, True])

    def test_an_interrupt_while_it_is_loaded(self):
        # In the place of a package that takes its time.
        (self.scratch / "onnx.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
        (self.scratch / "numpy.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
        path = os.pathsep.join([str(self.scratch), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "planrt_convert", str(MODELS / "small.onnx"), "--out", str(self.out)]
        ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stderr), (cli.INTERRUPTED, "planrt-convert: interrupted\n"))

    def test_an_interrupted_conversion_goes_on(self):
        model = MODELS / "small.onnx"
        with unittest.mock.patch.object(steps.Conversion, "_numbers", side_effect=KeyboardInterrupt):
            self.assertIn("interrupted", self.convert(model, code=cli.INTERRUPTED))
        self.assertFalse(self.out.exists())
        said = self.convert(model)
        self.assertIn("export: done before", said)
        self.assertIn("graph: done before", said)
        self.assertNotIn("numbers: done before", said)
        self.assertNotIn("done before", self.convert(model))  # it was finished, and begins anew
        with unittest.mock.patch.object(steps.Conversion, "_numbers", side_effect=KeyboardInterrupt):
            self.convert(model, code=cli.INTERRUPTED)
        for option in ("--seed", "--threads"):  # other options: what does not depend on them stays
            said = self.convert(model, "--keep-work")
            said = self.convert(model, option, "1")
            self.assertIn("export: done before", said)
            self.assertNotIn("graph: done before", said)
            self.assertNotIn("numbers: done before", said)

    def test_weights_in_other_files_that_changed_begin_anew(self):
        model = onnx.load(str(MODELS / "small.onnx"))
        beside, weights = self.scratch / "beside.onnx", self.scratch / "beside.bin"
        onnx.save(model, str(beside), save_as_external_data=True, location=weights.name, size_threshold=0)
        self.convert(beside, "--batch", "1", "--keep-work")
        first = self.report()["model"]["sha256"]
        self.assertIn("export: done before", self.convert(beside, "--batch", "1", "--keep-work"))
        weights.write_bytes((np.fromfile(weights, np.float32) / 2).tobytes())
        self.assertNotIn("export: done before", self.convert(beside, "--batch", "1", "--keep-work"))
        self.assertNotEqual(self.report()["model"]["sha256"], first)

    def test_a_folder_that_is_no_conversions_stays(self):
        work = self.out.with_name("out.work")
        work.mkdir()
        (work / "mine.txt").write_text("mine")
        self.assertIn("no conversion's", self.convert(MODELS / "small.onnx", code=2))
        self.assertEqual((work / "mine.txt").read_text(), "mine")
        (work / "mine.txt").unlink()
        with unittest.mock.patch.object(steps.Conversion, "_export", side_effect=KeyboardInterrupt):
            self.convert(MODELS / "small.onnx", "--batch", "1", code=130)
        self.assertTrue(any(work.iterdir()))
        self.convert(MODELS / "small.onnx", "--batch", "1")
        self.assertFalse(work.exists())

    def test_of_two_at_once_one_converts(self):
        model = MODELS / "small.onnx"
        command = [sys.executable, "-m", "planrt_convert", str(model), "--out", str(self.out), "--precision", "none", "--seconds", "0"]
        places = map(str, (Path(planrt.__file__).parents[1], Path(steps.__file__).parents[1]))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
        numbers_of = steps.Conversion._numbers

        def meanwhile(conversion):
            other = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual(other.returncode, 2)
            self.assertIn("another planrt-convert is at work", other.stderr)
            return numbers_of(conversion)

        with unittest.mock.patch.object(steps.Conversion, "_numbers", meanwhile):
            self.convert(model)
        planrt.Engine.from_folder(self.out)

    def test_whatever_goes_wrong_is_no_check_that_failed(self):
        model = MODELS / "small.onnx"
        said = self.convert(model, "--batch", "1:2:999999999", code=2)
        self.assertIn("not enough memory", said)
        with unittest.mock.patch.object(steps.Conversion, "_write", side_effect=RuntimeError("as the test asked")):
            self.assertIn("RuntimeError: as the test asked; please report", self.convert(model, "--batch", "1", code=2))

    def test_names_of_any_kind(self):
        self.out = self.scratch / "o; $(touch 'x')"
        self.convert(MODELS / "small.onnx", "--batch", "1", "--name", os.fsdecode(b"n\xff"))
        self.assertEqual(self.report()["name"], "n?")
        words = shlex.split(self.report()["command"])
        self.assertEqual(words[words.index("--out") + 1], str(self.out))
        self.assertTrue((self.out / "planrt.json").exists())

    def test_inputs_of_the_users(self):
        data = self.scratch / "heads.npz"
        np.savez(data, image=np.random.default_rng(0).standard_normal((2, 1, 8, 8, 8), np.float32))
        self.convert(MODELS / "small.onnx", "--data", data)
        passport = json.loads((self.out / "planrt.json").read_text())
        self.assertEqual([test["name"] for test in passport["tests"]], ["random, batch 1", "heads.npz"])
        self.assertRegex((self.out / "report.html").read_text(), r'<h2>Results</h2>.*<img alt="[^"]*" src="data:image/png;base64,')
        self.assertEqual([one["between"] for one in self.report()["overlays"]], [["ONNX Runtime", "planrt on the CPU"]])
        np.savez(data, picture=np.ones(3))
        self.assertIn("no array 'image'", self.convert(MODELS / "small.onnx", "--data", data, code=2))

    def test_what_is_no_number_is_drawn_dark(self):
        volume, labels = np.zeros((4, 4, 4)), np.zeros((4, 4, 4), np.uint8)
        volume[1:] = 1
        drawn = overlay.picture(volume, labels, labels)
        volume[0, 0, 0] = np.nan
        with np.errstate(all="raise"):
            self.assertEqual(overlay.picture(volume, labels, labels), drawn)
            self.assertIsNotNone(overlay.picture(np.full((4, 4, 4), np.inf), labels, labels))

    def test_scans_of_the_users(self):
        voxels = np.random.default_rng(0).integers(0, 5, (8, 8, 8), np.int16)
        for name, content in (("a.nii", nifti(voxels)), ("b.NII.GZ", gzip.compress(nifti(voxels)))):
            (self.scratch / name).write_bytes(content)
        np.save(self.scratch / "c.npy", 2.0 * voxels + 1)  # as the scans say of their own numbers
        files = [self.scratch / name for name in ("a.nii", "b.NII.GZ", "c.npy")]
        self.convert(MODELS / "small.onnx", *[word for file in files for word in ("--data", file)])
        tests = json.loads((self.out / "planrt.json").read_text())["tests"]
        self.assertEqual([test["name"] for test in tests], ["random, batch 1", "a.nii", "b.NII.GZ", "c.npy"])
        for test in tests[1:]:
            (one,) = test["inputs"]
            found = np.fromfile(self.out / one["file"], np.float32) if one["file"].endswith(".bin") else np.load(self.out / one["file"])
            np.testing.assert_array_equal(found.reshape(8, 8, 8), 2.0 * voxels + 1)
        self.assertEqual(len(self.report()["overlays"]), 3)

    def test_what_prepares_the_users_scans(self):
        (self.scratch / "scan.nii").write_bytes(nifti(np.arange(12 * 9 * 8, dtype=np.int16).reshape(12, 9, 8)))
        code = """
            import numpy as np, planrt
            def crop(volume):
                assert isinstance(volume, planrt.Volume) and tuple(volume.spacing_mm) == (2.0, 0.75, 0.5), volume
                return volume.voxels[2:10, 1:]
            def both(volume):
                return {"image": np.stack([crop(volume)] * 2)[:, None]}
            def fails(volume):
                return {}["spacing"]
            number = 7
        """
        (self.scratch / "own_crop.py").write_text(textwrap.dedent(code))
        small, words = MODELS / "small.onnx", ["--data", self.scratch / "scan.nii"]
        before = os.getcwd()
        os.chdir(self.scratch)
        self.addCleanup(os.chdir, before)
        self.assertIn("'image' is 1x1x12x9x8, and the model takes ?x1x8x8x8; --prepare", self.convert(small, *words, code=2))
        for function in ("crop", "both"):
            self.convert(small, *words, "--prepare", f"own_crop:{function}")
            self.assertIn("scan.nii", {check["input"] for check in self.report()["checks"]})
        for text, function in (
            ("what prepares it fails: KeyError", "own_crop:fails"),
            ("no function 'number' that prepares", "own_crop:number"),
            ("none_such cannot be imported", "none_such:crop"),
            ("MODULE:FUNCTION", "own_crop"),
        ):
            said = self.convert(small, *words, "--prepare", function, code=2)
            self.assertIn(text, said)
            self.assertNotIn("Traceback", said)

    def test_bad_input_is_told_in_a_line(self):
        text = self.scratch / "text.onnx"
        text.write_text("this is no model")
        empty = self.scratch / "empty.onnx"
        empty.touch()
        small = MODELS / "small.onnx"
        for text, words in (
            ("there is no file", ["no_such_file.onnx"]),
            ("no ONNX model", [text]),
            ("is empty", [empty]),
            ("no file", [self.scratch]),
            ("say which sizes", [MODELS / "any_size.onnx"]),
            ("does not fit the model", [small, "--input", "image=1x1x9x8x8"]),
            ("no input 'picture'", [small, "--input", "picture=1x1x8x8x8"]),
            ("given twice", [small, "--input", "image=1x1x8x8x8", "--input", "image=1x1x8x8x8"]),
            ("given twice", [small, "--output", "prob", "--output", "prob"]),
            ("--rtol: given twice", [small, "--rtol", "1e-3", "--rtol", "1e-4"]),
            ("--exporter: given twice", [small, "--exporter", "auto", "--exporter=dynamo"]),
            ("from the smallest to the largest", [small, "--batch", "4:2:1"]),
            ("first axis is open", [MODELS / "fixed_batch.onnx", "--batch", "1:2:4"]),
            ("no precision", [small, "--precision", "fp8"]),
            ("RTOL:ATOL", [small, "--loose", "1"]),
            ("NAME=1x1x64x64x64", [small, "--input", "image"]),
            ("from 0 on", [small, "--rtol", "nan"]),
            ("from 0 to 1024", [small, "--threads", "-1"]),
            ("by its name", [small, "--data", text]),
            ("no arrays that can be read", [small, "--data", self.written("broken.npz")]),
            ("no arrays that can be read", [small, "--data", self.written("broken.npy")]),
            ("broken.nii", [small, "--data", self.written("broken.nii")]),
            ("broken.nii.gz", [small, "--data", self.written("broken.nii.gz")]),
            ("none.nii", [small, "--data", self.scratch / "none.nii"]),
            ("No such file", [small, "--data", "no_such.npz"]),
            ("none of float32", [small, "--data", self.array(np.full((1, 1, 8, 8, 8), 1e300))]),
            ("--batch", [small, "--batch", "99999999999999999999"]),
            ("--seed", [small, "--seed", "-1"]),
            ("--threads", [small, "--threads", "99999999"]),
            ("--device", [small, "--device", "99999999999"]),
            ("from 1 to 256", [small, "--concurrency", "100000"]),
            ("no node", [small, "--keep-float32", "no_such_node"]),
            # An ONNX file is not exported.
            ("--dynamic picture:2", [small, "--dynamic", "picture:2"]),
            ("--dynamic image:2", [small, "--dynamic", "image:2"]),
            ("which are 'prob'", [small, "--output", "picture"]),
            ("--opset 99", [small, "--opset", "99"]),
            ("--exporter", [small, "--exporter", "dynamo"]),
            ("--symbolics", [small, "--symbolics", __file__]),
        ):
            with self.subTest(text):
                said = self.convert(*words, code=2)
                self.assertIn(text, said)
                self.assertNotIn("Traceback", said)
        self.assertFalse(self.out.exists())
        self.out.touch()
        self.assertIn("no folder", self.convert(small, code=2))

    def test_a_model_that_onnx_runtime_refuses_is_a_check_that_failed(self):
        node = helper.make_node("Nonesuch", ["x"], ["y"], domain="somebody's")
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid("somebody's", 1)]
        path = self.scratch / "refused.onnx"
        onnx.save(helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]), opset_imports=opsets, ir_version=8), path)
        self.assertIn("ONNX Runtime itself fails", self.convert(path, code=1))

    def test_a_full_disk_leaves_no_folder_that_loads(self):
        for limit in (1_000, 2_000, 4_000):
            with self.subTest(limit):
                command = [sys.executable, "-m", "planrt_convert", str(MODELS / "small.onnx"), "--out", str(self.out), "--precision", "none", "--seconds", "0"]

                def small_files():
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

                ended = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_files)
                self.assertEqual(ended.returncode, 2, ended.stderr)
                self.assertIn("File too large", ended.stderr)
                self.assertNotIn("Traceback", ended.stderr)
                self.assertFalse((self.out / "planrt.json").exists())

    def test_without_tensorrt_plans_are_not_built_and_that_is_said(self):
        self.convert(MODELS / "small.onnx", "--precision", "fp32,best", "--tensorrt", self.scratch)
        report = self.report()
        self.assertTrue(report["passed"])
        self.assertEqual([plan["built"] for plan in report["plans"]], [False, False])
        self.assertIn("plan best: ", "".join(report["not_done"]))
        self.assertIn("Not built", (self.out / "report.html").read_text())

    def test_plans_are_built(self):
        if TENSORRT is None:
            self.skipTest("no TensorRT-RTX is given")
        self.convert(MODELS / "small.onnx", "--precision", "fp32", "--tensorrt", TENSORRT)
        (plan,) = self.report()["plans"]
        self.assertEqual((plan["built"], plan["run"]), (True, False))  # it builds without a GPU
        passport = json.loads((self.out / "planrt.json").read_text())
        self.assertEqual(passport["plans"][0]["file"], "plans/fp32.plan")
        self.assertEqual(passport["plans"][0]["profiles"][0]["image"]["max"], [4, 1, 8, 8, 8])
        self.assertTrue(planrt.Engine.from_folder(self.out, allow_cpu=True).self_test(self.out)["agrees"])
        said = self.convert(MODELS / "small.onnx", "--precision", "fp16", "--tensorrt", TENSORRT, code=1)
        self.assertIn("convert the ONNX model", said)

    def test_without_pytorch_its_models_are_refused(self):
        if HAS_TORCH:
            self.skipTest("PyTorch is here")
        path = self.scratch / "model.pt"
        path.write_bytes(b"PK")
        self.assertIn("needs PyTorch", self.convert(path, code=2))


class FoldedHead(Case):
    """A model with and without its last convolution."""

    SHAPE = (8, 9, 10)
    RECIPE = {
        "planrt_recipe": 1,
        "tiling": {"patch": SHAPE, "mirrored": [True, False, True]},
        "resampling": {"spacing_mm": [1.5, 1.25, 1], "geometry": "edges"},
    }

    def model(self, classes=7, tail=(), kernel=1, rows=True, seed=0):
        """A convolution, an activation, a convolution and what follows that."""
        random = np.random.default_rng(seed)

        def weight(name, *shape):
            return onnx.numpy_helper.from_array(random.normal(0, 0.5, shape).astype(np.float32), name)

        pads = [kernel // 2] * 6
        nodes = [
            helper.make_node("Conv", ["image", "first.weight", "first.bias"], ["first"], pads=[1] * 6),
            helper.make_node("LeakyRelu", ["first"], ["features"], alpha=0.1),
            helper.make_node("Identity", ["last.weight"], ["weight"]),
            helper.make_node("Conv", ["features", "weight", *(["last.bias"] if rows else [])], ["last"], pads=pads),
        ]
        value = "last"
        for kind in [*tail, "Identity"]:
            nodes.append(helper.make_node(kind, [value], [f"{value}.{kind}"], **({"axis": 1} if kind == "Softmax" else {})))
            value += f".{kind}"
        nodes[-1].output[0] = "logits"
        weights = [weight("first.weight", 4, 1, 3, 3, 3), weight("first.bias", 4), weight("last.weight", classes, 4, *[kernel] * 3)]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, *self.SHAPE])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes, *self.SHAPE])],
            [*weights, *([weight("last.bias", classes)] if rows else [])],
        )
        path = self.scratch / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return path

    def folder(self, name, model, *words):
        self.out = self.scratch / name
        self.convert(model, *words)
        return self.out

    def segmenter(self, folder, decision, **more):
        (folder / "recipe.json").write_text(json.dumps({**self.RECIPE, "decision": decision, **more}))
        return planrt.Segmenter(folder, threads=2)

    def volume(self):
        return planrt.Volume(np.random.default_rng(1).normal(0, 3, (21, 26, 19)).astype(np.float32), (1.3, 1.1, 1.0))

    def test_labels_are_the_same_but_for_near_ties(self):
        for rows in (True, False):
            path = self.model(rows=rows)
            whole, folded = self.folder("whole", path), self.folder("folded", path, "--fold-head")
            report = self.report()
            self.assertEqual(report["head"], {"file": "head.bin", "features": 4, "channels": 7, "input": "features", "output": "logits"})
            between = {tuple(check["between"]) for check in report["checks"]}
            self.assertIn(("blended values", "the head of blended features"), between)
            self.assertIn(("ONNX Runtime", "planrt on the CPU"), between)
            self.assertEqual({check["output"] for check in report["checks"]}, {"logits"})
            self.assertIn("7 channels of 4 features", (folded / "report.html").read_text())
            with self.assertRaises(planrt.Error) as caught:
                planrt.Engine.from_folder(folded)
            self.assertEqual(caught.exception.code, planrt.ErrorCode.UNSUPPORTED)
            self.assertIn("planrt_segmenter_load", str(caught.exception))
            engine = planrt.Engine.from_folder(folded, allow_features=True)
            self.assertEqual(list(engine.outputs), ["features"])
            self.assertTrue(engine.self_test(folded)["agrees"])
            with self.subTest(rows=rows, made="over the engine of the folder"):
                recipe = {**self.RECIPE, "decision": {"labels": list(range(7)), "activation": "softmax"}}
                made = planrt.Segmenter.from_folds([engine], recipe)
                np.testing.assert_array_equal(
                    made.run(self.volume()).labels, self.segmenter(folded, recipe["decision"]).run(self.volume()).labels
                )
            labels = {"labels": list(range(7)), "activation": "softmax"}
            regions = {"activation": "sigmoid", "regions": [{"channel": number, "label": 2 + number} for number in (1, 5, 0, 3, 6)]}
            for decision, more in (
                (labels, {}),
                (labels, {"resampling": None, "output": "logits"}),
                (regions, {}),
                ({**regions, "activation": "softmax", "threshold": 0.3}, {}),
                ({**labels, "before_resampling": True}, {}),
                ({**labels, "blend_probabilities": True, "activation": "none"}, {}),
            ):
                with self.subTest(rows=rows, decision=decision, more=more):
                    before = decision.get("before_resampling")
                    one, other = (self.segmenter(folder, decision, **more) for folder in (whole, folded))
                    asked = {} if before else {"logits": True}
                    expected, found = one.run(self.volume(), **asked), other.run(self.volume(), **asked)
                    changed = expected.labels != found.labels
                    self.assertGreater(len(np.unique(expected.labels)), 2)
                    if before:
                        self.assertLess(changed.mean(), 1e-3)
                        continue
                    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-5)
                    two = np.sort(expected.scores, axis=0)[-2:]
                    ties = (two[1] - two[0] < 1e-4) | (np.abs(expected.scores).min(0) < 1e-4)
                    self.assertFalse((changed & ~ties).any())
                    np.testing.assert_array_equal(other.run(self.volume()).labels, found.labels)
                    # A budget is kept with the same labels.
                    most, least, *_ = other.estimate(self.volume())
                    self.assertLess(least, most)
                    np.testing.assert_array_equal(other.run(self.volume(), memory_budget=least).labels, found.labels)
                    with self.assertRaises(planrt.Error) as raised:
                        other.run(self.volume(), memory_budget=least - 1)
                    self.assertEqual(raised.exception.code, planrt.ErrorCode.OUT_OF_MEMORY)

    def test_memory_does_not_grow_with_the_classes(self):
        most = []
        for classes in (25, 118):
            folder = self.folder(f"of_{classes}", self.model(classes), "--fold-head")
            volume = planrt.Volume(np.zeros((40, 200, 200), np.float32), (1, 1, 1))
            most.append(self.segmenter(folder, {"labels": list(range(classes))}, resampling=None).estimate(volume).most)
        self.assertLess(most[1], 1.05 * most[0])

    def test_what_cannot_be_done_with_features_is_refused(self):
        folder = self.folder("folded", self.model(), "--fold-head")
        labels = {"labels": list(range(7)), "activation": "softmax"}
        for decision, words in (
            ({**labels, "blend_probabilities": True}, "blends probabilities"),
            ({**labels, "resample_probabilities": True}, "resamples probabilities"),
        ):
            with self.assertRaisesRegex(planrt.Error, f"{words}.*--fold-head") as raised:
                self.segmenter(folder, decision)
            self.assertEqual(raised.exception.code, planrt.ErrorCode.UNSUPPORTED)
        self.segmenter(folder, {**labels, "resample_probabilities": True}, resampling=None)
        with self.assertRaisesRegex(planrt.Error, "head of .logits. alone"):
            self.segmenter(folder, labels, output="other")
        with self.assertRaisesRegex(planrt.Error, "labels for 4 channels; the network gives 7"):
            self.segmenter(folder, {"labels": [0, 1, 2, 3]})
        # The file by itself, too; its engine knows its head where it is allowed.
        file = folder / json.loads((folder / "planrt.json").read_text())["onnx"]
        with self.assertRaisesRegex(planrt.Error, "gives features.*planrt_segmenter_load") as raised:
            planrt.Engine(file)
        self.assertEqual(raised.exception.code, planrt.ErrorCode.UNSUPPORTED)
        made = planrt.Segmenter.from_folds(planrt.Engine(file, allow_features=True), {**self.RECIPE, "decision": labels})
        np.testing.assert_array_equal(made.run(self.volume()).labels, self.segmenter(folder, labels).run(self.volume()).labels)
        # Folds whose last convolutions differ, or of which one has its own.
        folds = self.scratch / "folds"
        for number, words in ((0, ["--fold-head"]), (1, ["--fold-head"])):
            self.folder(f"folds/fold_{number}", self.model(seed=number), *words)
        with self.assertRaisesRegex(planrt.Error, "folds' last convolutions.*not the same"):
            self.segmenter(folds, labels)
        shutil.rmtree(folds / "fold_1")
        shutil.copytree(folds / "fold_0", folds / "fold_1")
        self.segmenter(folds, labels).run(self.volume())
        (folder / "head.bin").write_bytes((folder / "head.bin").read_bytes()[:-4] + bytes(4))
        with self.assertRaisesRegex(planrt.Error, "head.bin"):
            self.segmenter(folder, labels)

    def test_models_that_do_not_end_so_are_told_in_a_line(self):
        def refused(path, words):
            said = self.convert(path, "--fold-head", code=cli.WRONG)
            self.assertRegex(said, words)
            self.assertFalse((self.out / "planrt.json").exists())

        refused(self.model(tail=["Softmax"]), "comes from Softmax: .*probabilities that are blended")
        refused(self.model(tail=["Relu"]), "comes from Relu")
        refused(self.model(kernel=3), "has pads|has weights of")
        model = onnx.load(str(self.model()))
        model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4, *self.SHAPE]))
        onnx.save(model, self.scratch / "two.onnx")
        refused(self.scratch / "two.onnx", "one output, and this one gives 'logits', 'features'")
        refused(MODELS / "tiny.onnx", "fold-head")


class PlanOfNoGpu:
    """In the place of a plan's engine: the ONNX model on the CPU, for less than float32 with each value rounded as float16 has it."""

    def __init__(self, plan):
        told = json.loads(Path(plan["file"]).read_text())
        self.model, keep = onnx.load(told["model"]), set(told["keep"])
        if told["precision"] != "fp32":
            self.model = search.rounded(self.model, keep)
        self.keep, self.nodes = keep, [node for node in onnx.load(told["model"]).graph.node]

    def run(self, inputs):
        return numbers.Reference(self.model.SerializeToString(), optimized=False).run(inputs)

    def metadata(self):
        return {"builder": "none", "builder_version": "0"}

    def inspect(self):
        return {"layers": [{"name": f"{one.name} + something", "type": one.op_type, "precision": "FP32" if one.name in self.keep else "FP16"} for one in self.nodes]}

    def bench(self, shapes, *, concurrency, largest_batch, duration, **_more):
        runs = 100 * concurrency * largest_batch
        latency = {"median_ms": 1.0, "percentiles_ms": {"90": 2.0, "99": 3.0}}
        return {"runs": runs, "seconds": duration, "latency": latency, "mean_batch_items": largest_batch}


def built_for_no_gpu(runtime, model, target, precision, wanted, progress):
    target.write_text(json.dumps({"model": str(model), "precision": precision, "keep": list(wanted.keep_float32_nodes)}))
    told = {"built": True, "precision": [precision], "file": str(target), "sha256": planrt.sha256(target), "size_bytes": 1}
    return {**told, **({"keep_float32": list(wanted.keep_float32_nodes)} if wanted.keep_float32_nodes else {})}


class WithPlans(Case):
    """What is done with plans that run, where there is no GPU: they are put in place of TensorRT's."""

    def setUp(self):
        super().setUp()
        for name, instead in (("build", built_for_no_gpu), ("load", lambda _runtime, plan: (PlanOfNoGpu(plan), "", False))):
            patch = unittest.mock.patch.object(plans, name, instead)
            patch.start()
            self.addCleanup(patch.stop)
        patch = unittest.mock.patch.object(speed.planrt, "Engine", self.engine)
        patch.start()
        self.addCleanup(patch.stop)

    ENGINE = planrt.Engine

    def engine(self, model, *words, **more):
        return PlanOfNoGpu({"file": model}) if str(model).endswith(".plan") else self.ENGINE(model, *words, **more)

    engine.from_folder = planrt.Engine.from_folder

    def overflowing(self):
        """A network of which float16 cannot hold one value: the sum of many large numbers, which is divided away again."""
        weights = np.full((2, 1, 3, 3, 3), 4000, np.float32)
        nodes = [
            helper.make_node("Relu", ["image"], ["positive"], name="first"),
            helper.make_node("Conv", ["positive", "w"], ["large"], name="grows", pads=[1] * 6),
            helper.make_node("Mul", ["large", "small"], ["back"], name="shrinks"),
            helper.make_node("Softmax", ["back"], ["prob"], name="last", axis=1),
        ]
        graph = helper.make_graph(
            nodes,
            "overflowing",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8, 8])],
            [helper.make_tensor_value_info("prob", TensorProto.FLOAT, ["n", 2, 8, 8, 8])],
            [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(np.array([1e-5, 3e-5], np.float32).reshape(1, 2, 1, 1, 1), "small")],
        )
        path = self.scratch / "overflowing.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return path

    def test_throughput_checks_and_layers_of_plans(self):
        self.convert(MODELS / "small.onnx", "--precision", "fp32,best", "--batch", "1:2:4", "--seconds", "1", "--concurrency", "1,4,8")
        report = self.report()
        self.assertEqual(
            {check["input"] for check in report["checks"] if check["between"][1] == "plan best"}, {f"random, batch {n}" for n in (1, 2, 3, 4)}
        )
        measured = [(row["engine"], row["concurrency"], row["runs_per_second"]) for row in report["throughput"]]
        self.assertIn(("plan best", 8, 800.0), measured)
        self.assertIn(("plan best, dynamic batching", 8, 3200.0), measured)
        self.assertEqual(len(measured), 12)
        page = (self.out / "report.html").read_text()
        self.assertIn("From ONNX to the plan best", page)
        nodes = len(onnx.load(MODELS / "small.onnx").graph.node)
        self.assertIn(f"{nodes} of {nodes} nodes are in {nodes} layers", page)

    def test_what_must_stay_float32_is_found(self):
        self.convert(self.overflowing(), "--precision", "fp16")
        (plan,) = self.report()["plans"]
        self.assertEqual(plan["keep_float32"], ["grows"])
        self.assertTrue(plan["search"]["found"])
        passport = json.loads((self.out / "planrt.json").read_text())
        self.assertEqual(passport["plans"][0]["keep_float32"], ["grows"])
        self.assertIn("--keep-float32 grows", (self.out / "report.html").read_text())
        said = self.convert(self.overflowing(), "--precision", "fp16", "--keep-float32", "grows")
        self.assertNotIn("looking for", said)

    def test_without_a_search_the_check_fails(self):
        said = self.convert(self.overflowing(), "--precision", "fp16,fp32", "--no-search", code=1)
        self.assertIn("failed: ONNX Runtime and plan fp16", said)
        report = self.report()
        self.assertTrue([check for check in report["checks"] if check["between"][1] == "plan fp32" and check["passed"]])

    def test_a_plan_that_was_damaged_meanwhile_is_built_again(self):
        with unittest.mock.patch.object(steps.Conversion, "_write", side_effect=KeyboardInterrupt):
            self.convert(MODELS / "small.onnx", "--precision", "fp32", code=cli.INTERRUPTED)
        (self.scratch / "out.work" / "fp32.plan").write_text("{")
        said = self.convert(MODELS / "small.onnx", "--precision", "fp32,best")
        self.assertIn("numbers: done before", said)
        self.assertNotIn("plan fp32: done before", said)


class Numbers(unittest.TestCase):
    def test_what_is_no_number_is_equal_to_itself_alone(self):
        odd = np.array([1, np.nan, np.inf, -np.inf], np.float32)
        self.assertTrue(numbers.compare(odd, odd, 0, 0)["passed"])
        self.assertEqual((numbers.compare(odd, odd, 0, 0)["nan"], numbers.compare(odd, odd, 0, 0)["infinite"]), (1, 2))
        for place in range(4):
            other = odd.copy()
            other[place] = 7
            self.assertFalse(numbers.compare(odd, other, 1e-4, 1e-4)["passed"] or numbers.compare(other, odd, 1e-4, 1e-4)["passed"])


    def test_normalizations_in_float64(self):
        inputs = {"x": 1e4 + np.random.default_rng(0).standard_normal((2, 2, 40, 40, 40), np.float32)}
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2, 40, 40, 40]) for name in "xy"]
        weights = [onnx.numpy_helper.from_array(np.array(w, np.float32), n) for n, w in (("s", [2, 3]), ("b", [0.5, -1]))]
        whole = inputs["x"].astype(np.float64)
        axes = (2, 3, 4)
        right = (whole - whole.mean(axes, keepdims=True)) / np.sqrt(whole.var(axes, keepdims=True) + 1e-3)
        right = right * np.array([2, 3]).reshape(1, 2, 1, 1, 1) + np.array([0.5, -1]).reshape(1, 2, 1, 1, 1)
        for opset in (9, 17, 18):
            node = helper.make_node("InstanceNormalization", ["x", "s", "b"], ["y"], epsilon=1e-3)
            graph = helper.make_graph([node], "g", values[:1], values[1:], weights)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
            found = numbers.Reference(numbers.with_exact_norms(model).SerializeToString()).run(inputs)["y"]
            np.testing.assert_allclose(found, right, 1e-6, 1e-6)
        self.assertIsNone(numbers.with_exact_norms(onnx.load(MODELS / "small.onnx")))


class Names(unittest.TestCase):
    def test_the_precision_in_a_kernels_name(self):
        for kernel, precision in (
            ("sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x64x16", "TF32"),
            ("sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x64x32", "FP16"),
            ("sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32", "INT8"),
            ("sm50_xmma_cublas_gemm_h884", "FP16"),
            ("ampere_scudnn_128x64_relu_interior_nn_v1", "FP32"),
            ("", ""),
        ):
            with self.subTest(kernel):
                self.assertEqual(plans.precision_of(kernel), precision)

    def test_what_instance_normalization_becomes(self):
        for without_libraries, given, becomes in (
            (False, "default", "DEFAULT"),
            (True, "default", "DECOMPOSED"),
            (False, "plugin", "PLUGIN"),
            (True, "native", "NATIVE"),
        ):
            with self.subTest((without_libraries, given)):
                options = plans.options("fp32", {}, [], Path("timing.cache"), without_libraries, given)
                self.assertEqual(options.instance_normalization.name, becomes)

    def test_the_nodes_in_a_layers_name(self):
        named = plans.named(["/down/Conv", "/down/Conv_1", "Conv", "/act/Relu", "/norm"])
        for layer, nodes in (
            ("/down/Conv + /act/Relu", ["/down/Conv", "/act/Relu"]),
            ("/down/Conv_1", ["/down/Conv_1"]),
            ("PWN(/act/Relu)", ["/act/Relu"]),
            ("Conv", ["Conv"]),
            ("/norm/mean", ["/norm"]),
            ("/normal", []),
            ("Reformatting CopyNode for Input Tensor 0 to /down/Conv", []),
        ):
            with self.subTest(layer):
                self.assertEqual(plans.nodes_in(layer, named), nodes)


@unittest.skipUnless(HAS_TORCH, "no PyTorch")
class FromTorch(Case):
    NETWORK = """
        import torch

        class Network(torch.nn.Module):
            def __init__(self):
                super().__init__()
                torch.manual_seed(0)
                self.first = torch.nn.Conv3d(1, 4, 3, padding=1)
                self.norm = torch.nn.InstanceNorm3d(4)
                self.group = torch.nn.GroupNorm(2, 4)
                self.last = torch.nn.Conv3d(4, 2, 1)

            def forward(self, x):
                return self.last(self.group(torch.relu(self.norm(self.first(x))))).softmax(1)

        class Logits(Network):
            def forward(self, x):
                return self.last(self.group(torch.relu(self.norm(self.first(x)))))

        def Folded():
            torch.manual_seed(0)
            norm = torch.nn.BatchNorm3d(2)
            norm.running_mean.fill_(0.5)
            norm.running_var.fill_(3.0)
            return torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), norm, torch.nn.ReLU())

        class Asinh(torch.nn.Module):
            def forward(self, x):
                return torch.asinh(x)

        class Up(torch.nn.Module):
            def forward(self, x):
                return torch.nn.functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)

        class Trains(torch.nn.Module):  # as an InstanceNorm with track_running_stats that stays in training mode
            def __init__(self):
                super().__init__()
                self.register_buffer("mean", torch.full((2,), 0.5))
                self.register_buffer("var", torch.full((2,), 2.0))

            def forward(self, x):
                return torch.nn.functional.instance_norm(torch.cat([x, 3 * x], 1), self.mean, self.var, use_input_stats=True, momentum=0.0)

        class Fixed(torch.nn.Module):  # whose extents become constants when it is traced
            def forward(self, x):
                n, c, d, h, w = x.shape
                return (2 * x).reshape(-1, int(c), int(d) * int(h), int(w)).softmax(2).reshape(-1, int(c), int(d), int(h), int(w))

        class FixedBatch(torch.nn.Module):
            def forward(self, x):
                return x.view(1, 960).softmax(1)

        class Writes(torch.nn.Module):  # to what it is given
            def forward(self, x):
                return x.mul_(2) + 1

        class GivesNone(torch.nn.Module):  # as a network without its auxiliary output
            def forward(self, x):
                return x + 1, None

        class Gives(torch.nn.Module):
            def __init__(self, what):
                super().__init__()
                self.what = what

            def forward(self, x):
                if self.what == "end":
                    raise SystemExit(0)
                return x * 1e38 * 1e38 if self.what == "infinity" else ()

        def nothing():
            return Gives("nothing")

        def infinity():
            return Gives("infinity")

        def end():
            return Gives("end")

        def raises():
            raise RuntimeError("a fault of its own")

        def ends():
            raise SystemExit(0)

        def fails():
            class Bad(torch.nn.Module):
                def forward(self, x):
                    return torch.linalg.matrix_exp(x)
            return Bad()
    """
    SIZES = ["--input", "INPUT__0=1x1x8x10x12", "--output", "OUTPUT__0"]

    def setUp(self):
        super().setUp()
        (self.scratch / "networks.py").write_text(textwrap.dedent(self.NETWORK))
        old = os.getcwd()
        os.chdir(self.scratch)
        self.addCleanup(os.chdir, old)
        self.addCleanup(sys.modules.pop, "networks", None)

    def test_a_model_that_writes_to_its_input(self):
        self.convert("networks:Writes", "--input", "x=1x1x4x4", "--batch", "1:2:2", "--seconds", "0.05")
        self.assertTrue(planrt.Engine.from_folder(self.out).self_test(self.out)["agrees"])
        mapping = self.report()["operators"]["mapping"]
        self.assertEqual(mapping["unmatched"], [])

    def test_models_that_give_nothing_infinity_or_an_end(self):
        sizes = ["--input", "x=1x1x4x4", "--batch", "1"]
        self.assertIn("the model gives no tensor", self.convert("networks:nothing", *sizes, code=cli.WRONG))
        self.convert("networks:GivesNone", *sizes)
        self.convert("networks:infinity", *sizes)
        (check, _) = self.report()["checks"]
        self.assertEqual(check["infinite"], 16)
        self.assertIn("ends Python", self.convert("networks:end", *sizes, code=cli.WRONG))

    def test_what_is_folded_is_part_of_the_next(self):
        self.convert("networks:Folded", *self.SIZES)
        mapping = self.report()["operators"]["mapping"]
        self.assertEqual([(row["torch"], row["onnx"]) for row in mapping["summary"]], [("_convolution + batch_norm", "Conv"), ("relu", "Relu")])
        self.assertEqual((mapping["operators"], mapping["unmatched"]), (3, []))
        self.assertIn("many to one", (self.out / "report.html").read_text())

    def network(self, name):
        sys.path.insert(0, str(self.scratch))
        try:
            return getattr(importlib.import_module("networks"), name)().eval()
        finally:
            sys.path.pop(0)

    def agrees(self):
        report = self.report()
        self.assertEqual(planrt.Engine.from_folder(self.out).inputs["INPUT__0"].shape[0], -1)
        self.assertIn(["PyTorch", "ONNX Runtime"], [check["between"] for check in report["checks"]])
        self.assertIn(["PyTorch", "planrt on the CPU"], [check["between"] for check in report["checks"]])
        return report

    def test_functions(self):
        self.convert("networks:Network", *self.SIZES, "--batch", "1:2:3")
        report = self.agrees()
        summary = {row["torch"]: row["onnx"] for row in report["operators"]["mapping"]["summary"]}
        self.assertEqual(summary["instance_norm"], "InstanceNormalization")
        self.assertIn(" + ", summary["group_norm"])
        self.assertIn("one to many", (self.out / "report.html").read_text())

    def test_torchscript_traced_and_scripted(self):
        import torch

        for make in (lambda net: torch.jit.trace(net, torch.zeros(1, 1, 8, 10, 12)), torch.jit.script):
            make(self.network("Network")).save("model.pt")
            self.convert("model.pt", *self.SIZES)
            self.assertEqual(self.agrees()["source"]["kind"], "TorchScript")

    def test_exported_programs(self):
        import torch

        dims = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(self.network("Network"), (torch.zeros(2, 1, 8, 10, 12),), dynamic_shapes=dims)
        torch.export.save(program, "model.pt2")
        self.convert("model.pt2", *self.SIZES, "--opset", "18")
        self.assertEqual(self.agrees()["source"]["kind"], "torch.export program")

    def test_a_folded_head(self):
        """Of a network that gives logits: the labels of both folders."""
        recipe = {"planrt_recipe": 1, "tiling": {"patch": [8, 10, 12], "mirrored": [True] * 3}, "decision": {"labels": [0, 1]}}
        volume = planrt.Volume(np.random.default_rng(2).standard_normal((20, 23, 17), np.float32), (1, 1, 1))
        found = []
        for name, words in (("whole", []), ("folded", ["--fold-head"])):
            self.out = self.scratch / name
            self.convert("networks:Logits", *self.SIZES, *words)
            (self.out / "recipe.json").write_text(json.dumps(recipe))
            found.append(planrt.Segmenter(self.out).run(volume, logits=True))
        checks = {tuple(check["between"]) for check in self.report()["checks"]}
        self.assertTrue({("PyTorch", "ONNX Runtime"), ("PyTorch", "planrt on the CPU"), ("blended values", "the head of blended features")} <= checks)
        self.assertEqual(self.report()["head"]["features"], 4)
        np.testing.assert_allclose(found[1].scores, found[0].scores, rtol=1e-4, atol=1e-4)
        ties = np.abs(found[0].scores[1] - found[0].scores[0]) < 2e-4
        self.assertFalse(((found[0].labels != found[1].labels) & ~ties).any())
        self.convert("networks:Network", *self.SIZES, "--fold-head", code=cli.WRONG)

    def test_symbolics_of_the_users(self):
        said = self.convert("networks:Asinh", *self.SIZES, "--opset", "9", code=2)
        self.assertIn("asinh", said)
        Path("symbolic.py").write_text(
            "import torch\ntorch.onnx.register_custom_op_symbolic('aten::asinh', lambda g, a: g.op('Asinh', a), 9)\n"
        )
        self.convert("networks:Asinh", *self.SIZES, "--opset", "9", "--symbolics", "symbolic.py")
        self.agrees()

    def test_a_trap_is_noticed_by_its_numbers(self):
        self.convert("networks:Up", *self.SIZES, "--opset", "9", code=1)
        report = self.report()
        wrong = [check["between"] for check in report["checks"] if not check["passed"]]
        self.assertIn(["PyTorch", "ONNX Runtime"], wrong)
        self.assertIn("--opset 11", "".join(report["operators"]["hints"]))
        self.convert("networks:Up", *self.SIZES, "--opset", "17")
        self.agrees()

    def test_other_traps_are_noticed(self):
        import torch

        self.convert("networks:Trains", *self.SIZES, "--batch", "1", code=1)
        self.assertIn("kept in training mode", "".join(self.report()["operators"]["hints"]))
        self.assertIn("track_running_stats", self.convert("networks:Trains", *self.SIZES, code=2))
        sizes = [*self.SIZES, "--dynamic", "INPUT__0:3"]
        said = self.convert("networks:Fixed", *sizes, code=1)
        self.assertIn("tracing may have fixed its extents", said)
        wrong = {check["input"] for check in self.report()["checks"] if not check["passed"]}
        self.assertEqual(wrong, {"random, other extents"})
        self.convert("networks:Network", *sizes)
        self.assertIn("random, other extents", {check["input"] for check in self.report()["checks"]})
        torch.jit.trace(self.network("FixedBatch"), torch.zeros(1, 1, 8, 10, 12)).save("fixed.pt")
        self.assertIn("give --batch 1", self.convert("fixed.pt", *self.SIZES, code=2))
        self.convert("fixed.pt", *self.SIZES, "--batch", "1")

    def test_a_failed_export_is_told_in_a_line(self):
        """By a process of its own: PyTorch's C++ prints the whole graph, past what Python's standard output is."""
        command = [sys.executable, "-m", "planrt_convert", "networks:fails", "--input", "x=1x4x4", "--out", "out"]
        ended = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual(ended.returncode, 2, ended.stderr)
        self.assertEqual(ended.stdout, "")
        self.assertIn("the export to ONNX", ended.stderr)
        self.assertNotIn("graph(", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)

    def test_bad_models(self):
        import torch

        torch.save({"weight": torch.zeros(3)}, "weights.pt")
        Path("text.pt").write_text("no model")
        for text, words in (
            ("holds weights", ["weights.pt", *self.SIZES]),
            ("neither ONNX nor a PyTorch file", ["text.pt", *self.SIZES]),
            ("cannot be imported", ["no_such_module:Network", *self.SIZES]),
            ("has no function", ["networks:Nothing", *self.SIZES]),
            ("say what the model takes", ["networks:Network"]),
            ("networks:raises fails: RuntimeError: a fault of its own", ["networks:raises", *self.SIZES]),
            ("networks:ends fails: SystemExit", ["networks:ends", *self.SIZES]),
            ("text.pt fails: SyntaxError", ["networks:Network", *self.SIZES, "--symbolics", "text.pt"]),
            ("the export to ONNX", ["networks:fails", "--input", "x=1x4x4"]),
        ):
            with self.subTest(text):
                said = self.convert(*words, code=2)
                self.assertIn(text, said)
                self.assertLess(len(said.splitlines()), 12)  # no dump of a graph


@unittest.skipUnless(HAS_TORCH and DEEPBET and HEADS, "no PyTorch, or no deepbet, or no head")
class Deepbet(Case):
    """The network of deepbet that finds the brain in a whole head, from its TorchScript to a folder."""

    def test_from_torchscript_to_a_folder(self):
        heads = Path(HEADS)
        words = ["--input", "INPUT__0=1x1x128x128x128", "--output", "OUTPUT__0", "--batch", "1:1:2"]
        words += ["--data", heads / "ch2.nii.gz", "--prepare", "prepare:head"]
        if TENSORRT is not None:
            words += ["--tensorrt", TENSORRT, "--precision", "fp32"]
        self.convert(Path(DEEPBET, "bbox_model.pt"), *words)
        report = self.report()
        self.assertIn("ch2.nii.gz", {check["input"] for check in report["checks"]})
        self.assertEqual(report["operators"]["mapping"]["unmatched"], [])
        self.assertEqual([plan["built"] for plan in report["plans"]], [True] if TENSORRT is not None else [])
        for one in report["overlays"]:
            for label in one["labels"]:
                self.assertGreater(label["dice"], 0.9999)
        self.assertIn("data:image/png", (self.out / "report.html").read_text())
        engine = planrt.Engine.from_folder(self.out, allow_cpu=True)
        head = prepare.head(planrt.Scan(heads / "ch2.nii.gz").volume)
        found = engine.run({"INPUT__0": head[None, None]})["OUTPUT__0"][0, 1] > 0.5
        brain = prepare.small(prepare.oriented(planrt.Scan(heads / "ch2bet.nii.gz").volume)) > 0
        dice = 2 * (found & brain).sum() / (found.sum() + brain.sum())
        self.assertGreater(dice, 0.9)
        if keep := os.environ.get("PLANRT_KEEP_REPORT"):
            shutil.copyfile(self.out / "report.html", keep)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-") and Path(sys.argv[1]).is_dir():
        TENSORRT = sys.argv.pop(1)
    unittest.main(argv=sys.argv)
