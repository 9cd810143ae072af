#!/usr/bin/env python3
"""Model folders on the CPU: PLANRT_LIBRARY=libplanrt.so.0 PLANRT_MODELS=folder PLANRT_PROGRAM=planrt test_folder.py"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import planrt
from planrt import Engine, Error, ErrorCode
from scans import nifti

MODEL = Path(os.environ["PLANRT_MODELS"]) / "small.onnx"
IMAGE = np.linspace(0, 1, 2 * 8**3, dtype=np.float32).reshape(2, 1, 8, 8, 8)
EXPECTED = Engine(MODEL).run({"image": IMAGE})


class Folder(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)
        self.folder = self.scratch / "small"

    def write(self, expected=EXPECTED, **more):
        tests = [("ramp", {"image": IMAGE}, expected)]
        planrt.write_folder(self.folder, **{"name": "small", "onnx": MODEL, "tests": tests, **more})

    def fails(self, code, text, call, *arguments, **named):
        with self.assertRaises(Error) as caught:
            call(*arguments, **named)
        self.assertEqual(caught.exception.code, code, caught.exception)
        self.assertIn(text, str(caught.exception))
        return caught.exception

    def doctor(self):
        done = subprocess.run(
            [os.environ["PLANRT_PROGRAM"], "doctor", self.folder], stdout=subprocess.PIPE, text=True, check=False
        )
        return done.returncode, done.stdout

    def test_a_folder_is_loaded_and_tested(self):
        self.write(more={"source": {"anything": [1, 2]}})
        engine = Engine.from_folder(self.folder)
        np.testing.assert_array_equal(engine.run({"image": IMAGE})["prob"], EXPECTED["prob"])
        report = engine.self_test(self.folder)
        self.assertTrue(report["agrees"])
        (output,) = report["tests"][0]["outputs"]
        self.assertEqual((output["name"], output["elements_off"], output["largest_difference"]), ("prob", 0, 0))
        self.assertEqual(output["elements"], EXPECTED["prob"].size)
        self.assertEqual(json.loads((self.folder / "planrt.json").read_text())["source"], {"anything": [1, 2]})
        code, said = self.doctor()
        self.assertEqual(code, 0, said)
        self.assertIn("fit for use: model.onnx", said)

    def test_further_files_lie_in_the_folder(self):
        self.write(files={"a/b/weights.bin": MODEL})
        self.assertEqual((self.folder / "a/b/weights.bin").read_bytes(), MODEL.read_bytes())
        Engine.from_folder(self.folder)
        for place in ["../out.bin", "/out.bin", "a/../../out.bin", "", "planrt.json"]:
            with self.assertRaisesRegex(ValueError, "no place", msg=place):
                self.write(files={place: MODEL})
        for key in ["sha256", "onnx", "files"]:
            with self.assertRaisesRegex(ValueError, key):
                self.write(more={key: "other"})
        self.assertEqual(sorted(path.name for path in self.scratch.iterdir()), ["small"])

    def test_what_is_there_is_replaced_and_not_written_over(self):
        self.write()
        mapped = np.memmap(self.folder / "model.onnx", np.uint8, "r")
        outside = self.scratch / "outside.bin"
        outside.write_bytes(b"mine")
        (self.folder / "weights.bin").symlink_to(outside)
        other = MODEL.with_name("tiny.onnx")
        planrt.write_folder(self.folder, name="other", onnx=other, files={"weights.bin": other})
        self.assertEqual(mapped.tobytes(), MODEL.read_bytes())
        self.assertEqual(outside.read_bytes(), b"mine")
        Engine.from_folder(self.folder)
        self.assertFalse(list(self.folder.rglob("*.part")))

    def test_a_head_that_is_none_is_refused(self):
        recipe = {"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1, 2]}}
        whole = {"file": "head.bin", "features": 2, "channels": 3, "input": "prob", "output": "logits"}
        file = self.scratch / "head.bin"

        def write(numbers=9, files=("head.bin",), **other):
            file.write_bytes(np.ones(numbers, "<f4").tobytes())
            head = {key: value for key, value in {**whole, **other}.items() if value is not None}
            self.write(files={name: file for name in files}, more={"recipe": recipe, "head": head})
            return lambda: planrt.Segmenter(self.folder)

        volume = planrt.Volume(np.zeros((9, 9, 9), np.float32), (1, 1, 1))
        # All channels are the same: the first one's label.
        self.assertFalse(write()().run(volume).labels.any())
        self.fails(ErrorCode.INVALID_MODEL, "has 36 bytes, and there are 32", write(8))
        self.fails(ErrorCode.INVALID_MODEL, "head.bin", write(0))
        self.fails(ErrorCode.INVALID_MODEL, '"head.bin" is used, and is not among the files', write(files=()))
        self.fails(ErrorCode.INVALID_MODEL, "takes 3 features; the network gives 2", write(12, features=3))
        self.fails(ErrorCode.INVALID_ARGUMENT, "labels for 3 channels; the network gives 4", write(12, channels=4))
        self.fails(ErrorCode.NOT_FOUND, "no output", write(input="features"))
        for wrong in ({"features": 0}, {"channels": 1.5}, {"file": "../head.bin"}, {"input": None}, {"output": 3}, {"colour": 1}):
            self.fails(ErrorCode.INVALID_MODEL, next(iter(wrong)), write(**wrong))

    def test_weights_in_other_files(self):
        import onnx

        beside = self.scratch / "beside"
        beside.mkdir()
        onnx.save_model(
            onnx.load(MODEL), beside / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
        )
        listed = {"onnx": beside / "model.onnx", "files": {"weights.bin": beside / "weights.bin"}}
        self.write(**listed)
        engine = Engine.from_folder(self.folder)
        np.testing.assert_array_equal(engine.run({"image": IMAGE})["prob"], EXPECTED["prob"])
        self.assertTrue(engine.self_test(self.folder)["agrees"])
        self.assertEqual(self.doctor()[0], 0)
        weights = bytearray((beside / "weights.bin").read_bytes())
        weights[5] ^= 1
        (self.folder / "weights.bin").write_bytes(weights)
        self.fails(ErrorCode.INVALID_MODEL, "weights.bin was changed", Engine.from_folder, self.folder)
        # What nobody vouches for is not read.
        self.write(onnx=beside / "model.onnx")
        self.assertTrue((self.folder / "weights.bin").exists())
        self.fails(ErrorCode.INVALID_MODEL, "not among the files", Engine.from_folder, self.folder)

    def test_vectors_may_be_of_other_types(self):
        wide = {"prob": EXPECTED["prob"].astype(np.float64)}
        planrt.write_folder(
            self.folder, name="small", onnx=MODEL, tests=[("wide", {"image": IMAGE.astype(np.float64)}, wide)]
        )
        self.assertTrue(Engine.from_folder(self.folder).self_test(self.folder)["agrees"])

    def test_a_model_whose_answers_are_others_is_refused(self):
        wrong = {"prob": EXPECTED["prob"].copy()}
        wrong["prob"].flat[7] += 0.01
        wrong["prob"].flat[8] = np.nan
        self.write(wrong)
        engine = Engine.from_folder(self.folder)
        error = self.fails(ErrorCode.SELF_TEST, "self-test", engine.self_test, self.folder)
        self.assertIn(f"2 of {EXPECTED['prob'].size} elements are off", error.detail)
        code, said = self.doctor()
        self.assertEqual(code, 1)
        self.assertIn("not fit for use: model.onnx", said)
        self.write(wrong, atol=0.02)
        self.fails(ErrorCode.SELF_TEST, "1 of", engine.self_test, self.folder)  # NaN is near nothing

    def test_a_test_of_tensors_that_the_model_lacks_does_not_pass(self):
        for inputs, outputs in (({"picture": IMAGE}, EXPECTED), ({"image": IMAGE}, {"mask": EXPECTED["prob"]})):
            self.write(tests=[("ramp", inputs, outputs)])
            self.fails(ErrorCode.INVALID_MODEL, "no tensor", Engine.from_folder(self.folder).self_test, self.folder)
            code, said = self.doctor()
            self.assertEqual(code, 1, said)
            self.assertIn("does not pass its self-test", said)

    def test_an_answer_of_another_shape_is_refused(self):
        self.write({"prob": np.concatenate([EXPECTED["prob"]] * 2)})
        error = self.fails(ErrorCode.SELF_TEST, "", Engine.from_folder(self.folder).self_test, self.folder)
        self.assertIn("its shape is", error.detail)
        self.write({"prob": EXPECTED["prob"][:1]})
        self.fails(ErrorCode.BUFFER_TOO_SMALL, "ramp", Engine.from_folder(self.folder).self_test, self.folder)

    def test_a_self_test_is_of_the_folders_own_model(self):
        self.write()
        other = Engine(Path(os.environ["PLANRT_MODELS"]) / "tiny.onnx")
        self.fails(ErrorCode.INVALID_ARGUMENT, "not loaded from", other.self_test, self.folder)
        self.write(tests=[])
        engine = Engine.from_folder(self.folder)
        self.fails(ErrorCode.NOT_FOUND, "no test vectors", engine.self_test, self.folder)

    def test_each_file_that_was_changed_is_named(self):
        self.write()
        passport = json.loads((self.folder / "planrt.json").read_text())
        for path in [file["path"] for file in passport["files"]] + ["planrt.json"]:
            data = bytearray((self.folder / path).read_bytes())
            data[len(data) // 2] ^= 1
            good = (self.folder / path).read_bytes()
            (self.folder / path).write_bytes(data)
            code = self.fails(ErrorCode.INVALID_MODEL, path, Engine.from_folder, self.folder).code
            self.assertEqual(self.doctor()[0], 1)
            (self.folder / path).write_bytes(good)
        Engine.from_folder(self.folder)
        self.assertEqual(code, ErrorCode.INVALID_MODEL)

    def test_the_doctor_looks_at_what_is_done_to_volumes(self):
        recipe = {"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}}
        self.write(more={"recipe": recipe})
        code, said = self.doctor()
        self.assertEqual(code, 0, said)
        self.assertIn("of 1 channels, in tiles of 8x8x8", said)
        self.write(more={"recipe": {**recipe, "decision": {"labels": [0, 1, 2]}}})
        code, said = self.doctor()
        self.assertEqual(code, 1, said)
        self.assertIn("volumes are not segmented here: ", said)
        self.assertIn("labels for 3 channels", said)
        # As planrt segment takes it, without a passport.
        (self.folder / "planrt.json").unlink()
        (self.folder / "recipe.json").write_text(json.dumps(recipe))
        code, said = self.doctor()
        self.assertEqual(code, 0, said)
        self.assertIn("no passport", said)
        (self.folder / "recipe.json").write_text("{}")
        code, said = self.doctor()
        self.assertEqual(code, 1, said)
        self.assertIn("planrt_recipe", said)

    def test_folders_within_a_folder_are_held_against_their_hashes(self):
        top = self.scratch / "ensemble"
        recipe = {"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}}
        for part, overlap in (("a", 0.5), ("b", 0.25), ("coarse", 0)):
            self.folder = top / part
            self.write(more={"recipe": {**recipe, "tiling": {"patch": [8, 8, 8], "overlap": overlap}}})
        self.folder = top
        described = {"planrt_recipe": 1, "ensemble": ["a", "b"], "coarse": {"folder": "coarse", "margin_mm": 2}}
        files = {f"{part}/planrt.json": top / part / "planrt.json" for part in ("a", "b", "coarse")}
        planrt.write_folder(top, name="three", files=files, more={"recipe": described})
        scan = planrt.Volume(np.random.default_rng(1).normal(0, 1, (12, 11, 10)).astype(np.float32), (1, 1, 1))
        parts = [planrt.Segmenter(top / part) for part in ("a", "b", "coarse")]
        by_calls = planrt.Segmenter.ensemble(parts[:2], coarse=(parts[2], 2))
        np.testing.assert_array_equal(planrt.Segmenter(top).run(scan).labels, by_calls.run(scan).labels)
        code, said = self.doctor()
        self.assertEqual(code, 0, said)
        self.assertIn("all its parts are", said)
        self.fails(ErrorCode.UNSUPPORTED, "planrt_segmenter_load", Engine.from_folder, top)
        for path in ("planrt.json", "b/planrt.json", "coarse/model.onnx"):
            good = (top / path).read_bytes()
            (top / path).write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
            self.fails(ErrorCode.INVALID_MODEL, path, planrt.Segmenter, top)
            self.assertEqual(self.doctor()[0], 1)
            (top / path).write_bytes(good)
        planrt.write_folder(top, name="two", files={"a/planrt.json": top / "a/planrt.json"}, more={"recipe": described})
        self.fails(ErrorCode.INVALID_MODEL, "b/planrt.json", planrt.Segmenter, top)

    def test_the_cpu_takes_over_where_that_is_allowed(self):
        bad = self.scratch / "bad.plan"
        bad.write_bytes(b"ptrt" + bytes(60))
        self.write(plans=[{"file": bad, "device": "a GPU"}])
        error = self.fails(ErrorCode.NO_CUDA, "bad.plan", Engine.from_folder, self.folder)
        self.assertIn("CPU", str(error))
        with self.assertLogs("planrt", "WARNING") as logged:
            engine = Engine.from_folder(self.folder, allow_cpu=True)
        self.assertIn("runs on the CPU", logged.output[0])
        self.assertEqual(engine.backend, "CPU")
        self.assertTrue(engine.self_test(self.folder)["agrees"])
        code, said = self.doctor()
        self.assertEqual(code, 0, said)
        self.assertIn("on the CPU only", said)
        self.write(plans=[{"file": bad}], onnx=None)
        self.fails(ErrorCode.NO_CUDA, "no ONNX model", Engine.from_folder, self.folder, allow_cpu=True)

    def test_the_program_segments_on_the_cpu_where_that_is_allowed(self):
        bad, scan, mask = (self.scratch / name for name in ("bad.plan", "scan.nii", "mask.nii"))
        bad.write_bytes(b"ptrt" + bytes(60))
        recipe = {"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}}
        self.write(plans=[{"file": bad}], more={"recipe": recipe})
        scan.write_bytes(nifti(np.random.default_rng(1).normal(size=(9, 10, 11)).astype(np.float32)))
        command = [os.environ["PLANRT_PROGRAM"], "segment", self.folder, scan, "--out", mask]
        refused = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("bad.plan", refused.stderr)
        self.assertEqual(subprocess.run([*command, "--allow-cpu"], capture_output=True).returncode, 0)
        self.assertTrue(mask.exists())

    def test_what_is_no_folder_is_told(self):
        self.fails(ErrorCode.NOT_FOUND, "no model folder", Engine.from_folder, self.folder)
        self.fails(ErrorCode.NOT_FOUND, "no folder", Engine.from_folder, MODEL)
        self.fails(ErrorCode.NOT_FOUND, "planrt.json", Engine.from_folder, MODEL.parent)
        self.fails(ErrorCode.IO, "model folder", Engine, MODEL.parent)

    def test_a_folder_is_finished_or_has_no_passport(self):
        self.write()
        with self.assertRaises(OSError):
            self.write(onnx=self.scratch / "no such file.onnx")
        self.fails(ErrorCode.NOT_FOUND, "planrt.json", Engine.from_folder, self.folder)
        with self.assertRaises(ValueError):
            self.write(more={"checks": float("nan")})
        self.assertEqual([path for path in self.folder.iterdir() if path.suffix == ".part"], [])
        with self.assertRaisesRegex(TypeError, "prob.*complex64"):
            self.write({"prob": EXPECTED["prob"].astype(np.complex64)})
        (self.scratch / "a").mkdir()
        for path in (self.scratch / "x.plan", self.scratch / "a" / "x.plan"):
            path.write_bytes(b"ptrt")
        with self.assertRaises(ValueError):
            self.write(plans=[{"file": self.scratch / "x.plan"}, {"file": self.scratch / "a" / "x.plan"}])


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
