#!/usr/bin/env python3
"""The crates that are linked into the library: what deny.toml allows of them, and the notices that their licences ask for.

    dependencies.py check              licences, bans, sources and the Rust versions that they need; THIRD-PARTY-NOTICES.txt is current
    dependencies.py write              writes THIRD-PARTY-NOTICES.txt

cargo-deny says the same of deny.toml and more; compiling it takes longer than all of our tests.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTICES = ROOT / "THIRD-PARTY-NOTICES.txt"
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
# Of licences to choose from the first of these is taken: its text is the shortest.
PREFERRED = ["MIT", "ISC", "Zlib", "BSD-2-Clause", "Apache-2.0"]
TITLE = {"Apache-2.0": "APACHE", "BSD-2-Clause": "BSD"}
HEAD = """Notices of the third-party code in planrt

libplanrt holds, besides planrt's own code (see LICENSE-MIT and LICENSE-APACHE), Rust's standard library (MIT OR Apache-2.0, copyright
The Rust Project Developers) and the crates below, each under the licence named there. A library without the CPU engine holds a few
of them only. Written by .ci/dependencies.py from the crates' own files.
"""


def linked(targets):
    """The crates that end up in the library, without those that only run when it is built."""
    found = {}
    for target in targets:
        said = subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target],
                              cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        metadata = json.loads(said)
        packages = {package["id"]: package for package in metadata["packages"]}
        nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
        waiting = [package["id"] for package in metadata["packages"] if package["name"] == "planrt"]
        seen = set()
        while waiting:
            name = waiting.pop()
            package = packages[name]
            if name in seen or any("proc-macro" in kind["kind"] for kind in package["targets"]):
                continue
            seen.add(name)
            found[name] = package
            waiting += [dependency["pkg"] for dependency in nodes[name]["deps"]
                        if any(kind["kind"] is None for kind in dependency["dep_kinds"])]
    return sorted(found.values(), key=lambda package: (package["name"], package["version"]))


def choices(expression):
    """The ways to fulfil an SPDX expression, each a set of licences."""
    tokens = re.findall(r"\(|\)|[^\s()/]+", expression.replace("/", " OR "))

    def either():
        ways = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            ways += both()
        return ways

    def both():
        ways = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            ways = [a | b for a in ways for b in one()]
        return ways

    def one():
        token = tokens.pop(0)
        if token == "(":
            ways = either()
            tokens.pop(0)
            return ways
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return [{token}]

    return either()


def chosen(package, allowed):
    """The licences that we take a crate under; None where none of its own is allowed."""
    ways = [way for way in choices(package["license"] or "none") if way <= allowed]
    rank = lambda way: max(PREFERRED.index(name) if name in PREFERRED else len(PREFERRED) for name in way)
    return min(ways, key=rank, default=None)


def faults(packages, rules):
    allowed = set(rules["licenses"]["allow"])
    bans = rules["bans"]
    ours = next(package for package in packages if package["name"] == "planrt")
    number = lambda version: [int(part) for part in version.split(".")]
    versions = {}
    for package in packages:
        name = f"{package['name']} {package['version']}"
        versions.setdefault(package["name"], []).append(package["version"])
        if chosen(package, allowed) is None:
            yield f"{name}: its licence, {package['license']}, is not one of those that deny.toml allows"
        if package["source"] not in (None, CRATES_IO):
            yield f"{name}: comes from {package['source']}, not from crates.io"
        for ban in bans["deny"]:
            if ban["crate"] == package["name"]:
                yield f"{name}: banned, {ban['reason']}"
        if number(package["rust_version"] or "1.0") > number(ours["rust_version"]):
            yield f"{name}: needs Rust {package['rust_version']}, Cargo.toml says {ours['rust_version']}"
        if package["source"] is None:
            yield from (f"{name}: takes any version of {dependency['name']}" for dependency in package["dependencies"]
                        if dependency["req"] == "*" and not dependency.get("path"))
    skipped = {skip["crate"].split("@")[0] for skip in bans.get("skip", [])}
    for name, several in versions.items():
        if len(several) > 1 and name not in skipped:
            yield f"{name}: linked in twice, {' and '.join(several)}"


def notices(packages, allowed):
    texts = {}
    for package in packages:
        folder = Path(package["manifest_path"]).parent
        # Our own crates lie under the licences in the root; one with its own was taken from elsewhere.
        if package["source"] is None and (folder == ROOT or not list(folder.glob("LICENSE*"))):
            continue
        files = sorted(path for path in folder.iterdir()
                       if path.is_file() and re.match(r"(LICEN[CS]E|COPYING|NOTICE|COPYRIGHT|UNLICENSE)", path.name, re.I))
        for licence in sorted(chosen(package, allowed) or ()):
            title = TITLE.get(licence, licence.upper())
            named = [path for path in files if title in path.name.upper()]
            plain = [path for path in files if re.fullmatch(r"(LICEN[CS]E|COPYING)(\.\w+)?", path.name, re.I)]
            texts_of = (named or plain)[:1] + [path for path in files if "NOTICE" in path.name.upper()]
            said = "\n\n".join(re.sub(r"[ \t]+$", "", path.read_text(errors="replace").replace("\r\n", "\n"), flags=re.M).strip()
                               for path in texts_of)
            who = ", ".join(package["authors"]) or "its authors"
            said = said or f"The crate brings no text of its licence ({licence}). Copyright {who}."
            texts.setdefault((licence, said), []).append(f"{package['name']} {package['version']}")
    parts = [HEAD]
    for (licence, said), crates in sorted(texts.items(), key=lambda item: (item[0][0], item[1])):
        parts.append(f"{'=' * 100}\n{licence}: {', '.join(crates)}\n{'-' * 100}\n{said}\n")
    return "\n".join(parts)


def main():
    if sys.argv[1:] not in (["check"], ["write"]):
        sys.exit(__doc__)
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    packages = linked(rules["graph"]["targets"])
    text = notices(packages, set(rules["licenses"]["allow"]))
    if sys.argv[1] == "write":
        NOTICES.write_text(text)
        return
    wrong = list(faults(packages, rules))
    if not NOTICES.exists() or NOTICES.read_text() != text:
        wrong.append(f"{NOTICES.name} is not that of Cargo.lock: run make notices, and commit it")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(packages)} crates are linked in: licences, bans, sources and Rust versions are as deny.toml and Cargo.toml say")


if __name__ == "__main__":
    main()
