"""Throughput and latency, with several requests at once: PyTorch beside planrt, with dynamic batching and without.

On a GPU inputs and outputs stay in its memory, for PyTorch and plans alike; on the CPU they are arrays.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import planrt

from .gpu import watched
from .numbers import Arrays, Reference
from .source import Source, as_tensors

_WARM_UP = 0.25  # of the time that is measured
_LONGEST_WAIT = 600.0


def measure(make: Callable[[], Callable[[], Any]], threads: int, seconds: float) -> dict[str, Any]:
    """Runs as often as fits in the time, on so many threads; each thread makes what it runs."""
    counting, over = threading.Event(), threading.Event()
    warm = threading.Barrier(threads + 1)
    times: list[list[float]] = [[] for _ in range(threads)]
    failed: list[BaseException] = []

    def work(own: list[float]) -> None:
        try:
            run = make()
            run()  # what is settled at the first run is not measured
            warm.wait(_LONGEST_WAIT)
            while not over.is_set():
                start = time.perf_counter()
                run()
                if counting.is_set():
                    own.append(time.perf_counter() - start)
        except BaseException as error:
            failed.append(error)
            warm.abort()

    workers = [threading.Thread(target=work, args=(own,)) for own in times]
    for worker in workers:
        worker.start()
    start = time.perf_counter()
    try:
        with contextlib.suppress(threading.BrokenBarrierError):
            warm.wait(_LONGEST_WAIT)
            time.sleep(seconds * _WARM_UP)
            counting.set()
            start = time.perf_counter()
            time.sleep(seconds)
    finally:
        over.set()
        for worker in workers:
            worker.join()
    # Those under way when the time was up are counted, with the time that they took.
    elapsed = time.perf_counter() - start
    if failed:
        raise next((one for one in failed if not isinstance(one, threading.BrokenBarrierError)), failed[0])
    ordered = sorted(one for own in times for one in own)
    if not ordered:  # none was as quick as that
        return measure(make, threads, 2 * seconds)
    return _row(threads, len(ordered), elapsed, [1e3 * ordered[min(len(ordered) - 1, int(len(ordered) * p))] for p in (0.5, 0.9, 0.99)])


def _row(threads: int, runs: int, seconds: float, percentiles_ms: list[float]) -> dict[str, Any]:
    keys = ("p50_ms", "p90_ms", "p99_ms")
    return {"concurrency": threads, "runs": runs, "runs_per_second": runs / seconds, **dict(zip(keys, percentiles_ms))}


def has_torch_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def on_cpu(
    source: Source, model: Any, engine: planrt.Engine | None, inputs: Arrays, concurrency: list[int], seconds: float
) -> Iterator[dict[str, Any]]:
    """PyTorch, ONNX Runtime and planrt on the CPU."""
    if source.module is not None:
        for threads in concurrency:
            yield {"engine": "PyTorch on the CPU", **measure(lambda: lambda: source.run(inputs), threads, seconds)}
    session = Reference(model)
    for threads in concurrency:
        yield {"engine": "ONNX Runtime on the CPU", **measure(lambda: lambda: session.run(inputs), threads, seconds)}
    if engine is not None:
        for threads in concurrency:
            with planrt.Session(engine, largest_batch=max(1, threads)) as requests:
                yield {"engine": "planrt on the CPU", **measure(lambda: lambda: requests.run(inputs), threads, seconds)}


def of_torch(
    source: Source, inputs: Arrays, half: bool, device: int, concurrency: list[int], seconds: float
) -> Iterator[dict[str, Any]]:
    """PyTorch on the GPU, as its users run it (TF32 in convolutions): the better of its defaults and of cuDNN measuring its algorithms."""
    import torch

    name = f"{source.kind if source.kind == 'TorchScript' else 'PyTorch'}, {'float16' if half else 'float32'}"
    place = torch.device("cuda", device)
    module = source.on(place, half)

    def make() -> Callable[[], Any]:
        stream = torch.cuda.Stream(place)
        given = [one.to(place) for one in as_tensors(inputs)]
        given = [one.half() if half and one.is_floating_point() else one for one in given]
        torch.cuda.synchronize(place)

        def run() -> None:
            with torch.inference_mode(), torch.cuda.stream(stream):
                module(*given)
                stream.synchronize()

        for _ in range(3):  # TorchScript compiles at the second, cuDNN measures in each thread anew
            run()
        return run

    before = torch.backends.cudnn.benchmark
    try:
        for threads in concurrency:
            found = []
            for tuned in (False, True):
                torch.backends.cudnn.benchmark = tuned
                with watched(device) as clocks:
                    row = measure(make, threads, seconds / 2)
                found.append({"engine": name, **row, "cudnn_benchmark": tuned, "clocks": clocks})
            yield max(found, key=lambda row: row["runs_per_second"])
    finally:
        torch.backends.cudnn.benchmark = before
        del module
        torch.cuda.empty_cache()


def of_plan(
    name: str, engine: planrt.Engine, inputs: Arrays, largest: int, device: int, concurrency: list[int], seconds: float
) -> Iterator[dict[str, Any]]:
    """Requests of many threads to a session over a plan: one by one, and in batches as they come."""
    shapes = {one: array.shape for one, array in inputs.items()}
    items = next(iter(shapes.values()))[0]
    for label, batch in ((name, items), (f"{name}, dynamic batching", largest)):
        if batch == items and label != name:
            continue
        for threads in concurrency:
            with watched(device) as clocks:
                told = engine.bench(
                    shapes,
                    concurrency=threads,
                    largest_batch=batch,
                    data_transfers=False,
                    warm_up=seconds * _WARM_UP,
                    duration=seconds,
                    percentiles=(90, 99),
                )
            latency = told["latency"]
            percentiles = {float(key): value for key, value in latency["percentiles_ms"].items()}
            row = _row(threads, told["runs"], told["seconds"], [latency["median_ms"], percentiles[90.0], percentiles[99.0]])
            yield {"engine": label, **row, "mean_batch_items": told.get("mean_batch_items"), "clocks": clocks}
