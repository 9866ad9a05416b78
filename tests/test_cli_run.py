"""`stepwell run`: which engine is meant, and how it ends. In processes of its own."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def module(tmp_path, name: str, text: str) -> None:
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))


def runs(tmp_path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "stepwell", "run", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


WRONG = [
    ("nowhere:engine", "there is no module 'nowhere', in "),
    ("shop.inner:engine", "there is no module 'shop.inner', in "),
    ("shop.py", "'shop.py' is no MODULE:ENGINE; name the module as it is imported, such as shop:"),
    ("shop:nothing", "shop has no 'nothing'; engines that it has: one, two."),
    ("shop", "shop has 2 engines; say which: shop:one or shop:two."),
    ("empty", "empty has no engine: no variable of it is a stepwell.Engine."),
    ("shop:make", "and no stepwell.Engine; call it in the module: engine = make(…)."),
    ("shop:number", "shop:number is 7, and no stepwell.Engine."),
    ("shop:other", "and no stepwell.Engine; such an engine runs inside its own program."),
]


@pytest.mark.slow
@pytest.mark.parametrize(("given", "told"), WRONG, ids=[it[0] for it in WRONG])
def test_what_is_no_engine_is_told(tmp_path, given, told):
    module(
        tmp_path, "shop",
        """
        from stepwell import Engine, aio
        one, two, number = Engine("one.db"), Engine("two.db"), 7
        again = one
        other = aio.Engine("three.db")
        def make():
            return Engine("four.db")
        """,
    )  # fmt: skip
    module(tmp_path, "empty", "")
    done = runs(tmp_path, given)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.db"))


@pytest.mark.slow
def test_a_module_that_fails_shows_where(tmp_path):
    module(tmp_path, "shop", "import no_such_library")
    done = runs(tmp_path, "shop:engine")
    assert done.returncode == 1
    assert 'shop.py", line 1' in done.stderr
    assert "No module named 'no_such_library'" in done.stderr


@pytest.mark.slow
def test_it_runs_until_a_signal_and_drains(tmp_path):
    store = tmp_path / "shop.db"
    given = {**os.environ, "STEPWELL_STORE": str(store), "SHOP_KEY": str(tmp_path / "key")}
    command = [sys.executable, "-m", "stepwell"]
    for number in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(
            [*command, "run", "shop"], cwd=HERE, env=given, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                assert process.stderr is not None
                assert process.stderr.readline().startswith("running <engine 'engine' on ")
                made = subprocess.run(
                    [*command, "create", "order"], env=given, capture_output=True, text=True
                )
                assert made.returncode == 0, made.stderr
                second = subprocess.run(
                    [*command, "run", "shop"], cwd=HERE, env=given, capture_output=True, text=True
                )
                assert second.returncode == 8
                assert f"in use by process {process.pid}" in second.stderr
                process.send_signal(number)
                assert process.wait(30) == 0
                assert process.stderr.read() == "drained; everything done so far is kept.\n"
            finally:
                process.kill()
