#!/bin/sh
# Installs the wheel as a user would, in a clean venv without Rust on PATH, and runs the README's first example twice.
set -eu
dist=$(cd "$1" && pwd)
readme=$(pwd)/README.md
python=$(command -v "${PYTHON:-python3}")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$python" -m venv "$place/venv"
PATH="$place/venv/bin:/usr/bin:/bin"
export PATH
if command -v cargo >/dev/null; then echo "cargo is still on PATH" >&2; exit 1; fi
pip --disable-pip-version-check --quiet install "$dist"/*.whl
cd "$place"
mkdir src && echo 'print(1)' >src/one.py && echo 'print(2)' >src/two.py
awk '/^```python$/ { on = 1; next } /^```$/ { if (on) exit } on' "$readme" >example.py
test "$(python example.py)" = 2
test "$(python example.py)" = 2
stepwell --version
echo "the wheel works: $(basename "$dist"/*.whl)"
