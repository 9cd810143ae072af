"""From a model to a folder, step by step: each step's result is kept until the folder is finished, so that the same command goes on where
it was interrupted. A check that fails is noted, and the next ones are made."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import planrt

from . import data, graph, head, numbers, overlay, plans, search, speed
from .problem import Problem
from .report import html
from .source import Input, Source, export, first_line, name_nodes, opset_of, random_array, read_inputs, users_function

# Test vectors are small: what is larger stays out of the folder, and the report says so.
_MOST_VECTOR_BYTES = 256 << 20
# Reference results are kept for the next plan's checks as far as this goes.
_MOST_KEPT_BYTES = 2 << 30
# Plans that are built to find what must stay float32.
_MOST_SEARCH_BUILDS = 5
# Plans that are held against the tolerance for what is computed in less than float32.
_EXACT = ("fp32",)


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
        self.prepare = users_function(arguments.prepare, "that prepares a file of --data") if arguments.prepare else None
        self.onnx = self.work / "model.onnx"
        # What runs: the model, or what is left of it without its last convolution, which is the head then.
        self.run_onnx = self.onnx
        self.head: head.Head | None = None
        self.runtime = planrt.Runtime(tensorrt=arguments.tensorrt, device=arguments.device)
        # Until it ends: that no other process converts to this folder.
        self.held = contextlib.ExitStack()
        self.report: dict[str, Any] = {}
        self.session: numbers.Reference | None = None
        self.kept: dict[str, tuple[numbers.Arrays, str]] = {}
        self.nan_place: str | None = None

    # What is kept between two runs of the same command.

    def _identity(self) -> dict[str, Any]:
        """What all results depend on: another model, or other versions, begin anew."""
        keys = ("model", "input", "output", "batch", "dynamic", "opset", "exporter", "symbolics")
        files = [self.source.path, *self.source.weights, *self.arguments.symbolics]
        return {
            "files": [planrt.sha256(file) for file in files if file],
            "options": {key: getattr(self.arguments, key) for key in keys},
            "versions": versions(),
        }

    def _of_numbers(self) -> dict[str, Any]:
        """What the result of a check depends on beside."""
        own = {name: data.digest(arrays) for name, arrays in self.data.items()}
        return {**{key: getattr(self.arguments, key) for key in ("rtol", "atol", "seed", "fold_head", "threads", "allow_nan")}, "data": own}

    def _of_plans(self) -> dict[str, Any]:
        """What a plan and its checks depend on."""
        keys = ("loose", "tensorrt", "device", "keep_float32", "search", "without_libraries", "instance_normalization")
        return {**self._of_numbers(), **{key: getattr(self.arguments, key) for key in keys}}

    def _begin(self) -> None:
        self.state_file = self.work / "state.json"
        if not self.state_file.is_file() and self.work.exists() and not (self.work.is_dir() and not any(self.work.iterdir())):
            raise Problem(
                f"{self.work} is there already, and no conversion's: results are kept there until the folder is finished. Move it, or give "
                "another --out"
            )
        self.work.mkdir(parents=True, exist_ok=True)
        self._be_alone()
        identity = plain(self._identity())
        self.state: dict[str, Any] = {"identity": identity, "steps": {}}
        # A function's code may be another one, and nobody can tell.
        if self.state_file.is_file() and self.source.path is not None:
            try:
                found = json.loads(self.state_file.read_text())
            except (ValueError, OSError):
                found = {}
            if isinstance(found, dict) and found.get("identity") == identity and isinstance(found.get("steps"), dict):
                self.state = found
        if not self.state["steps"]:
            for place in self.work.iterdir():
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place, ignore_errors=True)
                else:
                    place.unlink()
        self._keep()

    def _be_alone(self) -> None:
        """An error where another process converts to the same folder; as long as this one does, others have it."""
        directory = os.open(self.work, os.O_RDONLY)
        self.held.callback(os.close, directory)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem(f"another planrt-convert is at work in {self.work}: wait for it, or give another --out") from None
        except OSError:
            pass  # a file system without locks

    def _keep(self) -> None:
        part = self.state_file.with_suffix(".part")
        part.write_text(json.dumps(self.state))
        os.replace(part, self.state_file)

    def _step(self, name: str, make: Callable[[], Any], depends: Any = None) -> Any:
        """What a step gives, made now or before, by the same options and with the files that it wrote as they were."""
        depends, before = plain(depends), self.state["steps"].get(name)
        if before and before["depends"] == depends and all(_is_as_it_was(file) for file in before["files"].items()):
            self.tell(f"{name}: done before")
            return before["result"]
        self.tell(f"{name} ...")
        start = time.perf_counter()
        self.files: dict[str, str] = {}
        result = plain(make())
        seconds = time.perf_counter() - start
        self.state["steps"][name] = {"depends": depends, "files": self.files, "seconds": seconds, "result": result}
        self._keep()
        self.tell(f"{name}: {seconds:.1f} s")
        return result

    def _wrote(self, file: Path) -> None:
        self.files[str(file)] = planrt.sha256(file)

    # The steps.

    def run(self) -> bool:
        """Everything; whether each check passed."""
        with self.held:
            self._begin()
            return self._convert()

    def _convert(self) -> bool:
        self.report = {
            "name": printable(self.arguments.name or self.out.name),
            "source": self._source(),
            "command": printable(shlex.join(self.arguments.command)),
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "versions": versions(),
            "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "device": self.runtime.describe()["device"]},
            "tolerance": {"rtol": self.arguments.rtol, "atol": self.arguments.atol},
        }
        self.report["export"] = self._step("export", self._export)
        self.model = model = onnx.load(str(self.onnx))
        self.inputs = read_inputs(model, self.arguments.input)
        self.batches = self._batches()
        names = {node.name for node in model.graph.node}
        for name in self.arguments.keep_float32:
            if name not in names:
                raise Problem(f"--keep-float32 {name}: the ONNX model has no node of that name")
        self.data = data.read_all(self.arguments.data, self.prepare, self.inputs, self.batches)
        self.report["model"] = self._model(model)
        of_numbers, of_plans = self._of_numbers(), self._of_plans()
        self.report["operators"] = self._step("graph", lambda: self._graph(model), of_numbers)
        self.run_model, checks = model, []
        if self.arguments.fold_head:
            checks = self._folded(of_numbers)
        told = self._step("numbers", self._numbers, of_numbers)
        checks, overlays = checks + told["checks"], told["overlays"]
        self.report["plans"] = []
        for precision in self.arguments.precision:
            plan = self._step(f"plan {precision}", lambda: self._plan(precision), of_plans)
            self.report["plans"].append(plan)
            checks, overlays = checks + plan.get("checks", []), overlays + plan.get("overlays", [])
        self.report["checks"], self.report["overlays"] = checks, overlays
        self.report["not_done"] = []
        self.report["throughput"] = self._throughput()
        self.report["seconds"] = {name: step["seconds"] for name, step in self.state["steps"].items()}
        self.report["passed"] = all(check["passed"] for check in checks)
        self._write()
        return bool(self.report["passed"])

    def _source(self) -> dict[str, Any]:
        path = self.source.path
        return {"given": printable(self.arguments.model), "kind": self.source.kind, **({"sha256": planrt.sha256(path)} if path else {})}

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
            self._refuse_what_exports_take(model)
            # Weights in other files come into the one.
            name_nodes(model)
            onnx.save(model, str(self.onnx))
            self._wrote(self.onnx)
            return {"exporter": None, "opset": opset_of(model), "warnings": []}
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
        told = export(
            self.source, self.onnx, inputs, self.arguments.output, batch, self.arguments.opset, self.arguments.exporter
        )
        self._wrote(self.onnx)
        return told

    def _refuse_what_exports_take(self, model: onnx.ModelProto) -> None:
        """An ONNX file is taken as it is: an error where something else was asked for."""
        outputs = [output.name for output in model.graph.output]
        if self.arguments.output and self.arguments.output != outputs:
            raise Problem(f"--output: the outputs of an ONNX file keep their names, which are {', '.join(map(repr, outputs))}")
        if self.arguments.opset not in (None, opset_of(model)):
            raise Problem(f"--opset {self.arguments.opset}: an ONNX file keeps its own, which is {opset_of(model)}")
        for option in ("exporter", "symbolics"):
            if getattr(self.arguments, option) not in ("auto", []):
                raise Problem(f"--{option} is of an export, and an ONNX file is none")
        taken = {one.name: one.open_axes for one in read_inputs(model, self.arguments.input)}
        for name, axis in self.arguments.dynamic:
            if axis not in taken.get(name, []):
                raise Problem(f"--dynamic {name}:{axis}: the model has no input with that axis open, and an ONNX file is taken as it is")

    def _model(self, model: onnx.ModelProto) -> dict[str, Any]:
        for output in model.graph.output:
            if (kind := output.type.WhichOneof("value")) != "tensor_type":
                raise Problem(f"output {output.name!r} is no tensor ({(kind or 'nothing').removesuffix('_type')}): planrt gives tensors")
        return {
            "sha256": planrt.sha256(self.onnx),
            "size_bytes": self.onnx.stat().st_size,
            "producer": f"{model.producer_name} {model.producer_version}".strip(),
            "opsets": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
            "inputs": [{"name": one.name, "shape": one.shape, "open_axes": one.open_axes, "type": one.dtype} for one in self.inputs],
            "outputs": [output.name for output in model.graph.output],
            "batches": list(self.batches),
        }

    def _folded(self, of_numbers: dict[str, Any]) -> list[dict[str, Any]]:
        """Takes the last convolution out: the checks of that. From then on what runs is what is left."""
        self.run_onnx, weights = self.work / "features.onnx", self.work / "head.bin"

        def make() -> dict[str, Any]:
            folded, found = head.fold(self.model)
            onnx.save(folded, str(self.run_onnx))
            found.save(weights)
            self._wrote(self.run_onnx)
            self._wrote(weights)
            return {"head": found.described("head.bin"), "checks": self._head_checks(found)}

        told = self._step("head", make, of_numbers)
        self.report["head"] = told["head"]
        self.head, self.run_model = head.Head.load(weights, told["head"]), onnx.load(str(self.run_onnx))
        if told["head"]["features"] >= told["head"]["channels"]:
            self.tell(f"  {told['head']['features']} features for {told['head']['channels']} channels: the head folded out, memory does not become less")
        return list(told["checks"])

    def _head_checks(self, found: head.Head) -> list[dict[str, Any]]:
        """The head applied to features, and to a blend of two tiles' features, against the whole model's values and their blend."""
        batch, output = self.batches[0], found.output
        inputs = [self._random(batch, seed) for seed in (batch, batch + 1)]
        whole, folded = numbers.Reference(self.onnx), numbers.Reference(self.run_onnx)
        try:
            expected = [whole.run(one)[output] for one in inputs]
            features = [folded.run(one)[found.input] for one in inputs]
        except Exception as error:  # a model that takes its input only as it was traced, or that ONNX Runtime does not take
            return [failed("ONNX Runtime", "the head of its features", "random", first_line(error))]
        # The weights of a tile over its neighbour's, from one side to the other.
        share = np.linspace(0, 1, expected[0].shape[-1], dtype=np.float32)

        def blended(pair: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
            return pair[0] * share + pair[1] * (1 - share)

        checks = []
        for name, other, logits, of_features in (
            ("ONNX Runtime", "the head of its features", expected[0], features[0]),
            ("blended values", "the head of blended features", blended(expected), blended(features)),
        ):
            made = found.apply({found.input: of_features})[output]
            result = numbers.compare(logits, made, self.arguments.rtol, self.arguments.atol)
            note = head.near_ties(logits, made)
            checks.append({"between": [name, other], "input": "random", "output": output, **result, **({"note": note} if note else {})})
        return checks

    def _run(self, engine: planrt.Engine, inputs: numbers.Arrays) -> numbers.Arrays:
        """What the whole model gives, by an engine of what runs."""
        found: numbers.Arrays = engine.run(inputs)
        return found if self.head is None else self.head.apply(found)

    def _graph(self, model: onnx.ModelProto) -> dict[str, Any]:
        nodes = [{"name": node.name, "operator": node.op_type} for node in model.graph.node]
        result: dict[str, Any] = {"onnx": graph.operators(model), "nodes": nodes, "mapping": None, "hints": []}
        if self.source.module is not None and self.source.kind != "torch.export program":
            inputs = self._random(self.batches[0], 0)
            tolerance = (self.arguments.rtol, self.arguments.atol)
            failed = ""
            for probe, given in graph.probes(model, inputs):
                try:
                    result["mapping"] = graph.mapping(self.source, probe, given, *tolerance)
                    break
                except Exception as error:  # internals of PyTorch's; and a model may not take less than its size
                    failed = first_line(error)
            if result["mapping"] is None:
                result["mapping_failed"] = failed
            if result["mapping"] is None or result["mapping"]["unmatched"]:
                result["hints"] = graph.traps(self.source, model, inputs)
        return result

    def _random(self, batch: int, seed: int, other: bool = False) -> numbers.Arrays:
        return {one.name: random_array(one, batch, self.arguments.seed + seed, other) for one in self.inputs}

    def _samples(self) -> list[tuple[str, Callable[[], numbers.Arrays]]]:
        """Random inputs at each batch of the profile, at other extents where axes are open, and the user's own."""
        smallest, best, largest = self.batches
        every = range(smallest, largest + 1) if largest - smallest < 8 else sorted({smallest, best, largest})

        def random(batch: int, other: bool = False) -> Callable[[], numbers.Arrays]:
            return lambda: self._random(batch, batch, other)

        samples = [(f"random, batch {batch}" if len(every) > 1 else "random", random(batch)) for batch in every]
        if any(one.other_extents() != one.shape for one in self.inputs):
            samples.append(("random, other extents", random(smallest, True)))
        return samples + [(name, lambda given=given: given) for name, given in self.data.items()]

    def _expected(self, name: str, inputs: numbers.Arrays) -> tuple[numbers.Arrays, str]:
        """What a sample's results are to be, and whose word that is: PyTorch's, where there is a module, or ONNX Runtime's."""
        if name not in self.kept:
            if self.source.module is not None:
                found = dict(zip(self.report["model"]["outputs"], self.source.run(inputs))), "PyTorch"
            else:
                found = self._run_reference(inputs), "ONNX Runtime"
            size = sum(array.nbytes for arrays, _who in [*self.kept.values(), found] for array in arrays.values())
            if size > _MOST_KEPT_BYTES:
                return found
            self.kept[name] = found
        return self.kept[name]

    def _run_reference(self, inputs: numbers.Arrays) -> numbers.Arrays:
        """What ONNX Runtime answers; it may refuse the model."""
        if self.session is None:
            # Where nothing else is the judge, with normalizations that are right.
            exact = numbers.with_exact_norms(self.model) if self.source.module is None else None
            self.session = numbers.Reference(exact.SerializeToString() if exact else self.onnx)
        return self.session.run(inputs)

    def _numbers(self) -> dict[str, Any]:
        """PyTorch, ONNX Runtime and planrt on the CPU against each other."""
        checks: list[dict[str, Any]] = []
        overlays: list[dict[str, Any]] = []
        runtime_name, planrt_name = "ONNX Runtime", "planrt on the CPU"
        try:
            engine, refused = planrt.Engine(self.run_onnx, self.runtime, threads=self.arguments.threads), ""
        except planrt.Error as error:
            engine, refused = None, str(error)
        first_off_known = False
        for name, make in self._samples():
            inputs = make()
            try:
                expected, reference = self._expected(name, inputs)
            except Exception as error:  # of a model that takes this input only as it was traced, or that ONNX Runtime does not take
                who = runtime_name if self.source.module is None else "PyTorch"
                checks.append(failed(who, planrt_name, name, f"{who} itself fails: {first_line(error)}{self._hint(name)}"))
                continue
            checks += self._nan_checks(reference, name, inputs, expected)
            if reference == "PyTorch":
                checks += self._reference_tried(name, inputs, expected)
            if engine is None:
                checks.append(failed(reference, planrt_name, name, refused))
                continue
            held = self._tried(reference, planrt_name, name, expected, lambda: self._run(engine, inputs), overlays)
            if not first_off_known and not all(check["passed"] for check in held):
                held[0]["first_off"] = numbers.first_off(self.run_onnx, inputs, self.arguments.rtol, self.arguments.atol)
                first_off_known = True
            checks += held
        some_batches_pass = any(check["passed"] and check["input"].startswith("random, batch") for check in checks)
        for check in checks:
            if some_batches_pass and "elements" not in check and check["input"].startswith("random, batch") and self.source.module is not None:
                check["why"] += "; the export fixed the batch: give --batch 1, or --exporter dynamo"
        return {"checks": checks, "overlays": overlays}

    def _nan_checks(self, reference: str, name: str, inputs: numbers.Arrays, expected: numbers.Arrays) -> list[dict[str, Any]]:
        """A model that answers NaN agrees with itself, and is of no use: a check that failed, unless that is allowed."""
        checks: list[dict[str, Any]] = []
        for output, array in expected.items():
            if not (count := numbers.count_nan(array)):
                continue
            place = self._place_of_nan(inputs)
            said = f"{reference} itself answers NaN: {count} of {array.size} elements; {place}"
            self.tell(f"  {name}: {output!r}: {said}")
            told = {"note": said} if self.arguments.allow_nan else {"why": f"{said}. Where that is meant, --allow-nan takes it"}
            between, passed = [reference, "numbers, not NaN"], bool(self.arguments.allow_nan)
            checks.append({"between": between, "input": name, "output": output, "passed": passed, "nan": count, **told})
        return checks

    def _place_of_nan(self, inputs: numbers.Arrays) -> str:
        """Where the NaN of a sample comes from; in the model it is looked for once, since that takes all values between."""
        if given := [name for name, array in inputs.items() if numbers.count_nan(array)]:
            return f"the input {given[0]!r} has NaN itself"
        if self.nan_place is None:
            self.nan_place = numbers.first_nan(self.onnx, inputs)
        return self.nan_place

    def _hint(self, name: str) -> str:
        """What may be the reason."""
        if self.source.module is None or name != "random, other extents":
            return ""
        return "; tracing may have fixed its extents: leave --dynamic out, or trace a model that computes them from its input"

    def _reference_tried(self, name: str, inputs: numbers.Arrays, expected: numbers.Arrays) -> list[dict[str, Any]]:
        """PyTorch and ONNX Runtime; where they differ, also with the model's normalizations in float64, by which the model is judged then."""
        held = self._tried("PyTorch", "ONNX Runtime", name, expected, lambda: self._run_reference(inputs))
        exact = None if all(check["passed"] for check in held) else numbers.with_exact_norms(self.model)
        if exact is None:
            return held
        words = "ONNX Runtime, its normalizations in float64"
        self.tell(f"  again with {words}")
        again = self._tried("PyTorch", words, name, expected, lambda: numbers.Reference(exact.SerializeToString()).run(inputs))
        if not all(check["passed"] for check in again):
            return held + again
        for check, before in zip(again, held):
            check["note"] = f"in float32 ONNX Runtime's own are off: {before['why']}, by {before.get('largest_difference', 0):.3g} at most"
        return again

    def _tried(
        self,
        reference: str,
        other: str,
        name: str,
        expected: numbers.Arrays,
        run: Callable[[], numbers.Arrays],
        overlays: list[dict[str, Any]] | None = None,
        loose: bool = False,
    ) -> list[dict[str, Any]]:
        """The checks of one sample; one that fails, also by an error, does not keep the others from being made."""
        try:
            found = run()
        except Exception as error:  # planrt's, ONNX Runtime's
            check = failed(reference, other, name, first_line(error) + self._hint(name))
            self.tell(f"  {reference} and {other}, {name}: {check['why']}")
            return [check]
        rtol, atol = self.arguments.loose if loose else (self.arguments.rtol, self.arguments.atol)
        checks = []
        for output, array in expected.items():
            result = numbers.compare(array, found[output], rtol, atol)
            if not result["passed"]:
                result["why"] += self._hint(name)
                self.tell(f"  {reference} and {other}, {name}: {output!r} differs: {result['why']}")
            checks.append({"between": [reference, other], "input": name, "output": output, **result})
            if overlays is not None and name in self.data:
                a, b = overlay.labels_of(array), overlay.labels_of(found[output])
                if a is not None and b is not None and a.shape == b.shape:
                    drawn = overlay.picture(self.data[name][self.inputs[0].name][0][0], a, b)
                    between = {"between": [reference, other], "input": name, "output": output}
                    overlays.append({**between, "labels": overlay.agreement(a, b), "png": drawn})
        return checks

    def _build(self, precision: str, keep_float32: list[str]) -> dict[str, Any]:
        target, start = self.work / f"{precision}.plan", time.perf_counter()
        options = plans.options(
            precision,
            plans.profile(self.inputs, self.batches),
            keep_float32,
            Path(self.arguments.timing_cache or self.work / "timing.cache"),
            self.arguments.without_libraries,
            self.arguments.instance_normalization,
        )
        plan = plans.build(self.runtime, self.run_onnx, target, precision, options, self.tell)
        if plan["built"]:
            self._wrote(target)
            plan["build_seconds"] = time.perf_counter() - start
        return plan

    def _plan(self, precision: str) -> dict[str, Any]:
        plan = self._build(precision, self.arguments.keep_float32)
        name = f"plan {precision}"
        if not plan["built"]:
            self.tell(f"  {precision}: not built: {plan['why'].splitlines()[0]}")
            if plan["available"]:
                plan["checks"] = [failed("ONNX", name, "", plan["why"])]
            return plan
        engine, why, is_absent = plans.load(self.runtime, plan)
        if engine is None:
            checks = [] if is_absent else [failed("ONNX", name, "", why)]
            return {**plan, "run": False, "why": why, "checks": checks}
        loose = precision not in _EXACT
        checks, overlays = self._checked(engine, name, loose)
        if loose and self.arguments.search and not all(check["passed"] for check in checks):
            engine = None  # its memory is the next one's
            plan, engine, found = self._searched(precision, plan, checks)
            if found is not None:
                checks, overlays = found
        metadata = engine.metadata() if engine is not None else {}
        rtol, atol = self.arguments.loose if loose else (self.arguments.rtol, self.arguments.atol)
        return {
            **plan,
            "run": engine is not None,
            "tensorrt": metadata.get("builder_version"),
            "builder": metadata.get("builder"),
            "tolerance": {"rtol": rtol, "atol": atol},
            "layers": self._layers(engine),
            "checks": checks,
            "overlays": overlays,
        }

    def _layers(self, engine: planrt.Engine | None) -> list[dict[str, Any]]:
        try:
            return plans.layers(engine, self.run_model) if engine is not None else []
        except planrt.Error as error:  # of a TensorRT without an inspector
            self.tell(f"  the plan's layers are not told: {error}")
            return []

    def _checked(
        self, engine: planrt.Engine, name: str, loose: bool, only: str | None = None
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """A plan against the reference, with each sample, or with one only."""
        checks: list[dict[str, Any]] = []
        overlays: list[dict[str, Any]] = []
        for sample, make in self._samples():
            if only is not None and sample != only:
                continue
            inputs = make()
            try:
                expected, reference = self._expected(sample, inputs)
            except Exception:  # that check has failed already
                continue
            checks += self._tried(reference, name, sample, expected, lambda: self._run(engine, inputs), overlays, loose)
        return checks, overlays

    def _searched(self, precision: str, plan: dict[str, Any], checks: list[dict[str, Any]]) -> tuple[dict[str, Any], Any, Any]:
        """Looks for what must stay float32: the plan with it, its engine and its checks; or the plan as it was, without."""
        self.tell(f"  {precision}: looking for the layers that must stay float32")
        worst = max((check.get("largest_difference", 0.0) for check in checks), default=0.0)
        tries: list[dict[str, Any]] = []
        told = {"largest_difference_without": worst, "tries": tries, "found": False}
        for model, inputs in graph.probes(self.run_model, self._random(self.batches[0], self.batches[0])):
            try:
                expected = numbers.Reference(model.SerializeToString()).run(inputs)
                sets = list(search.candidates(model, inputs, expected, *self.arguments.loose))
                break
            except Exception as error:  # a model may not take less than its size, or hold what cannot be rounded
                sets, told["failed"] = [], first_line(error)
        for why, keep in sets[:_MOST_SEARCH_BUILDS]:
            again = self._build(precision, [*self.arguments.keep_float32, *keep])
            attempt = {"why": why, "keep_float32": keep, "passed": False}
            tries.append(attempt)
            if not again["built"]:
                attempt["failed"] = again["why"]
                continue
            engine, failed_to_load, _ = plans.load(self.runtime, again)
            if engine is None:
                attempt["failed"] = failed_to_load
                continue
            # The sample that failed comes first: all of them take their time.
            for only in (next(check["input"] for check in checks if not check["passed"]), None):
                found = self._checked(engine, f"plan {precision}", True, only)
                attempt["passed"] = all(check["passed"] for check in found[0])
                if not attempt["passed"]:
                    break
            self.tell(f"  {precision}: {len(keep)} in float32: {'passed' if attempt['passed'] else 'not enough'}")
            if attempt["passed"]:
                told["found"] = True
                return {**again, "search": told}, engine, found
        # As it was, so that the report and the file agree.
        again = self._build(precision, self.arguments.keep_float32)
        engine = plans.load(self.runtime, again)[0] if again["built"] else None
        return {**plan, **again, "search": told}, engine, None

    def _throughput(self) -> list[dict[str, Any]]:
        """On the GPU where a plan runs, else on the CPU; each engine is a step."""
        seconds, concurrency, device = self.arguments.seconds, self.arguments.concurrency, self.arguments.device
        if seconds <= 0:
            return []
        inputs = self._random(self.batches[0], 0)
        run = [plan for plan in self.report["plans"] if plan.get("run")]
        depends = [seconds, concurrency, self.arguments.threads, device, [plan["sha256"] for plan in run]]
        rows: list[dict[str, Any]] = []

        def add(name: str, make: Callable[[], Iterator[dict[str, Any]]]) -> None:
            def measured() -> dict[str, Any]:
                found: list[dict[str, Any]] = []
                try:
                    for row in make():
                        self.tell(f"  {row['engine']}, {row['concurrency']} at once: {row['runs_per_second']:.4g}/s, p50 {row['p50_ms']:.3g} ms")
                        found.append(row)
                except Exception as error:  # of PyTorch's, on the GPU; what was measured before stays
                    return {"rows": found, "failed": first_line(error)}
                return {"rows": found, "failed": None}

            told = self._step(f"throughput {name}", measured, depends)
            rows.extend(told["rows"])
            if told["failed"]:
                self.report["not_done"].append(f"throughput of {name}: {told['failed']}")

        def of_plan(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
            engine = planrt.Engine(plan["file"], self.runtime)
            name = f"plan {plan['precision'][0]}"
            yield from speed.of_plan(name, engine, inputs, self.batches[2], device, concurrency, seconds)

        if not run:
            engine = None
            with contextlib.suppress(planrt.Error):  # the checks have said so
                engine = planrt.Engine(self.run_onnx, self.runtime, threads=self.arguments.threads)
            add("the CPU", lambda: speed.on_cpu(self.source, self.run_onnx, engine, inputs, concurrency, seconds))
            return rows
        if self.source.module is not None:
            if speed.has_torch_gpu():
                for half in [False, *([True] if any(plan["precision"][0] in ("fp16", "best") for plan in run) else [])]:
                    name = f"PyTorch, {'float16' if half else 'float32'}"
                    add(name, lambda: speed.of_torch(self.source, inputs, half, device, concurrency, seconds))
            else:
                self.report["not_done"].append("throughput of PyTorch on the GPU: this PyTorch has none")
        for plan in run:
            add(f"plan {plan['precision'][0]}", lambda: of_plan(plan))
        return rows

    # What comes out.

    def _tests(self) -> list[tuple[str, numbers.Arrays, numbers.Arrays]]:
        tests, room = [], _MOST_VECTOR_BYTES
        samples = self._samples()
        for name, make in [samples[0], *samples[len(samples) - len(self.data) :]]:
            inputs = make()
            outputs = self._expected(name, inputs)[0] if self.head is None else self._features(inputs)
            room -= sum(array.nbytes for array in [*inputs.values(), *outputs.values()])
            if room < 0:
                self.report["not_done"].append(f"test vector {name!r} is too large for the folder")
                break
            tests.append((name, inputs, outputs))
        return tests

    def _features(self, inputs: numbers.Arrays) -> numbers.Arrays:
        """What a model whose head is folded is to give."""
        exact = numbers.with_exact_norms(self.run_model)
        return numbers.Reference(exact.SerializeToString() if exact else self.run_onnx).run(inputs)

    def _write(self) -> None:
        """The folder with its passport; with a check that failed only the report, so that nothing is deployed by mistake."""
        report = self.report = plain(self.report)
        skipped = [f"plan {plan['precision'][0]}: {plan['why']}" for plan in report["plans"] if not plan.get("run")]
        report["not_done"] += skipped
        if not report["throughput"]:
            report["not_done"].append("throughput was not measured")
        elif not any("clocks" in row for row in report["throughput"]):
            report["not_done"].append("throughput on a GPU was not measured: no plan runs here")
        if not report["overlays"]:
            report["not_done"].append("results were not drawn: " + ("they are no labels of its voxels" if self.data else "give a volume with --data"))
        tests = self._tests() if report["passed"] else []
        without_pictures = {**report, "overlays": [{**one, "png": None} for one in report["overlays"]]}
        for plan in without_pictures["plans"]:
            plan.pop("overlays", None)
            plan.pop("checks", None)  # they are among the others
        pages = {"report.json": json.dumps(without_pictures, indent=1), "report.html": html(report)}
        for name, text in pages.items():
            (self.work / name).write_text(text, encoding="utf-8")
        if not report["passed"]:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "planrt.json").unlink(missing_ok=True)
            for name in pages:
                shutil.copyfile(self.work / name, self.out / name)
            return
        keys = ("file", "tensorrt", "builder", "device", "compute_capability", "precision", "keep_float32", "profiles", "tolerance")
        planrt.write_folder(
            self.out,
            name=report["name"],
            onnx=self.run_onnx,
            plans=[{key: plan[key] for key in keys if plan.get(key) is not None} for plan in report["plans"] if plan["built"]],
            tests=tests,
            rtol=self.arguments.rtol,
            atol=self.arguments.atol,
            files={name: self.work / name for name in [*pages, *(["head.bin"] if self.head else [])]},
            more={
                **({"head": report["head"]} if self.head else {}),
                "source": report["source"], "export": report["export"], "versions": report["versions"], "checks": report["checks"]},
        )
        self.tell("self-test ...")
        try:
            if tests:
                planrt.Engine.from_folder(self.out, self.runtime, allow_cpu=True, allow_features=True).self_test(self.out)
        except planrt.Error:
            (self.out / "planrt.json").unlink(missing_ok=True)
            raise
        if not self.arguments.keep_work:
            shutil.rmtree(self.work)


def failed(reference: str, other: str, name: str, why: str) -> dict[str, Any]:
    """A check that could not be made for a fault of the model's."""
    return {"between": [reference, other], "input": name, "output": "", "passed": False, "why": why}


def _is_as_it_was(file: tuple[str, str]) -> bool:
    path, digest = file
    return os.path.isfile(path) and planrt.sha256(path) == digest


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


def printable(text: str) -> str:
    """Text that UTF-8 can say: words of a command may be any bytes."""
    return text.encode(errors="replace").decode()
