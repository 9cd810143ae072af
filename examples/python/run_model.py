#!/usr/bin/env python3
"""Says what is in a model and, with arrays to run it on, what comes out: the package planrt in short.

    run_model.py MODEL [INPUTS.npz] [--output OUTPUTS.npz]

The library is the one that PLANRT_LIBRARY names, or the one in planrt's wheel, or the loader's libplanrt.so.0.
"""

import argparse
import logging
import sys
import time

import numpy as np
import planrt


def main() -> int:
    parser = argparse.ArgumentParser(description="Says what is in a model, and runs it.")
    parser.add_argument("model", metavar="MODEL", help="a TensorRT plan or an ONNX file")
    parser.add_argument("inputs", metavar="INPUTS.npz", nargs="?", help="an array for each input, by name")
    parser.add_argument("--output", metavar="OUTPUTS.npz", help="where to write the outputs")
    parser.add_argument("--tensorrt", metavar="PATH", help="TensorRT's library or its folder")
    parser.add_argument("--plugin", metavar="PATH", action="append", default=[], help="a library of TensorRT plugins")
    parser.add_argument("--device", metavar="N", type=int, default=0, help="ordinal of the GPU")
    parser.add_argument("--threads", metavar="N", type=int, default=0, help="threads of the CPU")
    arguments = parser.parse_args()
    logging.basicConfig(format="planrt: %(message)s")
    try:
        runtime = planrt.Runtime(device=arguments.device, tensorrt=arguments.tensorrt, plugins=arguments.plugin)
        engine = planrt.Engine(arguments.model, runtime, threads=arguments.threads)
        print(f"model    {engine.name}\nbackend  {engine.backend}\ndevice   {engine.device_name}")
        for role, tensors in (("input", engine.inputs), ("output", engine.outputs)):
            for tensor in tensors.values():
                print(f"{role:8} {tensor.name} {tensor.element_type} {'x'.join(map(str, tensor.shape))}")
        if arguments.inputs is None:
            return 0
        with np.load(arguments.inputs) as arrays:
            inputs = dict(arrays)
        start = time.perf_counter()
        outputs = engine.run(inputs)
        print(f"run      {(time.perf_counter() - start) * 1e3:.1f} ms")
        for name, array in outputs.items():
            extremes = f"min {array.min():g}, mean {array.mean():g}, max {array.max():g}" if array.size else "empty"
            print(f"result   {name} {'x'.join(map(str, array.shape))}: {extremes}")
        if arguments.output:
            np.savez(arguments.output, **outputs)
    except (planrt.Error, ImportError, OSError, TypeError, ValueError) as error:
        print(f"run_model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
