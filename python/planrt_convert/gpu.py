"""What the GPU's clocks, temperature and power are while something is measured, from the driver's management library."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from typing import Any

_GRAPHICS, _SM, _MEMORY = 0, 1, 2
_EVERY_SECONDS = 0.1


class _Counters:
    """One GPU in NVML. `OSError` where the library, or the GPU in it, is not there."""

    def __init__(self, ordinal: int):
        cuda, self._nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
        bus = ctypes.create_string_buffer(32)
        device, self._device = ctypes.c_int(), ctypes.c_void_p()
        # CUDA_VISIBLE_DEVICES renumbers the driver's devices and not NVML's: the bus is what both know.
        done = (
            cuda.cuInit(0) == 0
            and cuda.cuDeviceGet(ctypes.byref(device), ordinal) == 0
            and cuda.cuDeviceGetPCIBusId(bus, len(bus), device) == 0
            and self._nvml.nvmlInit_v2() == 0
            and self._nvml.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(self._device)) == 0
        )
        if not done:
            raise OSError("NVML does not know the GPU")

    def _number(self, call: str, *words: int) -> int | None:
        value = ctypes.c_uint()
        return value.value if getattr(self._nvml, call)(self._device, *words, ctypes.byref(value)) == 0 else None

    def read(self) -> dict[str, int | None]:
        power = self._number("nvmlDeviceGetPowerUsage")
        return {
            "sm_clock_mhz": self._number("nvmlDeviceGetClockInfo", _SM),
            "memory_clock_mhz": self._number("nvmlDeviceGetClockInfo", _MEMORY),
            "temperature_c": self._number("nvmlDeviceGetTemperature", 0),
            "power_w": None if power is None else power // 1000,
        }


@contextlib.contextmanager
def watched(ordinal: int) -> Iterator[dict[str, Any]]:
    """Fills what it gives, when it is left, with the smallest and largest of each number meanwhile; with nothing where there is no GPU."""
    told: dict[str, Any] = {}
    try:
        counters = _Counters(ordinal)
    except (OSError, AttributeError):
        yield told
        return
    seen: list[dict[str, int | None]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(_EVERY_SECONDS):
            seen.append(counters.read())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()
        for name in seen[0] if seen else ():
            values = [one[name] for one in seen if one[name] is not None]
            if values:
                told[name] = [min(values), max(values)]
