import errno
import os
import stat
from pathlib import Path

import pytest
from refusals import refused

from ssr_hydra.errors import PathError, WrongTypeError
from ssr_hydra.files import check_path, try_lock, write_atomically


def test_failed_write_keeps_the_old_file_and_the_error_has_path_and_size(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    path.write_text("before")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="cannot write 5 bytes: No space left on device") as caught:
        write_atomically(path, "after")
    assert caught.value.filename == str(path)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_a_record_has_the_default_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "record", "x")
    assert stat.S_IMODE((tmp_path / "record").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_temporary_file_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / f".record.{os.getpid()}.tmp").symlink_to(tmp_path / "mine")
    (tmp_path / "record").symlink_to(tmp_path / "mine")
    write_atomically(tmp_path / "record", "record")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "record").read_text() == "record"
    assert not (tmp_path / "record").is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 256, "\ud800", "/".join(["a" * 200] * 30)])
def test_invalid_path_is_a_one_line_error(path):
    with refused("run_dir", PathError) as caught:
        check_path(path, "run_dir")
    assert "\n" not in str(caught.value)
    assert check_path("x" * 255, "run_dir") == Path("x" * 255)


@pytest.mark.parametrize("path", [3, True, b"a", ["a"]])
def test_path_of_a_wrong_type_is_refused(path):
    with refused("run_dir", WrongTypeError):
        check_path(path, "run_dir")


@pytest.mark.skipif(os.name == "nt", reason="no flock")
def test_lock_is_held_until_its_file_is_closed(tmp_path):
    with (tmp_path / "lock").open("ab") as other:
        with (tmp_path / "lock").open("ab") as first:
            assert try_lock(first.fileno())
            assert not try_lock(other.fileno())
        assert try_lock(other.fileno())
