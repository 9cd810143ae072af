"""What planrt refuses or fails to do."""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """The kind of an error: the PLANRT_ERROR_ constants of planrt.h."""

    INVALID_ARGUMENT = 1
    NOT_FOUND = 2
    IO = 3
    INVALID_MODEL = 4
    INCOMPATIBLE_MODEL = 5
    MISSING_PLUGIN = 6
    NO_CUDA = 7
    NO_TENSORRT = 8
    UNSUPPORTED = 9
    SHAPE = 10
    BUFFER_TOO_SMALL = 11
    OUT_OF_MEMORY = 12
    IN_USE = 13
    CANCELLED = 14
    CUDA = 15
    TENSORRT = 16
    POISONED = 17
    INTERNAL = 18
    DEADLINE = 19
    QUEUE_FULL = 20
    SHUT_DOWN = 21
    FORKED = 22
    DEVICE_LOST = 23
    SELF_TEST = 24
    NO_OPENVINO = 25
    OPENVINO = 26


class Error(Exception):
    """An error of planrt's: its code, its sentence, and what TensorRT or OpenVINO (`detail`) and CUDA (`cuda_code`) said."""

    code: int
    message: str
    detail: str
    cuda_code: int

    def __init__(self, code: int, message: str, detail: str = "", cuda_code: int = 0):
        super().__init__(code, message, detail, cuda_code)  # all of them, so that it can be pickled
        # A later library may have codes that this package does not know.
        self.code = ErrorCode(code) if code in ErrorCode._value2member_map_ else code
        self.message = message
        self.detail = detail
        self.cuda_code = cuda_code

    def __str__(self) -> str:
        return f"{self.message}\n{self.detail}".rstrip()
