import logging

import pytest
from omegaconf import OmegaConf

from ssr_hydra.files import write_atomically
from ssr_hydra.sweeps.pending import Pending, deferring, holds_a_run

CONFIG = OmegaConf.create({"ssr": 2})


def hydra(*overrides):
    """Return Hydra's config of a job, with the overrides of Hydra's own keys."""
    config = {"output_subdir": None, "overrides": {"hydra": [*overrides], "task": ["ssr=2"]}}
    config = OmegaConf.create({"hydra": config})
    OmegaConf.set_readonly(config.hydra, True)  # as Hydra does
    return config


def used(folder, subdir=".hydra"):
    """Return the pending description of a job in a folder that has a run."""
    (folder / subdir).mkdir(parents=True)
    (folder / subdir / "config.yaml").write_text("ssr: 1\n")
    return Pending(folder, CONFIG, hydra("hydra.mode=RUN", *deferring(subdir)))


def test_folder_with_a_result_json_holds_a_run(tmp_path):
    assert not holds_a_run(tmp_path, ".hydra")
    (tmp_path / "result.json").write_text("{}")
    assert holds_a_run(tmp_path, ".hydra")


@pytest.mark.parametrize("subdir", [".hydra", "a/b c"])
def test_description_of_a_job_is_written_once(tmp_path, subdir):
    job = used(tmp_path, subdir)
    assert job.waits
    assert {path.name for path in (tmp_path / subdir).iterdir()} == {"config.yaml"}
    job.publish()
    assert not job.waits
    contents = {path.name: path.read_text() for path in (tmp_path / subdir).iterdir()}
    own = f"  - hydra.mode=RUN\n    - hydra.output_subdir={subdir}\n"  # without the override with the value null
    assert contents == {
        "config.yaml": "ssr: 2\n",
        "overrides.yaml": "- ssr=2\n",
        "hydra.yaml": f"hydra:\n  output_subdir: {subdir}\n  overrides:\n    hydra:\n  {own}    task:\n    - ssr=2\n",
    }
    (tmp_path / subdir / "hydra.yaml").unlink()
    job.publish()
    job.drop()
    assert not (tmp_path / subdir / "hydra.yaml").exists()


def test_kill_during_publishing_leaves_a_complete_description(tmp_path, monkeypatch):
    job = used(tmp_path)
    write = write_atomically

    def killed(path, content):
        if path.name == "config.yaml":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr("ssr_hydra.sweeps.pending.write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        job.publish()
    assert (tmp_path / ".hydra/config.yaml").read_text() == "ssr: 1\n"  # written last


def test_refused_job_keeps_its_folder(tmp_path):
    job = used(tmp_path)
    job.drop()
    job.publish()
    assert not job.waits
    assert [path.name for path in (tmp_path / ".hydra").iterdir()] == ["config.yaml"]
    assert (tmp_path / ".hydra/config.yaml").read_text() == "ssr: 1\n"


@pytest.mark.parametrize(("failed", "lines"), [(True, "hello\n"), (False, "")])
def test_log_lines_are_held_back_and_written_on_failure(tmp_path, failed, lines):
    handler = logging.FileHandler(tmp_path / "train.log")
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        job = used(tmp_path)
        root.warning("hello")
        assert (tmp_path / "train.log").read_text() == ""
        job.drop(failed=failed)
        assert (tmp_path / "train.log").read_text() == lines
        root.warning("after")
        assert (tmp_path / "train.log").read_text() == f"{lines}after\n"
    finally:
        root.removeHandler(handler)
        handler.close()


def test_description_of_a_job_in_an_empty_folder_is_written_at_once(tmp_path):
    assert not Pending(tmp_path, CONFIG, hydra(*deferring(".hydra"))).waits
    assert len([*(tmp_path / ".hydra").iterdir()]) == 3


@pytest.mark.parametrize(
    "overrides",
    [(), ("hydra.output_subdir=null",), ("hydra.output_subdir=null", "hydra.mode=RUN"), ("hydra.output_subdir=a",)],
)
def test_description_that_hydra_writes_or_the_user_turns_off_is_not_written(tmp_path, overrides):
    (tmp_path / "result.json").write_text("{}")
    job = Pending(tmp_path, CONFIG, hydra(*overrides))
    assert not job.waits
    job.publish()
    job.drop()
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_run_outside_of_the_app_has_no_description(tmp_path):
    for folder, config in ((None, None), (tmp_path, None), (None, hydra(*deferring(".hydra")))):
        job = Pending(folder, {"ssr": 2}, config)
        assert not job.waits
        job.publish()
    assert not [*tmp_path.iterdir()]
