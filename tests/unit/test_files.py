from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from ssr_hydra.files import WriteError, write_atomically, write_error


def test_a_failed_write_leaves_what_was_there_and_names_path_and_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    path.write_text("before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="cannot write 5 bytes: No space left on device") as caught:
        write_atomically(path, "after")
    assert caught.value.filename == str(path)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_a_record_has_the_permissions_of_any_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "record", "x")
    assert stat.S_IMODE((tmp_path / "record").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_the_error_names_path_and_bytes_and_keeps_its_number(tmp_path: Path) -> None:
    error = write_error(OSError(errno.EDQUOT, "Disk quota exceeded"), tmp_path / "x", 17)
    assert isinstance(error, WriteError)
    assert (error.errno, error.filename) == (errno.EDQUOT, str(tmp_path / "x"))
    assert str(error) == f"[Errno {errno.EDQUOT}] cannot write 17 bytes: Disk quota exceeded: '{tmp_path / 'x'}'"
