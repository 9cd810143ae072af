"""Throughput and latency, with several requests at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import planrt

from .numbers import Arrays


def measure(run: Callable[[], Any], threads: int, seconds: float) -> dict[str, Any]:
    """Runs as often as fits in the time, on so many threads."""
    run()  # what is settled at the first run is not measured
    times: list[float] = []
    failed: list[BaseException] = []
    begin = time.perf_counter()

    def work() -> None:
        try:
            while True:
                start = time.perf_counter()
                run()
                end = time.perf_counter()
                times.append(end - start)
                if end - begin >= seconds:
                    break
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed:
        raise failed[0]
    elapsed = time.perf_counter() - begin
    ordered = sorted(times)
    return {
        "concurrency": threads,
        "runs": len(ordered),
        "runs_per_second": len(ordered) / elapsed,
        "p50_ms": 1e3 * ordered[len(ordered) // 2],
        "p90_ms": 1e3 * ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)],
    }


def of_session(engine: planrt.Engine, inputs: Arrays, concurrency: list[int], seconds: float) -> list[dict[str, Any]]:
    """A session over an engine, which batches."""
    results = []
    for threads in concurrency:
        with planrt.Session(engine, largest_batch=max(1, threads)) as session:
            results.append(measure(lambda: session.run(inputs), threads, seconds))
    return results
