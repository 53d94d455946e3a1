import logging

import pytest

from ssr_hydra.files import write_atomically
from ssr_hydra.sweeps.pending import REFUSED, Pending, holds_a_run, pending_name


def used(folder):
    """Return the pending description of a job in a folder that has a run, and the pending folder."""
    (folder / ".hydra").mkdir()
    (folder / ".hydra/config.yaml").write_text("ssr: 1\n")
    aside = folder / pending_name(".hydra")
    aside.mkdir()
    for name in ("config", "hydra", "overrides"):
        (aside / f"{name}.yaml").write_text(f"{name} {aside.name}\n" if name == "hydra" else f"{name}\n")
    return Pending(folder, {"output_subdir": aside.name}), aside


def test_folder_with_a_result_json_holds_a_run(tmp_path):
    assert not holds_a_run(tmp_path, ".hydra")
    (tmp_path / "result.json").write_text("{}")
    assert holds_a_run(tmp_path, ".hydra")


def test_description_of_a_job_is_written_once(tmp_path):
    job, aside = used(tmp_path)
    assert job.waits
    job.publish()
    assert not job.waits
    assert not aside.exists()
    assert (tmp_path / ".hydra/config.yaml").read_text() == "config\n"
    assert (tmp_path / ".hydra/hydra.yaml").read_text() == "hydra .hydra\n"
    job.publish()
    job.drop()
    assert sorted(path.name for path in (tmp_path / ".hydra").iterdir()) == [
        "config.yaml",
        "hydra.yaml",
        "overrides.yaml",
    ]


def test_kill_during_publishing_leaves_a_complete_description(tmp_path, monkeypatch):
    job, _ = used(tmp_path)
    write = write_atomically

    def killed(path, content):
        if path.name == "config.yaml":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr("ssr_hydra.sweeps.pending.write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        job.publish()
    assert (tmp_path / ".hydra/config.yaml").read_text() == "ssr: 1\n"  # written last


def test_refused_job_keeps_its_folder_and_only_a_sweep_records_the_reason(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "job").mkdir()
    job, aside = used(tmp_path / "run")
    job.drop()
    assert not aside.exists()
    job, aside = used(tmp_path / "job")
    job.drop("another run")
    assert (aside / REFUSED).read_text() == "another run"
    assert (aside / "overrides.yaml").read_text() == "overrides\n"
    for folder in ("run", "job"):
        assert (tmp_path / folder / ".hydra/config.yaml").read_text() == "ssr: 1\n"


@pytest.mark.parametrize(("failed", "lines"), [(True, "hello\n"), (False, "")])
def test_log_lines_are_held_back_and_written_on_failure(tmp_path, failed, lines):
    handler = logging.FileHandler(tmp_path / "train.log")
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        job, _ = used(tmp_path)
        root.warning("hello")
        assert (tmp_path / "train.log").read_text() == ""
        job.drop(failed=failed)
        assert (tmp_path / "train.log").read_text() == lines
        root.warning("after")
        assert (tmp_path / "train.log").read_text() == f"{lines}after\n"
    finally:
        root.removeHandler(handler)
        handler.close()


def test_job_killed_at_its_start_leaves_no_files_and_removes_earlier_leftovers(tmp_path):
    left, note = tmp_path / pending_name(".hydra"), tmp_path / pending_name(".hydra")
    other = tmp_path / ".hydra.pending-mine"  # these files belong to the user
    for folder in (left, note, other):
        folder.mkdir()
    (note / REFUSED).write_text("why")  # the table of the running sweep shows it
    job, aside = used(tmp_path)
    assert job.waits
    assert [path for path in (aside, left, note, other) if path.exists()] == [note, other]
    job.publish()
    assert (tmp_path / ".hydra/config.yaml").read_text() == "config\n"


@pytest.mark.parametrize("subdir", [None, ".hydra", "mine"])
def test_publish_and_drop_without_pending_files_change_nothing(tmp_path, subdir):
    job = Pending(tmp_path, {"output_subdir": subdir})
    assert not job.waits
    job.publish()
    job.drop()
    assert list(tmp_path.iterdir()) == []
