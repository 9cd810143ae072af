#!/usr/bin/env python3
"""Makes a Python with PyTorch in a folder, for the tests of planrt-convert that begin with a PyTorch model, and beside it deepbet's networks.

usage: setup_torch.py FOLDER

PyPI's PyTorch for x86-64 is the one for CUDA, 3 GB with all that it asks for. None of this runs here: it is installed without, 0.6 GB, and in
the place of each NVIDIA library that it is linked with comes one that has the functions by name, and nothing in them. Then FOLDER/bin/python
has PyTorch with its exporters, on the CPU. FOLDER/deepbet has the TorchScript of the package deepbet (MIT), two networks that find brains.
Nothing is done where all is there already. Needs a C compiler, readelf and nm.
"""

import collections
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

TORCH = ["torch==2.15.0", "nvidia-cuda-runtime==13.2.86"]
DEEPBET = "deepbet==1.0.2"
_LIBRARY = re.compile(
    r"lib(cuda|cudart|cupti|cublas|cublasLt|cudnn|cufft|cufile|curand|cusolver|cusparse|cusparseLt|nccl|nvrtc|nvshmem_host|nvToolsExt|"
    r"nvJitLink)(-[0-9a-f]+)?\.so"
)
_FUNCTION = re.compile(r"(cu|nccl|nvrtc|nvshmem|__cuda|nvtx|CU)[A-Za-z0-9_]*$")


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def stub_libraries(site):
    """Writes to torch/lib what stands for each NVIDIA library that is asked for and not there, with its functions and their versions."""
    folder = site / "torch" / "lib"
    there = {path.name: path for path in (site / "nvidia").rglob("*.so*")}
    needed, asked, defined, library_of = set(), set(), set(), {}
    for path in sorted(folder.iterdir()):
        if ".so" not in path.name or _LIBRARY.match(path.name):
            continue
        of = None
        for line in output("readelf", "-VW", path).splitlines():
            if found := re.search(r"File: (\S+)", line):
                of = found.group(1)
            if (found := re.search(r"Name: (\S+)\s+Flags", line)) and of and _LIBRARY.match(of):
                library_of[found.group(1)] = of
        needed.update(name for name in re.findall(r"NEEDED.*\[(.*?)\]", output("readelf", "-dW", path)) if _LIBRARY.match(name))
        for words in map(str.split, output("nm", "-D", path).splitlines()):
            name, _, version = words[-1].partition("@")
            if words[-2] in "Uvw":
                asked.add((name, version.lstrip("@")))
            else:
                defined.add(name)
    for name in needed & there.keys():
        defined.update(line.split()[-1].split("@")[0] for line in output("nm", "-D", "--defined-only", there[name]).splitlines())
    functions = collections.defaultdict(set)
    for name, version in asked:
        if name not in defined and _FUNCTION.match(name):
            functions[version].add(name)
    without_version = functions.pop("", set())
    for number, library in enumerate(sorted(needed - there.keys())):
        versions = sorted(version for version in functions if library_of.get(version) == library)
        names = sorted(set().union(without_version if number == 0 else (), *(functions[version] for version in versions)))
        script = folder / "stub.map"
        script.write_text("".join(f"{one} {{ global: {' '.join(f'{name};' for name in sorted(functions[one]))} }};\n" for one in versions))
        options = [f"-Wl,--version-script={script}"] if versions else []
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-w", "-fno-builtin", "-x", "c", "-", "-o", folder / library, f"-Wl,-soname,{library}", *options],
            input="".join(f"int {name}(void) {{ return 999; }}\n" for name in names),
            text=True,
            check=True,
        )
        script.unlink()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder, here = Path(sys.argv[1]), Path(__file__).parent
    done, wanted = folder / "done", Path(__file__).read_text() + (here / "requirements_torch.txt").read_text()
    if done.is_file() and done.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    subprocess.run([*pip, "install", "-r", here / "requirements_torch.txt"], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--no-compile", *TORCH], check=True)  # last: pip tells what it lacks when it adds others
    subprocess.run([*pip, "download", "--no-deps", "--dest", folder / "deepbet", DEEPBET], check=True)
    (wheel,) = (folder / "deepbet").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".pt"):
                (folder / "deepbet" / Path(name).name).write_bytes(archive.read(name))
    site = Path(output(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    stub_libraries(site)
    # It must load, and export.
    subprocess.run([python, "-c", "import torch, torch.onnx, onnxscript; torch.zeros(1)"], check=True, env={**os.environ, "PYTHONNOUSERSITE": "1"})
    done.write_text(wanted)


if __name__ == "__main__":
    main()
