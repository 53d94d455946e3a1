import io

from sweep_records import Terminal, record

from ssr_hydra.sweeps import jobs_table
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Heartbeat
from ssr_hydra.sweeps.job_status import read_state
from ssr_hydra.sweeps.jobs_table import show_sweep


def job(folder, overrides, status="completed", error=None):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/overrides.yaml").write_text("".join(f"- {item}\n" for item in overrides.split()))
    (folder / ".hydra/config.yaml").write_text("trainer:\n  objective: eval/accuracy\n")
    if status is not None:
        record(folder, status, error, steps=1200, seconds=61.0, metrics={"eval/accuracy": 0.91234})


def shown(folder, stream=None):
    stream = io.StringIO() if stream is None else stream
    show_sweep(folder, stream)
    return stream.getvalue().splitlines()


def test_table_has_a_line_for_each_job_with_its_swept_values(tmp_path):
    for number in (10, 2):
        job(tmp_path / str(number), f"ssr={number} seed=0")
    assert shown(tmp_path) == [
        "",
        f"2 jobs in {tmp_path}: 2 completed",
        "all with seed=0",
        "job  ssr  status     steps  training  eval/accuracy",
        "2    2    completed  1,200  1:01 min         0.9123",
        "10   10   completed  1,200  1:01 min         0.9123",
    ]


def test_table_does_not_list_keys_of_the_sweep_such_as_workers(tmp_path):
    # Two commands of one study: the first sets workers and trust, the second the launcher.
    job(tmp_path / "0", "ssr=1 study=digits ++workers=2 trust=[mine] study_report=false")
    job(tmp_path / "1", "ssr=2 study=digits launcher=basic plan=false")
    lines = shown(tmp_path)
    assert lines[2].split() == ["job", "ssr", "status", "steps", "training", "eval/accuracy"]
    assert not any(line.startswith("all with") for line in lines)


def test_table_shows_how_each_job_ended(tmp_path):
    job(tmp_path / "0", "model=[red]", "failed", "ValueError: [bold] " + "x" * 200)
    for number in "1234":
        job(tmp_path / number, f"model={number}", None)
    (tmp_path / "2/result.json").write_text("{")
    job(tmp_path / "5", "model=5", "stopped", "KeyboardInterrupt: interrupted, with a checkpoint at batch 71")
    for number in "67":  # jobs that have no files of Hydra, because they never started
        (tmp_path / number).mkdir()
        (tmp_path / number / "job.json").write_text(f'{{"overrides": ["model={number}"]}}')
    record(tmp_path / "7", "failed", "RunError: no process can be started for it", steps=0)
    with Heartbeat(tmp_path / "3" / HEARTBEAT):
        sign = (tmp_path / "3" / HEARTBEAT).read_text()
        (tmp_path / "4" / HEARTBEAT).write_text(sign.replace('"started": "', '"started": "9'))
        lines = shown(tmp_path)
    counts = "2 failed, 2 not begun, 1 without a record, 1 running, 1 died, 1 stopped"
    assert lines[1] == f"8 jobs in {tmp_path}: {counts}"
    rows = [line.split(maxsplit=3) for line in lines[3:]]  # without the jobs that have not begun
    assert [row[:3] for row in rows] == [
        ["0", "[red]", "failed"],
        ["2", "2", "without"],
        ["3", "3", "running"],
        ["4", "4", "died"],
        ["5", "5", "stopped"],
        ["7", "7", "failed"],
    ]
    assert "ValueError: [bold] xxx" in lines[3]
    assert lines[4].endswith("result.json is incomplete")
    assert lines[6].endswith("it was probably killed")
    assert lines[8].endswith("no process can be started for it")


def test_record_that_another_sweep_deletes_at_this_moment_is_missing(tmp_path, monkeypatch):
    job(tmp_path / "0", "seed=0", "failed", "ValueError")

    def read_and_delete(folder):
        state = read_state(folder)
        (folder / "result.json").unlink()
        return state

    monkeypatch.setattr(jobs_table, "read_state", read_and_delete)
    assert shown(tmp_path)[1] == f"1 job in {tmp_path}: 1 without a record"


def test_long_table_counts_completed_jobs_and_does_not_list_them(tmp_path):
    for number in range(60):
        job(tmp_path / str(number), f"seed={number}")
    assert shown(tmp_path) == ["", f"60 jobs in {tmp_path}: 60 completed"]
    job(tmp_path / "60", "seed=60", "diverged", "DivergedError: NaN")
    lines = shown(tmp_path)
    assert lines[1] == f"61 jobs in {tmp_path}: 60 completed, 1 diverged"
    assert [line.split()[0] for line in lines[2:]] == ["job", "60"]


def test_table_fits_the_width_of_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    job(tmp_path / "0", "a=1", "failed", "ValueError: " + "word " * 50)
    job(tmp_path / "1", "a=2")
    assert max(len(line) for line in shown(tmp_path, Terminal())[2:]) <= 60


def test_sweep_without_jobs_prints_no_table(tmp_path):
    assert shown(tmp_path) == []
    assert shown(tmp_path / "missing", io.StringIO()) == []
