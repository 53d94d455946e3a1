import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
from refusals import refused
from sweep_records import jobs, record

from ssr_hydra.errors import ConflictError, InputError, MismatchError, PathError
from ssr_hydra.sweeps.folder import STUDY, StudyFolder
from ssr_hydra.sweeps.heartbeat import Heartbeat
from ssr_hydra.sweeps.job_status import JOB, job_folders

BASE = {
    "ssr": 1.0,
    "seed": 0,
    "name": None,
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9},
    "scheduler": {"_target_": "Cosine", "alpha_f": 0.0},
}
CODE = {"torch": "2.15.0", "ssr_hydra": "0.1.0 abc"}


def opened(path, swept, code=CODE, *, any_code=False, **changes):
    StudyFolder(path).open({**BASE, **changes}, swept, code, any_code=any_code)


def test_same_study_is_continued_and_differences_of_another_study_are_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for a short path in the error
    tmp_path = Path("study")
    opened(tmp_path, ["ssr", "seed"])
    opened(tmp_path, ["ssr"], seed=3, name="other")  # axes of every study, and keys that may differ
    sgd = {**BASE["optimizer"], "lr": 0.3}
    before = (tmp_path / STUDY).read_bytes()
    with refused("hydra.sweep.dir", MismatchError) as caught:
        opened(tmp_path, ["ssr"], optimizer=sgd)
    assert str(caught.value) == (
        f"hydra.sweep.dir='{tmp_path}': holds a different study: optimizer.lr was 0.1 and is 0.3; "
        "choose a new study, such as study=NAME, or sweep over both values in this study: optimizer.lr=0.1,0.3"
    )
    with pytest.raises(
        InputError, match=r"scheduler._target_ was 'Cosine' and is 'WSD'.*in this study: scheduler=\.\.\.$"
    ):
        opened(tmp_path, ["ssr"], scheduler={"_target_": "WSD", "t_decay": "0.1dur"})
    assert (tmp_path / STUDY).read_bytes() == before


def test_study_with_values_that_json_cannot_store_is_continued(tmp_path):
    for _ in range(2):
        opened(tmp_path, ["ssr"], milestones={30: 0.1}, kind=Path("a"))


def test_swept_keys_may_differ_in_later_sweeps(tmp_path):
    opened(tmp_path, ["ssr"])
    opened(tmp_path, ["ssr", "+optimizer.lr", "scheduler"])
    opened(tmp_path, ["ssr"], optimizer={**BASE["optimizer"], "lr": 0.3}, scheduler={"_target_": "WSD"})
    with refused("hydra.sweep.dir", MismatchError, match=r"optimizer.momentum was 0.9 and is 0.8;"):
        opened(tmp_path, ["ssr"], optimizer={**BASE["optimizer"], "momentum": 0.8})
    opened(tmp_path, ["experiment"], optimizer={"anything": 1})  # an experiment may change any key


def test_study_with_different_code_is_refused_unless_allowed(tmp_path):
    opened(tmp_path, ["ssr"])
    new = {**CODE, "ssr_hydra": "0.1.0 def"}
    with pytest.raises(
        InputError, match=r"used different code: ssr_hydra was '0.1.0 abc' and is '0.1.0 def'; .*study_code=any"
    ):
        opened(tmp_path, ["ssr"], new)
    opened(tmp_path, ["ssr"], new, any_code=True)
    opened(tmp_path, ["ssr"], new)
    assert json.loads((tmp_path / STUDY).read_text())["codes"] == [CODE, new]


ODD = ('"swept": 5', '"swept": null', '"swept": [[1]]', '"swept": ["a", 1]', '"codes": 5')


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"base": {}, "code": 1}', *(f'{{"base": {{}}, "code": {{}}, {each}}}' for each in ODD)]
)
def test_incomplete_study_json_is_not_overwritten(tmp_path, content):
    (tmp_path / STUDY).write_text(content)
    with refused("hydra.sweep.dir"):
        opened(tmp_path, ["ssr"])
    assert (tmp_path / STUDY).read_text() == content


def test_jobs_keep_their_numbers_in_any_order(tmp_path):
    first = StudyFolder(tmp_path).assign(jobs("aba"))
    assert [job.folder.name for job in first.jobs] == ["0", "1", "0"]
    assert [job.folder.name for job in first.mine] == ["0", "1"]  # a job that is listed twice runs once
    again = StudyFolder(tmp_path).assign(jobs("cba"))
    assert [job.folder.name for job in again.jobs] == ["2", "1", "0"]
    (tmp_path / "7").mkdir()  # an existing folder is not assigned
    assert [job.folder.name for job in StudyFolder(tmp_path).assign(jobs("de")).jobs] == ["8", "9"]


OPENED = (".lock", ".sweeps", "0/train.log", "0/output.log", "0/.hydra", "0/checkpoints")


@pytest.mark.parametrize(("name", "kind"), [("0", "link"), *itertools.product(OPENED, ("link", "pipe"))])
def test_study_does_not_write_through_links_and_pipes(tmp_path, name, kind):
    # Through a link in a study from someone else, a job would write into other files. A pipe would block the sweep.
    study, outside = tmp_path / "study", tmp_path / "outside"
    StudyFolder(study).assign(jobs("a"))
    shutil.copytree(study / "0", outside)
    if (study / name).is_dir():
        shutil.rmtree(study / name)
    (study / name).unlink(missing_ok=True)
    if kind == "link":
        (study / name).symlink_to(outside, target_is_directory=True)
    else:
        os.mkfifo(study / name)
    with refused("hydra.sweep.dir", PathError, match=Path(name).name):
        StudyFolder(study).assign(jobs("a"))
    assert [path.name for path in outside.iterdir()] == [JOB]


def test_completed_job_folder_may_be_moved_and_replaced_by_a_link(tmp_path):
    study = tmp_path / "study"
    StudyFolder(study).assign(jobs("a"))
    record(study / "0")
    (study / "0").rename(tmp_path / "elsewhere")
    (study / "0").symlink_to(tmp_path / "elsewhere")
    (study / "latest").symlink_to("0")
    assert StudyFolder(study).assign(jobs("a")).jobs[0].folder == study / "0"
    assert job_folders(study) == [study / "0"]


def test_job_folders_may_have_custom_names_and_jobs_keep_their_folders(tmp_path):
    def folders(names, place=None):
        assigned = StudyFolder(tmp_path).assign(jobs(names), place).jobs
        return [job.folder.relative_to(tmp_path).as_posix() for job in assigned]

    assert folders("ab", ["x/a", "x/b"]) == ["x/a", "x/b"]
    assert folders("abc") == ["x/a", "x/b", "0"]
    assert folders("acd", ["y/a", "y/c", "y/d"]) == ["x/a", "0", "y/d"]
    assert (tmp_path / "y/d" / JOB).exists()
    for _ in range(2):  # the second sweep resumes a job in a hidden folder, and a job below a different job
        assert folders("fg", [".f", "y/d/g"]) == [".f", "y/d/g"]
    with refused("hydra.sweep.subdir", ConflictError, match=r"='x/a': the folder .* belongs to a different job"):
        folders("e", ["x/a"])


def test_sweep_does_not_run_jobs_of_a_different_running_sweep(tmp_path):
    one, two = StudyFolder(tmp_path), StudyFolder(tmp_path)
    with Heartbeat(one.sign):
        mine = one.assign(jobs("ab")).mine
        record(mine[0].folder)
        plan = two.assign(jobs("abc"))
        assert [job.folder.name for job in plan.mine] == ["0", "2"]  # a completed job belongs to no sweep
        assert [job.folder.name for job in plan.others] == ["1"]
        assert two.take_over(plan.others) == []
    assert two.take_over(plan.others) == list(plan.others)
    with Heartbeat(two.sign):
        assert [job.folder.name for job in StudyFolder(tmp_path).assign(jobs("b")).others] == ["1"]


def test_heartbeats_of_dead_sweeps_are_removed(tmp_path):
    one, two = StudyFolder(tmp_path), StudyFolder(tmp_path)
    with Heartbeat(one.sign):
        left = one.sign.with_name("dead.json")
        left.write_text(one.sign.read_text().replace('"started": "', '"started": "9'))
        two.clear_signs()
        assert one.sign.exists()
        assert not left.exists()
    one.clear_signs()
    assert list(one.sign.parent.iterdir()) == []  # the folder stays for a sweep that is just starting
