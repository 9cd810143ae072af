#!/usr/bin/env python3
"""What PyTorch's TorchScript does with the network of a plan, for the comparison in the README.

    torchscript.py unet32.onnx OUT.csv [SECONDS]

Builds the network of make_unet.py ("bn") from its ONNX weights, in half precision, traced and frozen, and asks
it as examples/c/throughput asks a session: so many threads, each with a request of one item in device memory and a stream of
its own. Batching "on" is the best that a batcher could make of it, one that costs nothing: one batch of all threads' requests
after the other. Once with PyTorch's defaults, once "tuned": cuDNN measures its algorithms instead of guessing. Needs PyTorch with a GPU,
onnx and onnxruntime; the CSV is for plot_throughput.py.
"""

import os
import sys
import threading
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is imported

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper

THREADS = [1, 2, 4, 8, 16, 32]


class FromOnnx(torch.nn.Module):
    """The nodes of the graph, one after the other. Tracing leaves the operators only."""

    def __init__(self, path):
        super().__init__()
        model = onnx.load(path)
        self.nodes = [(n.op_type, list(n.input), n.output[0], {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute})
                      for n in model.graph.node]
        self.input, self.output = model.graph.input[0].name, model.graph.output[0].name
        self.names = {}
        for i, weight in enumerate(model.graph.initializer):
            self.register_buffer(f"w{i}", torch.from_numpy(numpy_helper.to_array(weight).copy()))
            self.names[weight.name] = f"w{i}"

    def forward(self, x):
        values = {self.input: x}
        f = torch.nn.functional
        for kind, inputs, output, attributes in self.nodes:
            a = [values[i] if i in values else getattr(self, self.names[i]) for i in inputs]
            if kind == "Conv":
                y = f.conv3d(*a, stride=attributes["strides"], padding=attributes["pads"][:3])
            elif kind == "ConvTranspose":
                y = f.conv_transpose3d(*a, stride=attributes["strides"])
            elif kind == "BatchNormalization":
                y = f.batch_norm(a[0], a[3], a[4], a[1], a[2], False, 0.0, attributes.get("epsilon", 1e-5))
            elif kind == "LeakyRelu":
                y = f.leaky_relu(a[0], attributes["alpha"])
            elif kind == "Concat":
                y = torch.cat(a, attributes["axis"])
            elif kind == "Softmax":
                y = torch.softmax(a[0], attributes["axis"])
            else:
                raise SystemExit(f"{kind} is not written here")
            values[output] = y
        return values[self.output]


def measure(model, item, threads, batch, seconds):
    """Items a second, and the 50th and 95th percentile of a call in microseconds."""
    counting, over, times = threading.Event(), threading.Event(), [[] for _ in range(threads)]
    warm = threading.Barrier(threads + 1)

    def ask(own):
        x, stream = item.repeat(batch, 1, 1, 1, 1), torch.cuda.Stream()
        with torch.no_grad(), torch.cuda.stream(stream):
            # cuDNN measures its algorithms in each thread anew: seconds.
            [model(x) for _ in range(3)]
            stream.synchronize()
            warm.wait(60)
            while not over.is_set():
                start = time.perf_counter()
                model(x)
                stream.synchronize()
                if counting.is_set():
                    own.append(time.perf_counter() - start)

    all_threads = [threading.Thread(target=ask, args=(own,)) for own in times]
    [thread.start() for thread in all_threads]
    warm.wait(60)
    time.sleep(seconds / 4)
    counting.set()
    start = time.perf_counter()
    time.sleep(seconds)
    count, elapsed = sum(map(len, times)), time.perf_counter() - start
    over.set()
    [thread.join() for thread in all_threads]
    p50, p95 = np.percentile(np.concatenate(times), [50, 95]) * 1e6
    return count * batch / elapsed, p50, p95


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    path, out = sys.argv[1:3]
    seconds = float(sys.argv[3]) if len(sys.argv) == 4 else 1.0
    x = np.random.default_rng(1).standard_normal((1, 1, 32, 32, 32)).astype(np.float32)
    network = FromOnnx(path).eval().cuda()
    reference = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {network.input: x})[0]
    item = torch.from_numpy(x).cuda().half()
    network.half()
    with open(out, "w") as file:
        file.write("engine,threads,batching,memory,requests_per_second,p50_us,p95_us,mean_batch\n")
        for engine, tuned in [("TorchScript", False), ("TorchScript tuned", True)]:
            torch.backends.cudnn.benchmark = tuned
            with torch.no_grad():
                model = torch.jit.freeze(torch.jit.trace(network, item).eval())
                for _ in range(5):
                    result = model(item)
            difference = np.abs(result.float().cpu().numpy() - reference).max()
            print(f"{engine}, PyTorch {torch.__version__}, {torch.cuda.get_device_name()}; "
                  f"largest difference from ONNX Runtime {difference:.2g}")
            for count in THREADS:
                for batching, threads, batch in [("off", count, 1), ("on", 1, count)]:
                    rate, p50, p95 = measure(model, item, threads, batch, seconds)
                    print(f"{count:3d} threads, batching {batching:3s} {rate:8.0f} requests/s   "
                          f"p50 {p50:6.0f} us   p95 {p95:6.0f} us", flush=True)
                    file.write(f"{engine},{count},{batching},device,{rate:.2f},{p50:.1f},{p95:.1f},{batch}\n")


if __name__ == "__main__":
    main()
