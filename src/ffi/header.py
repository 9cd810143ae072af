#!/usr/bin/env python3
"""Writes include/planrt.h: what cbindgen makes of this folder, arranged into a section a file, each in the file's order.

usage: header.py CBINDGEN [--verify]

cbindgen puts types first, then constants, then functions. A reader wants a constant beside its type, and both with the
functions that take it. With --verify nothing is written: it exits with 1 where the header is not as it would be written.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "include" / "planrt.h"

# Each file's section: what uses a type comes after it.
SECTIONS = {
    "version": "Version",
    "text": "Strings",
    "error": "Errors",
    "tensor": "Tensors",
    "log": "The log",
    "device": "Devices",
    "runtime": "Runtimes",
    "engine": "Engines",
    "build": "Building plans",
    "buffer": "Buffers",
    "stream": "Streams",
    "context": "Contexts",
    "request": "Requests",
    "session": "Sessions",
    "volume": "Volumes",
    "scan": "Scans in files",
    "segmenter": "Segmenters",
    "measure": "Layers and speed",
    "doctor": "The doctor",
}

# A declaration of the generated header, with its comment.
BLOCK = re.compile(
    r"(?P<text>(?:/\*\*\n(?: \*[^\n]*\n)+)?"
    r"(?:#define (?P<constant>PLANRT_\w+) [^\n]*"
    r"|typedef struct (?P<struct>\w+) \{\n.*?\n\} (?P=struct);"
    r"|typedef struct (?P<handle>\w+) (?P=handle);"
    r"|typedef [^\n]*?(?:\(\*(?P<callback>\w+)\)\([^;]*\)|(?P<type>\w+));"
    r"|(?:PLANRT_WARN_UNUSED\n)?[\w \n]+[ *](?P<function>planrt_\w+)\([^;]*\);))\n",
    re.S,
)

EXPORT = re.compile(r'^pub (?:const|type|struct|(?:unsafe )?extern "C" fn) (\w+)', re.M)


def generated(cbindgen: str) -> str:
    command = [cbindgen, "--quiet", "--config", str(ROOT / "cbindgen.toml"), str(ROOT)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def declarations(body: str) -> dict[str, str]:
    """Each declaration's text under its name; nothing may be left over."""
    found: dict[str, str] = {}
    position = 0
    for match in BLOCK.finditer(body):
        between = body[position : match.start()]
        if between.strip():
            sys.exit(f"header.py: cbindgen wrote something that is not understood here:\n{between.strip()}")
        found[next(name for key, name in match.groupdict().items() if key != "text" and name)] = match["text"]
        position = match.end()
    if body[position:].strip():
        sys.exit(f"header.py: cbindgen wrote something that is not understood here:\n{body[position:].strip()}")
    return found


def arranged(raw: str) -> str:
    opening = '#ifdef __cplusplus\nextern "C" {\n#endif // __cplusplus\n'
    closing = '#ifdef __cplusplus\n}  // extern "C"\n#endif  // __cplusplus\n'
    # What comes before the first declaration ends with what cbindgen.toml puts there.
    head, end_of_head, rest = raw.partition("/* end of preamble */\n")
    if not end_of_head or rest.count(opening) != 1 or rest.count(closing) != 1:
        sys.exit("header.py: cbindgen's header is not built as expected")
    body, _, tail = rest.replace(opening, "").partition(closing)
    left = declarations(body)
    out = [head.rstrip() + "\n\n" + opening]
    for module, title in SECTIONS.items():
        source = (ROOT / "src" / "ffi" / f"{module}.rs").read_text()
        texts = [left.pop(name) for name in EXPORT.findall(source) if name in left]
        if not texts:
            sys.exit(f"header.py: src/ffi/{module}.rs declares nothing")
        out.append(f"/* ---- {title} {'-' * (110 - len(title))} */\n")
        for text in texts:
            # A handle of a later section is said to be a struct before it is used: in a parameter it would be another one.
            early = [name for name in re.findall(r"struct (planrt_\w+) \*", text) if f"struct {name} {name};" in left.get(name, "")]
            out.extend(f"struct {name};\n" for name in dict.fromkeys(early))
            out.append(text + "\n")
    if left:
        sys.exit(f"header.py: no section has {', '.join(left)}")
    return "\n".join(text.rstrip() + "\n" for text in out) + "\n" + closing + tail


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--verify"]):
        sys.exit(__doc__)
    text = arranged(generated(sys.argv[1]))
    if sys.argv[2:]:
        sys.exit(HEADER.read_text() != text)
    HEADER.write_text(text)


if __name__ == "__main__":
    main()
