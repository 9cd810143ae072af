"""The command line."""

from __future__ import annotations

import argparse
import ctypes
import sys
import traceback
from collections.abc import Callable
from typing import Any

import planrt

from .problem import Problem

_PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "best")
PASSED, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
# Of an extent and an ordinal, and of requests at once: what the library takes.
_MOST, _MOST_AT_ONCE = 2**31 - 1, 256


def _sizes(text: str) -> tuple[str, list[int]]:
    name, equals, extents = text.rpartition("=")
    try:
        shape = [int(extent) for extent in extents.split("x")]
    except ValueError:
        shape = []
    if not equals or not name or not shape or not 1 <= min(shape) <= max(shape) <= _MOST or len(shape) > 8:
        raise argparse.ArgumentTypeError(f"{text!r}: NAME=1x1x64x64x64 is expected")
    return name, shape


def _batch(text: str) -> tuple[int, int, int]:
    try:
        parts = [int(part) for part in text.split(":")]
    except ValueError:
        parts = []
    parts = parts * 3 if len(parts) == 1 else parts
    if len(parts) != 3 or not 1 <= parts[0] <= parts[1] <= parts[2] <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r}: MIN:OPT:MAX is expected, from the smallest to the largest, as in 1:4:8")
    return parts[0], parts[1], parts[2]


def _precisions(text: str) -> list[str]:
    found = [part for part in text.split(",") if part and part != "none"]
    for part in found:
        if part not in _PRECISIONS:
            raise argparse.ArgumentTypeError(f"{part!r} is no precision; there are {', '.join(_PRECISIONS)}, and none")
    return list(dict.fromkeys(found))


def _axis(text: str) -> tuple[str, int]:
    name, colon, axis = text.rpartition(":")
    if not colon or not name or not axis.isdigit() or int(axis) > 7:
        raise argparse.ArgumentTypeError(f"{text!r}: NAME:AXIS is expected, as in INPUT__0:2")
    return name, int(axis)


def _tolerance(text: str) -> tuple[float, float]:
    try:
        rtol, atol = (float(part) for part in text.split(":"))
        if rtol >= 0 and atol >= 0:
            return rtol, atol
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r}: RTOL:ATOL is expected, as in 1e-2:1e-2")


def _from_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: a number from 0 on is expected")
    return number


def _function(text: str) -> str:
    module, _, function = text.partition(":")
    if not module or not function:
        raise argparse.ArgumentTypeError(f"{text!r}: MODULE:FUNCTION is expected")
    return text


def _up_to(most: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        # What is longer than that int() would not take.
        if not text.isdecimal() or len(text) > 20 or int(text) > most:
            raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 0 to {most} is expected")
        return int(text)

    return count


def _numbers(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
        if 1 <= min(found) <= max(found) <= _MOST_AT_ONCE:
            return found
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r}: numbers from 1 to {_MOST_AT_ONCE} are expected, as in 1,4")


class _Once(argparse.Action):
    """What takes one value: of two the first would be lost without a word."""

    is_given = False

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None) -> None:
        if self.is_given:
            raise argparse.ArgumentError(self, "given twice")
        self.is_given = True
        setattr(namespace, self.dest, values)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="planrt-convert",
        description="A PyTorch or ONNX model becomes a model folder, with a report of every check. It exits with 0 if all checks passed, "
        "with 1 if one failed (the report is written, and no folder that loads), with 2 if it was called wrongly or the model "
        "cannot be converted.",
    )
    made.register("action", None, _Once)
    add = made.add_argument
    add("model", metavar="MODEL", help="an ONNX file, TorchScript (.pt), a torch.export program (.pt2), or module:function that makes an nn.Module")
    add("--out", metavar="FOLDER", required=True, help="the model folder to write")
    add("--name", help="the model's name; the folder's if not given")
    add("--input", metavar="NAME=SIZES", type=_sizes, action="append", default=[], help="an input and its size, as INPUT__0=1x1x128x160x112")
    add("--output", metavar="NAME", action="append", default=[], help="an output's name, in order")
    add("--batch", metavar="MIN:OPT:MAX", type=_batch, help="the batches that the model takes; 1:2:4 if not given, 1 for a fixed one")
    add("--dynamic", metavar="NAME:AXIS", type=_axis, action="append", default=[], help="a further axis to leave open")
    add("--opset", type=int, help="ONNX's operators (17)")
    add("--exporter", choices=("auto", "torchscript", "dynamo"), default="auto", help="PyTorch's exporter")
    add("--symbolics", metavar="FILE", action="append", default=[], help="Python that registers symbolic functions for operators that ONNX lacks")
    add("--precision", type=_precisions, default=["fp32"], metavar="LIST", help=f"plans to build: {', '.join(_PRECISIONS)}, or none (fp32)")
    add("--rtol", type=_from_zero, default=1e-4)
    add("--atol", type=_from_zero, default=9e-4)
    add("--loose", metavar="RTOL:ATOL", type=_tolerance, default=(1e-2, 1e-2), help="tolerance of plans that are not fp32 (1e-2:1e-2)")
    add("--allow-nan", action="store_true", help="take a model that answers NaN; without it that is a check that fails")
    add("--keep-float32", metavar="NODE", action="append", default=[], help="a node of the ONNX model that stays float32 in every plan")
    add("--no-search", dest="search", action="store_false", help="do not look for what must stay float32 where a plan is not exact enough")
    add(
        "--fold-head",
        action="store_true",
        help="take the last 1x1x1 convolution out of the model: planrt's segmenters apply it to what is blended, and their memory does not "
        "grow with the classes. For models that give logits; the folder's engine gives features",
    )
    add("--timing-cache", metavar="FILE", help="TensorRT's timing cache, taken from there and kept there: builds take a tenth of the time with it")
    norms = ("default", "native", "plugin", "decomposed")
    add("--instance-normalization", choices=norms, default="default", help="what InstanceNormalization becomes in plans, as for planrt build")
    add("--without-libraries", action="store_true", help="plans that need neither cuDNN nor cuBLAS, nor TensorRT's plugins, when they run")
    add("--data", metavar="FILE", action="append", default=[], help="inputs of yours, checked beside the random ones, and drawn: .nii or .nii.gz, as [z, y, x], its numbers as the file rescales them; .npy; or .npz, an array for each input by its name. It may be given several times")
    add("--prepare", metavar="MODULE:FUNCTION", type=_function, help="makes of what is in a file of --data what the model takes: of a planrt.Volume, an array, or arrays by their names, an array or arrays by their names")
    add("--seed", type=_up_to(2**63 - 1), default=0, help="of the random inputs")
    add("--concurrency", type=_numbers, default=[1, 4], metavar="LIST", help="requests at once when throughput is measured (1,4)")
    add("--seconds", type=_from_zero, default=2, help="for each measurement of throughput; 0 for none (2)")
    add("--threads", type=_up_to(1024), default=0, help="of planrt on the CPU; 0 for all")
    add("--tensorrt", metavar="PATH", help="TensorRT's library or its folder")
    add("--device", metavar="N", type=_up_to(_MOST), default=0, help="ordinal of the GPU")
    add("--keep-work", action="store_true", help="keep FOLDER.work, from which an interrupted conversion goes on, when all is done")
    add("--quiet", action="store_true", help="say what is wrong only")
    return made


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    try:
        arguments: Any = parser().parse_args(words)
    except SystemExit as end:
        return int(end.code or 0)
    names = [name for name, _ in arguments.input]
    if len(set(names)) != len(names):
        return wrong("an --input is given twice")
    if len(set(arguments.output)) != len(arguments.output):
        return wrong("an --output is given twice")
    arguments.input = dict(arguments.input)
    arguments.command = ["planrt-convert", *words]

    def tell(line: str) -> None:
        if not arguments.quiet:
            print(line, file=sys.stderr, flush=True)

    try:
        from .steps import Conversion

        conversion = Conversion(arguments, tell)
        passed = conversion.run()
    except KeyboardInterrupt:
        print("planrt-convert: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except (Problem, planrt.Error, OSError, ImportError, ctypes.ArgumentError) as error:
        return wrong(str(error))
    except SystemExit as error:
        return wrong(f"the model's code, or a function that you have named, ends Python (SystemExit: {error})")
    except MemoryError as error:
        return wrong(f"there is not enough memory: {error}")
    except Exception as error:  # not to be taken for a check that failed
        traceback.print_exc()
        return wrong(f"a fault of its own, {type(error).__name__}: {error}; please report it, with what is above")
    failed = [check for check in conversion.report["checks"] if not check["passed"]]
    print(f"{len(conversion.report['checks']) - len(failed)} checks passed, {len(failed)} failed; see {conversion.out / 'report.html'}")
    for check in failed:
        print(f"failed: {' and '.join(check['between'])}, {check['input']} {check['output']}: {check.get('why', '')}".splitlines()[0])
    return PASSED if passed else FAILED


def wrong(message: str) -> int:
    print(f"planrt-convert: {message}", file=sys.stderr)
    return WRONG
