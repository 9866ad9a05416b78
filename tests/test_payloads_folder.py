"""A folder of large values, and what is none."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from stepwell import Engine, InvalidConfig
from stepwell.payloads import Folder, Memory, Payloads


def raises(error: BaseException) -> Any:
    def does(*_: object) -> None:
        raise error

    return does


def files(folder: Path) -> list[Path]:
    return sorted(it for it in folder.rglob("*") if it.is_file())


KEYS = ["00" * 16, "0001" * 8, "ff" * 16]


def test_a_folder_keeps_each_value_in_a_file_for_its_owner_alone(tmp_path):
    place = Folder(tmp_path / "large")
    for key in KEYS:
        place.put(key, key.encode())
        place.put(key, key.encode())  # as after a failure
    assert [place.get(it) for it in KEYS] == [it.encode() for it in KEYS]
    assert [it.relative_to(tmp_path / "large") for it in files(tmp_path)] == sorted(
        Path(it[:2], it) for it in KEYS
    )
    for path in (tmp_path / "large").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    place.delete([*KEYS[:2], "ab" * 16])
    assert files(tmp_path) == [tmp_path / "large" / "ff" / KEYS[2]]
    with pytest.raises(KeyError):
        place.get(KEYS[0])


def test_a_folder_that_is_not_there_has_not_lost_its_values(tmp_path):
    place = Folder(tmp_path / "large")
    with pytest.raises(FileNotFoundError):
        place.get(KEYS[0])
    with pytest.raises(FileNotFoundError):
        place.delete(KEYS)
    with pytest.raises(FileNotFoundError):
        Folder(tmp_path / "not" / "there").put(KEYS[0], b"")


def test_a_folder_that_goes_while_it_is_in_use_is_named_and_not_made_anew(tmp_path):
    place = Folder(tmp_path / "large")
    place.put(KEYS[0], b"first")
    (tmp_path / "large").rename(tmp_path / "elsewhere")
    text = rf"folder of large values is gone.*Put it back.*{tmp_path / 'large'}"
    for call in (
        lambda: place.put(KEYS[1], b"second"),
        lambda: place.get(KEYS[0]),
        lambda: place.delete(KEYS),
    ):
        with pytest.raises(FileNotFoundError, match=text):
            call()
    assert not (tmp_path / "large").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "large")
    place.put(KEYS[1], b"second")
    assert [place.get(it) for it in KEYS[:2]] == [b"first", b"second"]


def test_a_folder_follows_no_link_and_writes_to_nothing_that_is_there(tmp_path):
    place = Folder(tmp_path / "large")
    key = KEYS[0]
    place.put(key, b"first")
    file = tmp_path / "large" / key[:2] / key
    os.link(file, tmp_path / "copy")
    place.put(key, b"second")
    assert (tmp_path / "copy").read_bytes() == b"first"
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    file.unlink()
    file.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        place.get(key)
    (tmp_path / "large" / key[:2] / f"{key}.part").symlink_to(victim)
    place.put(key, b"third")
    assert (victim.read_bytes(), place.get(key)) == (b"mine", b"third")
    file.unlink()
    file.parent.rmdir()
    file.parent.symlink_to(tmp_path)
    with pytest.raises(OSError, match=r"Not a directory|symbolic link"):
        Folder(tmp_path / "large").put(key, b"fourth")


def test_a_folder_syncs_the_file_before_its_name_and_each_folder_after(tmp_path, monkeypatch):
    said: list[str] = []

    def noted(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            if name == "fsync":
                said.append(f"sync {Path(f'/proc/self/fd/{args[0]}').readlink().name}")
            else:
                said.append(f"{name} {args[0]}")
            return real(*args, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "replace"):
        noted(name)
    key = KEYS[0]
    Folder(tmp_path / "large").put(key, b"value")
    order = [
        f"sync {tmp_path.name}", "sync large", f"sync {key}.part", f"replace {key}.part", "sync 00",
    ]  # fmt: skip
    assert said == order


def test_a_put_that_fails_leaves_nothing(tmp_path, monkeypatch):
    place = Folder(tmp_path / "large")
    monkeypatch.setattr(os, "fsync", raises(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        place.put(KEYS[0], b"value")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Folder(""),
        lambda: Folder(5),  # type: ignore[arg-type]
        lambda: Folder("x", over=0),
        lambda: Folder("x", over=2.5),  # type: ignore[arg-type]
        lambda: Folder("x", over=10, limit=10),
        lambda: Memory(limit=1 << 40),
        lambda: Engine(":memory:", payloads=Folder),  # type: ignore[arg-type]
        lambda: Engine(":memory:", payloads="folder"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_payload_store_is_refused(make):
    with pytest.raises(InvalidConfig):
        make()


def test_the_base_class_says_what_is_missing():
    with pytest.raises(TypeError, match="abstract"):
        Payloads()  # type: ignore[abstract]


def test_what_is_no_folder_is_refused_before_anything_is_stored(tmp_path):
    (tmp_path / "a.db").write_bytes(b"a store, say")
    with pytest.raises(InvalidConfig, match=r"a\.db', which is no folder; give one of its own"):
        Folder(tmp_path / "a.db")
    Folder(tmp_path)
    Folder(tmp_path / "not there yet")
