"""`stepwell run`: which engine is meant, and how it ends. In processes of its own."""

import os
import re
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


BROKEN = [
    ("import no_such_library", "No module named 'no_such_library'"),
    ("from inner import x", "cannot import name 'x' from 'inner'"),
    ("def f():\n    return 1 / 0\nf()", "ZeroDivisionError: division by zero"),
    ("def f(:", "SyntaxError: "),
    ("import stepwell\nstepwell.Engine(7)", "store=7 is no path"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("text", "told"), BROKEN, ids=[it[0][:12] for it in BROKEN])
def test_a_module_that_fails_shows_where_and_nothing_of_us(tmp_path, text, told):
    (tmp_path / "shop.py").write_text(text)
    module(tmp_path, "inner", "")
    done = runs(tmp_path, "shop:engine")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("stepwell: shop cannot be imported:\n")
    assert 'shop.py", line ' in done.stderr
    assert told in done.stderr
    for file in ("importlib", "running.py", "click", "__main__"):
        assert file not in done.stderr


@pytest.mark.slow
def test_a_store_that_is_not_to_be_had_is_not_said_to_run(tmp_path):
    (tmp_path / "shop.db").write_text("dear")
    module(tmp_path, "shop", "import stepwell; engine = stepwell.Engine('shop.db')")
    done = runs(tmp_path, "shop")
    assert done.returncode == 8
    assert "running" not in done.stderr
    assert done.stderr.startswith("stepwell: ")


@pytest.mark.slow
def test_what_is_logged_has_its_time_and_nothing_that_a_terminal_obeys(tmp_path):
    module(
        tmp_path, "shop",
        r"""
        import logging, stepwell
        logging.getLogger("shop").warning("\x1b[31mred\x9b\nand %s", "\u202eright")
        logging.getLogger("shop").info("not told")
        """,
    )  # fmt: skip
    done = runs(tmp_path, "shop")
    line, *_ = done.stderr.split("stepwell: shop has no engine")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ warning: "
        r"\\x1b\[31mred\\x9b\\nand \\u202eright\n",
        line,
    )


@pytest.mark.slow
def test_a_program_that_set_up_its_log_has_it_as_it_is(tmp_path):
    module(
        tmp_path, "shop",
        """
        import logging, stepwell
        logging.basicConfig(format="mine %(message)s")
        logging.warning("here")
        """,
    )  # fmt: skip
    assert runs(tmp_path, "shop").stderr.startswith("mine here\nstepwell: ")


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
                assert "running" not in second.stderr
                assert "Client(" not in second.stderr
                assert f"in use by process {process.pid}" in second.stderr
                process.send_signal(number)
                assert process.wait(30) == 0
                assert process.stderr.read() == "drained; everything done so far is kept.\n"
            finally:
                process.kill()
