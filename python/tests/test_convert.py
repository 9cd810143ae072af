#!/usr/bin/env python3
"""planrt-convert: PLANRT_LIBRARY=libplanrt.so.0 PLANRT_MODELS=folder test_convert.py [TENSORRT_RTX]

Without PyTorch, what begins with a PyTorch model is left out; without TENSORRT_RTX, the folder of TensorRT-RTX, what builds plans.
"""

import contextlib
import importlib.util
import io
import json
import os
import re
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
from planrt_convert import cli, steps

MODELS = Path(os.environ["PLANRT_MODELS"])
HAS_TORCH = importlib.util.find_spec("torch") is not None
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
        command = [str(model), "--out", str(self.out), "--seconds", "0", *map(str, words)]
        if "--precision" not in words:
            command += ["--precision", "none"]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            got = cli.main(command)
        self.assertEqual(got, code, said.getvalue())
        return said.getvalue()

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
        self.assertIsNone(re.search(r"<script|<link|<img|https?://", page))  # nothing from elsewhere
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
        self.assertNotIn("done before", self.convert(model, "--seed", "1"))  # other options

    def test_inputs_of_the_users(self):
        data = self.scratch / "heads.npz"
        np.savez(data, image=np.ones((2, 1, 8, 8, 8), np.float32))
        self.convert(MODELS / "small.onnx", "--batch", "1", "--data", data)
        passport = json.loads((self.out / "planrt.json").read_text())
        self.assertEqual([test["name"] for test in passport["tests"]], ["random", "heads.npz"])
        np.savez(data, picture=np.ones(3))
        self.assertIn("no array 'image'", self.convert(MODELS / "small.onnx", "--data", data, code=2))

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
            ("from the smallest to the largest", [small, "--batch", "4:2:1"]),
            ("first axis is open", [MODELS / "fixed_batch.onnx", "--batch", "1:2:4"]),
            ("no precision", [small, "--precision", "fp8"]),
            ("RTOL:ATOL", [small, "--loose", "1"]),
            ("NAME=1x1x64x64x64", [small, "--input", "image"]),
        ):
            with self.subTest(text):
                said = self.convert(*words, code=2)
                self.assertIn(text, said)
                self.assertNotIn("Traceback", said)
        self.assertFalse(self.out.exists())
        self.out.touch()
        self.assertIn("no folder", self.convert(small, code=2))

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

        class Asinh(torch.nn.Module):
            def forward(self, x):
                return torch.asinh(x)

        class Up(torch.nn.Module):
            def forward(self, x):
                return torch.nn.functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)

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
            ("the export to ONNX", ["networks:fails", "--input", "x=1x4x4"]),
        ):
            with self.subTest(text):
                said = self.convert(*words, code=2)
                self.assertIn(text, said)
                self.assertLess(len(said.splitlines()), 12)  # no dump of a graph


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-") and Path(sys.argv[1]).is_dir():
        TENSORRT = sys.argv.pop(1)
    unittest.main(argv=sys.argv)
