#!/usr/bin/env python3
"""What MONAI's sliding_window_inference takes for the volume of volume.cpp, for BENCHMARKS.md.

    monai_volume.py unet96.onnx

The same network (make_unet.py) as TorchScript in half precision, everything on the GPU: 512x512x300 voxels of int16 go there from
ordinary host memory, are normalized as in volume.cpp, tiles of 96x96x96 in batches of 4 are blended by a Gaussian window, and the
labels come back. Needs PyTorch with a GPU, MONAI, onnx and onnxruntime.
"""

import statistics
import sys
import time

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torchscript import FromOnnx

EXTENTS, PATCH, BATCH = (300, 512, 512), (96, 96, 96), 4

torch.backends.cudnn.benchmark = True
with torch.no_grad():
    example = torch.zeros(BATCH, 1, *PATCH, device="cuda", dtype=torch.float16)
    network = FromOnnx(sys.argv[1]).eval().cuda().half()
    network = torch.jit.freeze(torch.jit.trace(network, example))
    for _ in range(5):
        network(example)
    scan = np.random.default_rng(1).integers(-1024, 1024, EXTENTS, dtype=np.int16)

    def whole(overlap):
        volume = torch.from_numpy(scan).cuda().float().clamp_(-1000, 1000).sub_(12.5).div_(300).half()[None, None]
        values = sliding_window_inference(volume, PATCH, BATCH, network, overlap=overlap, mode="gaussian")
        return values.argmax(1).to(torch.uint8).cpu()

    def time_of(work):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - start

    def batches(count):
        for _ in range(count):
            network(example)

    for overlap, tiles in (0.25, 196), (0.5, 600):
        whole(overlap)
        torch.cuda.reset_peak_memory_stats()
        all_of_it = statistics.median(time_of(lambda: whole(overlap)) for _ in range(3))
        alone = statistics.median(time_of(lambda: batches(tiles // BATCH)) for _ in range(3))
        peak = torch.cuda.max_memory_allocated() / 2**20
        print(f"MONAI, overlap {overlap}, {tiles} tiles: {all_of_it * 1e3:.1f} ms, the network {alone * 1e3:.1f} ms, peak {peak:.0f} MiB", flush=True)
