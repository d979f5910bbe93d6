"""Files that are replaced whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edgetwin.twin.files import replace, sha256_of


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("old")
    replace(file, b"new")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]
    assert file.stat().st_mode & 0o777 == 0o644


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(OSError, match="a"):
        replace(file, b"new")
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / "none" / "b", b"new")


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"edge" * 100_000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"edge" * 100_000).hexdigest()
