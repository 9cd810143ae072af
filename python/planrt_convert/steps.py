"""From a model to a folder, step by step: each step's result is kept until the folder is finished, so that the same command goes on where
it was interrupted. A check that fails is noted, and the next ones are made."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import planrt

from . import graph, numbers, plans, speed
from .problem import Problem
from .report import html
from .source import Input, Source, export, random_array, read_inputs

# Test vectors are small: what is larger stays out of the folder, and the report says so.
_MOST_VECTOR_BYTES = 256 << 20


class Conversion:
    def __init__(self, arguments: Any, tell: Callable[[str], None]):
        self.arguments, self.tell = arguments, tell
        self.out = Path(arguments.out)
        if not self.out.name:
            raise Problem(f"--out {arguments.out}: name a folder")
        if self.out.exists() and not self.out.is_dir():
            raise Problem(f"{self.out} is there already, and no folder")
        self.work = self.out.with_name(self.out.name + ".work")
        self.source = Source(arguments.model, arguments.symbolics)
        self.onnx = self.work / "model.onnx"
        self.runtime = planrt.Runtime(tensorrt=arguments.tensorrt, device=arguments.device)
        self.report: dict[str, Any] = {}

    # What is kept between two runs of the same command.

    def _identity(self) -> str:
        """What results depend on: another model, other options or other versions begin anew."""
        keys = ("input", "output", "batch", "opset", "exporter", "symbolics", "precision", "rtol", "atol", "loose", "data", "seed", "tensorrt")
        files = [self.source.path, self.arguments.data, *self.arguments.symbolics]
        said = {
            "model": self.arguments.model,
            "files": [planrt.sha256(file) for file in files if file],
            "options": {key: getattr(self.arguments, key) for key in keys},
            "versions": versions(),
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()

    def _begin(self) -> None:
        self.state_file = self.work / "state.json"
        identity = self._identity()
        self.state: dict[str, Any] = {"identity": identity, "steps": {}}
        # A function's code may be another one, and nobody can tell.
        if self.state_file.is_file() and self.source.path is not None:
            try:
                found = json.loads(self.state_file.read_text())
            except ValueError:
                found = {}
            if found.get("identity") == identity:
                self.state = found
        if not self.state["steps"]:
            shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)

    def _step(self, name: str, make: Callable[[], Any]) -> Any:
        if name in self.state["steps"]:
            self.tell(f"{name}: done before")
            return self.state["steps"][name]
        self.tell(f"{name} ...")
        start = time.perf_counter()
        result = make()
        self.state["steps"][name] = result
        part = self.state_file.with_suffix(".part")
        part.write_text(json.dumps(plain(self.state), indent=1))
        os.replace(part, self.state_file)
        self.tell(f"{name}: {time.perf_counter() - start:.1f} s")
        return result

    # The steps.

    def run(self) -> bool:
        """Everything; whether each check passed."""
        self._begin()
        self.report = {
            "name": self.arguments.name or self.out.name,
            "source": self._source(),
            "command": " ".join(map(_quoted, self.arguments.command)),
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "versions": versions(),
            "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "device": self.runtime.describe()["device"]},
            "tolerance": {"rtol": self.arguments.rtol, "atol": self.arguments.atol},
        }
        self.report["export"] = self._step("export", self._export)
        model = onnx.load(str(self.onnx))
        self.inputs = read_inputs(model, self.arguments.input)
        self.batches = self._batches()
        self.report["model"] = self._model(model)
        self.report["operators"] = self._step("graph", lambda: self._graph(model))
        self.report["checks"] = self._step("numbers", self._numbers)
        self.report["plans"] = []
        for precision in self.arguments.precision:
            plan = self._step(f"plan {precision}", lambda: self._plan(precision))
            self.report["plans"].append(plan)
            self.report["checks"] = self.report["checks"] + plan.get("checks", [])
        self.report["throughput"] = self._step("throughput", self._throughput)
        self.report["passed"] = all(check["passed"] for check in self.report["checks"])
        self._write()
        return bool(self.report["passed"])

    def _source(self) -> dict[str, Any]:
        path = self.source.path
        return {"given": self.arguments.model, "kind": self.source.kind, **({"sha256": planrt.sha256(path)} if path else {})}

    def _batches(self) -> tuple[int, int, int]:
        has_batch = any(0 in one.open_axes for one in self.inputs)
        given = self.arguments.batch
        if given and not has_batch and given != (1, 1, 1):
            raise Problem("--batch needs a model whose first axis is open, and this one's is fixed")
        return (given or (1, 2, 4)) if has_batch else (1, 1, 1)

    def _export(self) -> dict[str, Any]:
        if self.source.module is None:
            assert self.source.path is not None
            try:
                model = onnx.load(str(self.source.path))
                onnx.checker.check_model(model, full_check=False)
            except Exception as error:  # protobuf's, and onnx's own
                raise Problem(f"{self.source.path} is no ONNX model: {str(error).splitlines()[0][:300]}") from error
            # Weights in other files come into the one.
            onnx.save(model, str(self.onnx))
            return {"exporter": None, "opset": max((o.version for o in model.opset_import if not o.domain), default=0), "warnings": []}
        if not self.arguments.input:
            raise Problem("say what the model takes: --input INPUT__0=1x1x64x64x64, one for each input, in order")
        open_axes = {**{name: [0] for name in self.arguments.input}}
        if self.arguments.batch == (1, 1, 1):
            open_axes = {name: [] for name in open_axes}
        for name, axis in self.arguments.dynamic:
            if name not in open_axes:
                raise Problem(f"--dynamic {name}:{axis}: there is no --input {name}")
            open_axes[name].append(axis)
        inputs = [Input(name, shape, open_axes[name]) for name, shape in self.arguments.input.items()]
        batch = (self.arguments.batch or (1, 2, 4))[1]
        return export(
            self.source, self.onnx, inputs, self.arguments.output, batch, self.arguments.opset, self.arguments.exporter
        )

    def _model(self, model: onnx.ModelProto) -> dict[str, Any]:
        return {
            "sha256": planrt.sha256(self.onnx),
            "size_bytes": self.onnx.stat().st_size,
            "producer": f"{model.producer_name} {model.producer_version}".strip(),
            "opsets": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
            "inputs": [{"name": one.name, "shape": one.shape, "open_axes": one.open_axes, "type": one.dtype} for one in self.inputs],
            "outputs": [output.name for output in model.graph.output],
            "batches": list(self.batches),
        }

    def _graph(self, model: onnx.ModelProto) -> dict[str, Any]:
        result: dict[str, Any] = {"onnx": graph.operators(model), "mapping": None, "hints": []}
        if self.source.module is not None and self.source.kind != "torch.export program":
            try:
                mapped = graph.mapping(self.source, model, self._random(self.batches[0], 0), self.arguments.rtol, self.arguments.atol)
            except Exception as error:  # internals of PyTorch's
                result["mapping_failed"] = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            else:
                result["mapping"] = mapped
                if mapped["unmatched"]:
                    result["hints"] = graph.traps(model, {row["torch"] for row in mapped["rows"]})
        return result

    def _random(self, batch: int, seed: int) -> numbers.Arrays:
        return {one.name: random_array(one, batch, self.arguments.seed + seed) for one in self.inputs}

    def _samples(self) -> list[tuple[str, numbers.Arrays]]:
        """Random inputs at each batch of the profile, and the user's own."""
        smallest, best, largest = self.batches
        every = range(smallest, largest + 1) if largest - smallest < 8 else sorted({smallest, best, largest})
        samples = [(f"random, batch {batch}" if len(every) > 1 else "random", self._random(batch, batch)) for batch in every]
        if self.arguments.data:
            with np.load(self.arguments.data) as data:
                given = dict(data)
            missing = {one.name for one in self.inputs} - given.keys()
            if missing:
                raise Problem(f"{self.arguments.data} has no array {sorted(missing)[0]!r}")
            samples.append((Path(self.arguments.data).name, {one.name: given[one.name].astype(one.dtype) for one in self.inputs}))
        return samples

    def _numbers(self) -> list[dict[str, Any]]:
        """PyTorch, ONNX Runtime and planrt on the CPU against each other."""
        arguments, checks = self.arguments, []
        runtime_name, planrt_name = "ONNX Runtime", "planrt on the CPU"
        session = numbers.Reference(self.onnx)
        try:
            engine, refused = planrt.Engine(self.onnx, self.runtime, threads=arguments.threads), ""
        except planrt.Error as error:
            engine, refused = None, str(error)
        first_off_known = False
        for name, inputs in self._samples():
            expected, reference = session.run(inputs), runtime_name
            if self.source.module is not None:
                answers = dict(zip(session.outputs, self.source.run(inputs)))
                checks += self._held("PyTorch", runtime_name, name, answers, expected)
                expected, reference = answers, "PyTorch"
            if engine is None:
                checks.append({"between": [reference, planrt_name], "input": name, "output": "", "passed": False, "why": refused})
                continue
            try:
                found = engine.run(inputs)
            except planrt.Error as error:
                checks.append({"between": [reference, planrt_name], "input": name, "output": "", "passed": False, "why": str(error)})
                continue
            held = self._held(reference, planrt_name, name, expected, found)
            if not first_off_known and not all(check["passed"] for check in held):
                held[0]["first_off"] = numbers.first_off(self.onnx, inputs, arguments.rtol, arguments.atol)
                first_off_known = True
            checks += held
        return checks

    def _held(
        self, reference: str, other: str, name: str, expected: numbers.Arrays, found: numbers.Arrays, loose: bool = False
    ) -> list[dict[str, Any]]:
        rtol, atol = self.arguments.loose if loose else (self.arguments.rtol, self.arguments.atol)
        checks = []
        for output, array in expected.items():
            result = numbers.compare(array, found[output], rtol, atol)
            if not result["passed"]:
                self.tell(f"  {reference} and {other}, {name}: {output!r} differs: {result['why']}")
            checks.append({"between": [reference, other], "input": name, "output": output, **result})
        return checks

    def _plan(self, precision: str) -> dict[str, Any]:
        target = self.work / f"{precision}.plan"
        plan = plans.build(self.runtime, self.onnx, target, precision, self.inputs, self.batches, self.tell)
        if not plan["built"]:
            self.tell(f"  {precision}: not built: {plan['why'].splitlines()[0]}")
            if plan["available"]:
                plan["checks"] = [{"between": ["ONNX", f"plan {precision}"], "input": "", "output": "", "passed": False, "why": plan["why"]}]
            return plan
        engine, why = plans.load(self.runtime, plan)
        if engine is None:
            return {**plan, "run": False, "why": why}
        loose = precision != "fp32"
        session, checks = numbers.Reference(self.onnx), []
        for name, inputs in self._samples():
            if self.source.module is not None:
                expected, reference = dict(zip(session.outputs, self.source.run(inputs))), "PyTorch"
            else:
                expected, reference = session.run(inputs), "ONNX Runtime"
            checks += self._held(reference, f"plan {precision}", name, expected, engine.run(inputs), loose)
        metadata = engine.metadata()
        rtol, atol = self.arguments.loose if loose else (self.arguments.rtol, self.arguments.atol)
        return {
            **plan,
            "run": True,
            "tensorrt": metadata.get("builder_version"),
            "builder": metadata.get("builder"),
            "tolerance": {"rtol": rtol, "atol": atol},
            "layers": plans.layers(engine),
            "checks": checks,
        }

    def _throughput(self) -> list[dict[str, Any]]:
        seconds = self.arguments.seconds
        if seconds <= 0:
            return []
        inputs, concurrency = self._random(self.batches[0], 0), self.arguments.concurrency
        rows = []

        def add(name: str, results: list[dict[str, Any]]) -> None:
            rows.extend({"engine": name, **result} for result in results)

        if self.source.module is not None:
            add("PyTorch on the CPU", [speed.measure(lambda: self.source.run(inputs), threads, seconds) for threads in concurrency])
        session = numbers.Reference(self.onnx)
        add("ONNX Runtime on the CPU", [speed.measure(lambda: session.run(inputs), threads, seconds) for threads in concurrency])
        try:
            engine = planrt.Engine(self.onnx, self.runtime, threads=self.arguments.threads)
            add("planrt on the CPU", speed.of_session(engine, inputs, concurrency, seconds))
        except planrt.Error:
            pass  # the checks have said so
        for plan in self.report["plans"]:
            if plan.get("run"):
                engine = planrt.Engine(plan["file"], self.runtime)
                add(f"plan {plan['precision'][0]}", speed.of_session(engine, inputs, concurrency, seconds))
        return rows

    # What comes out.

    def _tests(self) -> list[tuple[str, numbers.Arrays, numbers.Arrays]]:
        session, tests, room = numbers.Reference(self.onnx), [], _MOST_VECTOR_BYTES
        samples = self._samples()
        for name, inputs in [samples[0], *(samples[-1:] if self.arguments.data else [])]:
            outputs = session.run(inputs) if self.source.module is None else dict(zip(session.outputs, self.source.run(inputs)))
            room -= sum(array.nbytes for array in [*inputs.values(), *outputs.values()])
            if room < 0:
                self.report["not_done"] = self.report.get("not_done", []) + [f"test vector {name!r} is too large for the folder"]
                break
            tests.append((name, inputs, outputs))
        return tests

    def _write(self) -> None:
        """The folder with its passport; with a check that failed only the report, so that nothing is deployed by mistake."""
        report = self.report = plain(self.report)
        skipped = [f"plan {plan['precision'][0]}: {plan['why']}" for plan in report["plans"] if not plan.get("run")]
        report["not_done"] = report.get("not_done", []) + skipped
        if not any("concurrency" in row for row in report["throughput"]):
            report["not_done"].append("throughput was not measured")
        tests = self._tests()
        report = self.report = plain(self.report)
        pages = {"report.json": json.dumps(report, indent=1), "report.html": html(report)}
        for name, text in pages.items():
            (self.work / name).write_text(text, encoding="utf-8")
        if not report["passed"]:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "planrt.json").unlink(missing_ok=True)
            for name in pages:
                shutil.copyfile(self.work / name, self.out / name)
            return
        keys = ("file", "tensorrt", "builder", "device", "compute_capability", "precision", "profiles", "tolerance")
        planrt.write_folder(
            self.out,
            name=report["name"],
            onnx=self.onnx,
            plans=[{key: plan[key] for key in keys if plan.get(key) is not None} for plan in report["plans"] if plan["built"]],
            tests=tests,
            rtol=self.arguments.rtol,
            atol=self.arguments.atol,
            files={name: self.work / name for name in pages},
            more={"source": report["source"], "export": report["export"], "versions": report["versions"], "checks": report["checks"]},
        )
        self.tell("self-test ...")
        try:
            if tests:
                planrt.Engine.from_folder(self.out, self.runtime, allow_cpu=True).self_test(self.out)
        except planrt.Error:
            (self.out / "planrt.json").unlink(missing_ok=True)
            raise
        if not self.arguments.keep_work:
            shutil.rmtree(self.work)


def versions() -> dict[str, str]:
    found = {
        "planrt": planrt.version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": numbers.onnxruntime.__version__,
    }
    if "torch" in sys.modules:
        found["torch"] = str(sys.modules["torch"].__version__)
    return found


def plain(value: Any) -> Any:
    """What JSON has: numbers that are none become words."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    return value


def _quoted(word: str) -> str:
    return word if word.replace("-", "").replace("_", "").replace("=", "").replace(".", "").replace("/", "").replace(":", "").replace(",", "").isalnum() else repr(word)
