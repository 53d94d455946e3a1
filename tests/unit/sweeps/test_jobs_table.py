import io

import pytest
from sweep_records import Terminal, record

from ssr_hydra.sweeps import jobs_table
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Heartbeat
from ssr_hydra.sweeps.job_status import JobDescription, StudyJob, read_state
from ssr_hydra.sweeps.jobs_table import show_sweep


def job(folder, overrides, status="completed", error=None):
    folder.mkdir()
    if status is not None:
        record(folder, status, error, steps=1200, seconds=61.0, metrics={"eval/accuracy": 0.91234})
    return StudyJob(tuple(overrides.split()), JobDescription("", "", objective="eval/accuracy"), folder)


def shown(folder, jobs, stream=None):
    stream = io.StringIO() if stream is None else stream
    show_sweep(folder, jobs, stream)
    return stream.getvalue().splitlines()


def test_table_has_a_line_for_each_job_with_its_swept_values(tmp_path):
    jobs = [job(tmp_path / str(number), f"ssr={number} seed=0") for number in (10, 2)]
    assert shown(tmp_path, [*jobs, jobs[0]]) == [  # the sweep lists one job twice
        "",
        f"2 jobs in {tmp_path}: 2 completed",
        "all with seed=0",
        "job  ssr  status     steps  training  eval/accuracy",
        "10   10   completed  1,200  1:01 min         0.9123",
        "2    2    completed  1,200  1:01 min         0.9123",
    ]


@pytest.mark.parametrize(("objectives", "name"), [((None, None), "objective"), (("a", None), "a"), ("ab", "objective")])
def test_column_of_the_objective_has_its_name_if_all_jobs_have_the_same(tmp_path, objectives, name):
    jobs = [job(tmp_path / str(number), f"seed={number}") for number in range(2)]
    descriptions = [JobDescription("", "", objective=objective) for objective in objectives]
    pairs = zip(jobs, descriptions, strict=True)
    jobs = [StudyJob(each.overrides, description, each.folder) for each, description in pairs]
    assert shown(tmp_path, jobs)[2].split()[-1] == name


def test_table_does_not_list_keys_of_the_sweep_such_as_workers(tmp_path):
    jobs = [
        job(tmp_path / "0", "ssr=1 study=digits ++workers=2 trust=[mine] study_report=false"),
        job(tmp_path / "1", "ssr=2 study=digits launcher=basic plan=false"),
    ]
    lines = shown(tmp_path, jobs)
    assert lines[2].split() == ["job", "ssr", "status", "steps", "training", "eval/accuracy"]
    assert not any(line.startswith("all with") for line in lines)


def test_table_shows_how_each_job_ended(tmp_path):
    jobs = [
        job(tmp_path / "0", "model=[red]", "failed", "ValueError: [bold] " + "x" * 200),
        *(job(tmp_path / number, f"model={number}", None) for number in "1234"),
        job(tmp_path / "5", "model=5", "stopped", "KeyboardInterrupt: interrupted, with a checkpoint at batch 71"),
    ]
    record(tmp_path / "2", "failed", "RunError: no process can be started for it", steps=0)
    with Heartbeat(tmp_path / "3" / HEARTBEAT):
        sign = (tmp_path / "3" / HEARTBEAT).read_text()
        (tmp_path / "4" / HEARTBEAT).write_text(sign.replace('"started": "', '"started": "9'))
        lines = shown(tmp_path, jobs)
    assert lines[1] == f"6 jobs in {tmp_path}: 2 failed, 1 not begun, 1 running, 1 died, 1 stopped"
    rows = [line.split(maxsplit=3) for line in lines[3:]]  # without the job that has not begun
    assert [row[:3] for row in rows] == [
        ["0", "[red]", "failed"],
        ["2", "2", "failed"],
        ["3", "3", "running"],
        ["4", "4", "died"],
        ["5", "5", "stopped"],
    ]
    assert "ValueError: [bold] xxx" in lines[3]
    assert lines[4].endswith("no process can be started for it")
    assert lines[6].endswith("it was probably killed")


def test_record_that_another_sweep_deletes_at_this_moment_is_missing(tmp_path, monkeypatch):
    jobs = [job(tmp_path / "0", "seed=0", "failed", "ValueError")]

    def read_and_delete(folder):
        state = read_state(folder)
        (folder / "result.json").unlink()
        return state

    monkeypatch.setattr(jobs_table, "read_state", read_and_delete)
    assert shown(tmp_path, jobs)[1] == f"1 job in {tmp_path}: 1 without a record"


def test_long_table_counts_completed_jobs_and_does_not_list_them(tmp_path):
    jobs = [job(tmp_path / str(number), f"seed={number}") for number in range(51)]
    assert len(shown(tmp_path, jobs[:50])) == 2 + 1 + 50
    assert shown(tmp_path, jobs) == ["", f"51 jobs in {tmp_path}: 51 completed"]
    jobs.append(job(tmp_path / "51", "seed=51", "diverged", "DivergedError: NaN"))
    lines = shown(tmp_path, jobs)
    assert lines[1] == f"52 jobs in {tmp_path}: 51 completed, 1 diverged"
    assert [line.split()[0] for line in lines[2:]] == ["job", "51"]


def test_table_fits_the_width_of_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    jobs = [job(tmp_path / "0", "a=1", "failed", "ValueError: " + "word " * 50), job(tmp_path / "1", "a=2")]
    assert max(len(line) for line in shown(tmp_path, jobs, Terminal())[2:]) <= 60


def test_table_escapes_control_characters(tmp_path):
    name = "a\x1b]0;title\x07\x1b[2Jb"
    lines = shown(tmp_path, [job(tmp_path / name, f"name={name}", "failed", f"RuntimeError: {name}")])
    assert "".join(lines).isprintable()
