#!/usr/bin/env python3
"""The command `planrt segment` end to end, on a small model: what it writes, what it says, and how it ends.

    test_segment.py PLANRT MODELS
"""

import gzip
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "python/tests"))
import scans  # noqa: E402

PLANRT, MODELS = sys.argv[1], Path(sys.argv[2])
del sys.argv[1:3]
RECIPE = {"planrt_recipe": 1, "tiling": {"patch": [8, 8, 8]}, "decision": {"labels": [0, 1]}}


def nifti(voxels: np.ndarray, *more) -> bytes:
    return scans.nifti(voxels, *more, rescale=(0, 0))


def read(path: Path) -> tuple[bytes, np.ndarray]:
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    rank, x, y, z = struct.unpack_from("<4h", content, 40)
    assert rank == 3
    kind = {2: "u1", 512: "<u2"}[struct.unpack_from("<h", content, 70)[0]]
    return content[:348], np.frombuffer(content, kind, x * y * z, 352).reshape(z, y, x)


class Segment(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.model = self.folder / "model"
        self.model.mkdir()
        shutil.copy(MODELS / "tiny.onnx", self.model / "model.onnx")
        self.describe(RECIPE)
        self.voxels = np.random.default_rng(7).normal(size=(9, 18, 20)).astype("f4")
        self.scan = self.write("scan.nii.gz", gzip.compress(nifti(self.voxels)))

    def write(self, name: str, content: bytes) -> Path:
        (self.folder / name).write_bytes(content)
        return self.folder / name

    def describe(self, recipe: dict):
        (self.model / "recipe.json").write_text(json.dumps(recipe))

    def run_segment(self, code: int, *arguments, text=None) -> str:
        ended = subprocess.run([PLANRT, "segment", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(ended.returncode, code, ended.stdout)
        self.assertIn(text or "", ended.stdout)
        return ended.stdout

    def segmented(self, name="mask.nii.gz", *more, scans=None) -> tuple[str, bytes, np.ndarray]:
        mask = self.folder / name
        said = self.run_segment(0, self.model, *(scans or [self.scan]), "--out", mask, *more)
        return said, *read(mask)

    def sized(self, said: str) -> int:
        """How many voxels have the label 1, whose millilitres are told right."""
        count, ml = re.search(r"label 1 +(\d+) voxels +([\d.]+) ml", said).groups()
        self.assertAlmostEqual(float(ml), int(count) * 0.75 / 1000, places=3)
        return int(count)

    def test_labels_lie_on_the_scans_grid(self):
        said, header, labels = self.segmented()
        self.assertEqual((labels.shape, labels.dtype), ((9, 18, 20), np.dtype("u1")))
        self.assertEqual(struct.unpack_from("<12f", header, 280), scans.SFORM)
        self.assertEqual(struct.unpack_from("<h", header, 254), (1,))
        count = self.sized(said)
        self.assertEqual(count, np.count_nonzero(labels))
        self.assertTrue(0 < count < labels.size)
        self.assertIn("of ", said)
        plain = self.segmented("mask.nii")[2]
        self.assertEqual((self.folder / "mask.nii").stat().st_size, 352 + labels.size)
        np.testing.assert_array_equal(plain, labels)

    def test_the_same_patient_has_the_same_labels_however_the_scan_lies(self):
        self.describe(RECIPE | {"orientation": "RAS"})
        sform = (0.5, 0, 0, 1, 0, 0.75, 0, 2, 0, 0, 2, 3)
        ras = self.write("ras.nii", nifti(self.voxels, sform))
        expected = self.segmented(scans=[ras])[2]
        turned = np.ascontiguousarray(self.voxels[:, ::-1, ::-1])
        sform = (-0.5, 0, 0, 1 + 0.5 * 19, 0, -0.75, 0, 2 + 0.75 * 17, 0, 0, 2, 3)
        lps = self.write("lps.nii", nifti(turned, sform))
        np.testing.assert_array_equal(self.segmented(scans=[lps])[2][:, ::-1, ::-1], expected)

    def test_wide_labels_a_picture_and_a_budget(self):
        narrow = self.segmented()[2]
        self.describe(RECIPE | {"decision": {"labels": [0, 300]}})
        picture = self.folder / "picture.png"
        _, _, labels = self.segmented("wide.nii.gz", "--overlay", picture, "--budget=1G", "--device-budget=1G", "--mirror", "none", "--overlap=0.5")
        self.assertEqual(labels.dtype, np.dtype("<u2"))
        np.testing.assert_array_equal(labels, narrow.astype("u2") * 300)
        self.assertEqual(picture.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")

    def test_models_and_a_coarse_one(self):
        other = self.folder / "other"
        shutil.copytree(self.model, other)
        alone = self.segmented()[2]
        np.testing.assert_array_equal(self.segmented("with.nii", "--with", other, "--with", other)[2], alone)
        # What it finds is everywhere.
        top = self.folder / "top"
        for part in ("a", "b", "coarse"):
            shutil.copytree(other, top / part)
        described = {"planrt_recipe": 1, "ensemble": ["a", "b"], "coarse": {"folder": "coarse", "margin_mm": 100}}
        (top / "recipe.json").write_text(json.dumps(described))
        self.run_segment(0, top, self.scan, "--out", self.folder / "top.nii")
        np.testing.assert_array_equal(read(self.folder / "top.nii")[1], alone)
        np.testing.assert_array_equal(self.segmented("coarse.nii", "--coarse", other, "--margin=100")[2], alone)
        np.testing.assert_array_equal(self.segmented("both.nii", "--coarse", other, "--with", other, "--margin", "100")[2], alone)
        # The model looks at each voxel by itself.
        inside, outside = (self.voxels[alone == label][0] for label in (1, 0))
        parts = np.full((9, 18, 20), outside, "f4")
        parts[1:4, 2:9, 3:10] = parts[6:8, 12:16, 2:5] = inside
        parts = self.write("parts.nii", nifti(parts))
        both = self.segmented("parts_mask.nii", scans=[parts])[2]
        largest = self.segmented("largest.nii", "--largest", scans=[parts])[2]
        self.assertEqual((np.count_nonzero(both), np.count_nonzero(largest)), (3 * 7 * 7 + 2 * 4 * 3, 3 * 7 * 7))
        out = ["--out", self.folder / "mask.nii"]
        self.run_segment(1, self.model, self.scan, *out, "--output=none", text="no output")
        self.run_segment(1, self.model, self.scan, *out, "--coarse", self.folder / "none", text="none")
        missing = ["--cpu=openvino", f"--openvino={self.folder / 'none'}"]
        self.run_segment(1, self.model, self.scan, *out, "--coarse", other, *missing, text=f"{other}/model.onnx: ")
        self.run_segment(2, self.model, self.scan, *out, "--margin=-1", text="--margin")

    def test_files_are_channels(self):
        said = self.run_segment(1, self.model, self.scan, self.scan, "--out", self.folder / "mask.nii")
        self.assertIn("channel", said)
        smaller = self.write("smaller.nii", nifti(self.voxels[1:]))
        self.run_segment(1, self.model, self.scan, smaller, "--out", self.folder / "mask.nii", text="scan 1")

    def test_axes_that_are_not_perpendicular(self):
        out = ["--out", self.folder / "mask.nii"]
        skew = self.write("skew.nii", nifti(self.voxels, (0.5, 0.2, 0, 1, 0, 0.75, 0, 2, 0, 0, 2, 3)))
        self.run_segment(1, self.model, skew, *out, text="perpendicular")
        said, _, _ = self.segmented("mask.nii", "--any-direction", scans=[skew])
        self.assertGreater(self.sized(said), 0)

    def test_a_padded_scan(self):
        _, _, labels = self.segmented()
        self.scan = self.write("padded.nii.gz", self.scan.read_bytes() + bytes(70000))
        _, _, padded = self.segmented("padded_mask.nii")
        np.testing.assert_array_equal(padded, labels)

    def test_wrong_calls(self):
        out = ["--out", self.folder / "mask.nii"]
        self.run_segment(0, "--help", text="usage:")
        self.run_segment(2, text="no MODEL")
        self.run_segment(2, self.model, *out, text="no SCAN")
        self.run_segment(2, self.model, self.scan, text="no --out")
        for wrong in ["--colour=red", "--overlap=1", "--mirror=zz", "--budget=much", "--device-budget=much", "--device=first", "--overlay"]:
            self.run_segment(2, self.model, self.scan, *out, wrong, text=wrong.split("=")[0])

    def test_what_cannot_be_segmented(self):
        out = ["--out", self.folder / "mask.nii"]
        self.run_segment(1, self.model, self.folder / "none.nii", *out, text="none.nii")
        self.run_segment(1, self.folder / "none", self.scan, *out, text="none")
        self.run_segment(1, self.model, self.scan, *out, "--device=99", text="no GPU 99")
        self.run_segment(1, self.model, self.scan, *out, "--configuration=3d_fullres", text="no nnU-Net")
        cut = self.write("cut.nii.gz", self.scan.read_bytes()[:-1000])
        self.run_segment(1, self.model, cut, *out, text="cut.nii.gz")
        self.run_segment(1, self.model, self.scan, *out, "--budget=1B", text="budget")
        self.describe(RECIPE | {"colour": 1})
        self.run_segment(1, self.model, self.scan, *out, text='"colour"')
        self.assertFalse((self.folder / "mask.nii").exists())

    def test_what_cannot_be_written(self):
        self.run_segment(3, self.model, self.scan, "--out", self.folder / "none" / "mask.nii", text="cannot be written")
        self.run_segment(3, self.model, self.scan, "--out", self.folder, text="director")
        with open("/dev/full", "w") as full:
            command = [PLANRT, "segment", self.model, self.scan, "--out", self.folder / "mask.nii"]
            self.assertEqual(subprocess.run(command, stdout=full, stderr=subprocess.DEVNULL).returncode, 3)

    def test_what_is_read_is_not_written_over(self):
        before = self.scan.read_bytes()
        link = self.folder / "link.nii.gz"
        link.symlink_to(self.scan.name)
        picture = self.folder / "link.png"
        picture.symlink_to(self.scan.name)
        for out in [self.scan, link]:
            self.run_segment(2, self.model, self.scan, "--out", out, text="written over")
        self.run_segment(2, self.model, self.scan, "--out", self.folder / "mask.nii", "--overlay", picture, text="written over")
        self.run_segment(2, self.model, self.scan, "--out", self.model / "model.onnx", text=".nii or .nii.gz")
        self.run_segment(2, self.model, self.scan, "--out", self.folder / "a.nii", "--overlay", self.folder / "a.nii", text=".png")
        self.run_segment(2, self.model, self.scan, "--out", self.folder / "mask.nii", "--budget=0.5B", text="--budget")
        self.assertEqual(self.scan.read_bytes(), before)
        self.run_segment(0, self.model, self.scan, "--out", "/dev/null")

    def interrupted(self, stderr, read_some) -> None:
        """Ctrl-C while a scan with more tiles than can be done is under way."""
        large = self.write("large.nii", nifti(np.random.default_rng(7).normal(size=(200, 200, 200)).astype("f4")))
        mask = self.folder / "mask.nii"
        command = [PLANRT, "segment", self.model, large, "--out", mask]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
        self.addCleanup(process.kill)
        read_some(process)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(), 130)
        self.assertFalse(mask.exists())

    def test_an_interrupt_cancels(self):
        def until_a_line(process):
            self.addCleanup(process.stderr.close)
            self.assertRegex(process.stderr.readline(), rb"^planrt: \d+ of \d+ tiles")

        self.interrupted(subprocess.PIPE, until_a_line)

    def test_a_terminal_has_a_bar(self):
        ours, theirs = pty.openpty()

        def until_a_bar(_):
            said = b""
            while b"tiles" not in said:
                said += os.read(ours, 1024)
            self.assertIn(b"\r[", said)

        self.interrupted(theirs, until_a_bar)
        os.close(theirs)
        os.close(ours)


if __name__ == "__main__":
    unittest.main()
