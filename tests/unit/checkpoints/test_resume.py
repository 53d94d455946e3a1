import shutil

import pytest
from checkpoint_helpers import saved

from ssr_hydra.checkpoints import CheckpointError, find, open_checkpoint
from ssr_hydra.errors import InputError


@pytest.fixture
def a_run(tmp_path):
    saved(tmp_path / "a run" / "checkpoints", 10, 20)
    return tmp_path / "a run"


def opened(resume, run_dir):
    latest = open_checkpoint(resume, run_dir)
    assert latest is not None
    return latest[0].path.name, latest[1]


def test_resume_auto_finds_the_checkpoint_in_the_run_folder(a_run, tmp_path):
    assert find("auto", a_run) == a_run / "checkpoints"
    assert opened("auto", a_run) == ("ba20", [])
    assert find("auto", tmp_path / "new") is None
    assert find("auto", None) is None
    assert open_checkpoint("auto", tmp_path / "new") is None


def test_resume_auto_starts_from_scratch_if_the_first_checkpoint_is_incomplete(tmp_path):
    (tmp_path / "checkpoints" / ".ba10.4242.new").mkdir(parents=True)
    assert find("auto", tmp_path) is None


def test_all_checkpoints_are_ignored_if_resume_is_set_to_never(a_run):
    assert find("never", a_run) is None
    assert open_checkpoint("never", a_run) is None


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("", "ba20"),
        ("checkpoints", "ba20"),
        ("checkpoints/ba10", "ba10"),
        ("checkpoints/ba10/state.pt", "ba10"),
        ("checkpoints/ba10/checkpoint.json", "ba10"),
    ],
)
def test_path_can_be_a_run_or_its_checkpoints_folder_or_one_checkpoint(a_run, tmp_path, part, name):
    for run_dir in (tmp_path / "new", None):
        assert opened(a_run / part, run_dir) == (name, [])
        assert opened(str(a_run / part), run_dir) == (name, [])
    # A path into the run's own folder is used as given.
    assert opened(a_run / part, a_run) == (name, [])


def test_copied_and_renamed_checkpoint_can_be_resumed(a_run, tmp_path):
    shutil.copytree(a_run / "checkpoints" / "ba10", tmp_path / "pretrained")
    assert opened(tmp_path / "pretrained", None) == ("pretrained", [])


def test_tilde_in_a_resume_path_means_the_home_folder(a_run, monkeypatch):
    monkeypatch.setenv("HOME", str(a_run.parent))
    assert opened("~/a run", None) == ("ba20", [])


def test_requeued_job_continues_from_its_own_checkpoints(a_run, tmp_path):
    new = tmp_path / "new"
    assert opened(a_run, new) == ("ba20", [])
    saved(new / "checkpoints", 35)
    for name in (str(a_run), str(a_run / "checkpoints" / "ba10")):
        checkpoint, messages = opened(name, new)
        assert checkpoint == "ba35"
        assert messages == [f"resume={name} is not used, because the run has its own checkpoints in {new}/checkpoints"]
    shutil.rmtree(a_run)  # the run folder is no longer needed
    assert opened(str(a_run), new)[0] == "ba35"


def test_refused_checkpoints_are_reported(a_run):
    (a_run / "checkpoints" / "ba20" / "state.pt").write_bytes(b"")
    checkpoint, messages = opened("auto", a_run)
    assert checkpoint == "ba10"
    assert len(messages) == 1
    assert "ba20/state.pt: it is truncated: 0 bytes of" in messages[0]
    # A checkpoint that the user names is not replaced.
    with pytest.raises(CheckpointError, match="ba20/state.pt: it is truncated"):
        open_checkpoint(a_run / "checkpoints" / "ba20", None)


def test_a_path_without_a_checkpoint_is_an_error(tmp_path):
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    (tmp_path / "weights.pt").write_bytes(b"")
    fix = "write auto, never, or the path of a run folder, a checkpoints folder or one checkpoint"
    for name, rule in (
        ("missing", "not found"),
        ("empty", "has no checkpoint"),
        ("weights.pt", "must be a checkpoint, which is a folder with state.pt and checkpoint.json"),
    ):
        with pytest.raises(InputError) as caught:
            find(tmp_path / name, tmp_path / "new")
        assert (caught.value.field, caught.value.rule, caught.value.fix) == ("resume", rule, fix)
