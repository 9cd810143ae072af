"""Refits a plan with another model's weights, and holds its answers against ONNX Runtime's of that model.

usage: refit.py MODEL.onnx OTHER.onnx INPUT SHAPE [KIND]     (OTHER: the same graph, other weights; SHAPE: 2x1x32x32x32; KIND of
InstanceNormalization: decomposed, …)
"""

import os
import sys
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime
import planrt

path, other, name, shape = *sys.argv[1:4], tuple(map(int, sys.argv[4].split("x")))
normalization = planrt.InstanceNormalization[sys.argv[5].upper() if len(sys.argv) > 5 else "DEFAULT"]
options = planrt.BuildOptions(
    profiles={name: shape},
    features=planrt.BuildFeatures.REFITTABLE,
    instance_normalization=normalization,
    timing_cache="refit.cache",
    use_tactics_not=planrt.Tactics.CUBLAS | planrt.Tactics.CUBLAS_LT | planrt.Tactics.CUDNN,
)
start = time.monotonic()
planrt.build(path, options=options).save("old.plan")
built = time.monotonic()
planrt.refit("old.plan", other, options=options).save("new.plan")
print(f"built in {built - start:.2f} s, refitted in {time.monotonic() - built:.2f} s")

data = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
failed = False
for plan, onnx_path, same in [("old.plan", path, True), ("new.plan", other, True), ("old.plan", other, False)]:
    expected = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"]).run(None, {name: data})[0]
    got = next(iter(planrt.Engine(plan).run({name: data}).values()))
    difference = float(np.abs(np.asarray(got) - expected).max())
    print(f"{plan} beside {onnx_path}: {difference:.2e} apart")
    failed |= (difference < 1e-3) != same
sys.exit(failed)
