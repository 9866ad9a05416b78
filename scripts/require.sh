#!/bin/sh
# Says in one sentence which tool is missing or too old to build Stepwell; says nothing if all are there.
set -u
python=${PYTHON:-python3}
fail() { echo "stepwell: $1" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -1)" = "$2" ]; }

have "$python" || fail "Python 3.11 or newer is needed, and there is no $python on PATH. Install it, or set PYTHON=/path/to/python3."
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "$python does not run. Set PYTHON=/path/to/python3."
at_least "$found" 3.11 || fail "Python 3.11 or newer is needed; $python is $found. Set PYTHON=/path/to/python3."
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python has no venv module. On Debian and Ubuntu: apt install python3-venv."
have cargo || fail "a Rust toolchain is needed, and there is no cargo on PATH. Install one from https://rustup.rs."
found=$(cargo --version | cut -d' ' -f2)
at_least "$found" 1.89.0 || fail "Rust 1.89 or newer is needed; cargo is $found. Run: rustup update."
have cc || have gcc || have clang || fail "a C compiler is needed to build SQLite, and there is no cc on PATH. On Debian and Ubuntu: apt install gcc."
