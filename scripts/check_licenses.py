"""Checks what the Rust core is built from: licenses, sources, and no crate in two major versions.

`cargo metadata` knows all of it; a checker that has to be compiled first would cost CI minutes.
"""

from __future__ import annotations

import collections
import json
import re
import subprocess
import sys

ALLOWED = {"MIT", "Apache-2.0", "Apache-2.0 WITH "
                                "LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BlueOak-1.0.0",
                                "BSL-1.0", "ISC", "Unicode-3.0",
           "Unlicense", "Zlib", "CC0-1.0", "MPL-2.0"}  # fmt: skip
TWICE = {
    "hashbrown",
    "getrandom",
    "rand",
    "rand_core",
    "syn",
    "r-efi",
    "itertools",
    "wit-bindgen",
    "windows-sys",
    "foldhash",
}
"""Crates that others pin to different versions; none of them is in our interfaces."""


def allowed(expression: str) -> bool:
    """Whether one alternative of an SPDX expression is made of allowed licenses only."""
    alternatives = re.split(r"\s+OR\s+|/", expression.replace("(", "").replace(")", ""))
    return any(all(part.strip() in ALLOWED for part in a.split(" AND ")) for a in alternatives)


def main() -> int:
    """Prints every violation; returns how many there are."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    packages = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )["packages"]
    wrong = []
    versions = collections.defaultdict(set)
    for package in packages:
        versions[package["name"]].add(package["version"])
        if not allowed(package["license"] or ""):
            wrong.append(f"{package['name']}: license {package['license']!r} is not on the list")
        if package["source"] is not None and not package["source"].startswith("registry+"):
            wrong.append(f"{package['name']}: comes from {package['source']}, not from a registry")
    wrong += [
        f"{name}: in versions {', '.join(sorted(v))}"
        for name, v in versions.items()
        if len(v) > 1 and name not in TWICE
    ]
    print("\n".join(wrong) or f"{len(packages)} crates: licenses and sources are fine")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
