"""Jobs in separate processes, which tests run, kill and interrupt."""

import json
import os
import pickle
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import REPO, SUPPORT
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from process_launcher_app import LIGHT, how, jobs, launcher, wait_for
from refusals import refused
from warm import warm

from ssr_hydra.errors import RunError
from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.launchers import processes, starters
from ssr_hydra.sweeps.launchers.child import JobAnswer, JobTraceback
from ssr_hydra.sweeps.launchers.processes import _result, _RunningJob
from ssr_hydra.sweeps.launchers.resources import THREADS
from ssr_hydra.sweeps.launchers.starters import ProcessEnd

NOBODY = None

pytestmark = pytest.mark.usefixtures("clean_hydra")


@pytest.fixture(scope="module")
def light():
    """Return a server without torch, which starts faster."""
    server = starters.ForkServer({}, LIGHT)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _light(light, monkeypatch):
    def choose(variables):
        return starters.make_starter(variables) if "OMP_NUM_THREADS" in variables else light

    monkeypatch.setattr(processes, "make_starter", choose)


def launch(folder, *deeds, **settings):
    """Return the status of each job, and its result or error."""
    return [how(returned) for returned in launcher(folder, **settings).launch(jobs(*deeds), 0)]


def alive(pid):
    try:
        return state_of(pid) not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the process may end between open and read
        return False


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_until(is_so, seconds=300):
    until = time.monotonic() + seconds
    while not is_so() and time.monotonic() < until:
        time.sleep(0.02)
    return is_so()


# ---- results


def test_results_are_in_job_order_and_each_job_has_its_own_process(tmp_path):
    process_launcher = launcher(tmp_path, workers=2)
    started = []
    ended = []

    def end(number, returned):
        ended.append((number, returned))
        (tmp_path / "go").touch()  # the first job waits until the second job has ended

    process_launcher.on_start = lambda number, pid: started.append((number, pid))
    process_launcher.on_end = end
    results = process_launcher.launch([["do=wait", "n=0"], ["do=pid", "n=7"], ["do=pid", "n=8"]], 5)
    pids = [returned.return_value for returned in results[1:]]
    assert how(results[0]) == ("COMPLETED", "gone on")
    assert started[1:] == [(6, pids[0]), (7, pids[1])]
    assert len({started[0][1], *pids, os.getpid()}) == 4
    assert not any(alive(pid) for _, pid in started)
    assert ended[0] == (6, results[1])
    assert dict(ended) == dict(enumerate(results, 5))
    assert [returned.hydra_cfg.hydra.job.num for returned in results] == [5, 6, 7]
    assert [list(returned.overrides) for returned in results[:2]] == [["do=wait", "n=0"], ["do=pid", "n=7"]]
    assert [returned.cfg.n for returned in results] == [0, 7, 8]
    assert (tmp_path / "sweep/5/.hydra/overrides.yaml").read_text() == "- do=wait\n- n=0\n"


# ---- failures


def test_job_that_raises_an_error_does_not_stop_other_jobs(tmp_path):
    results = launcher(tmp_path).launch(jobs("number", "raise", "number"), 0)
    assert [how(returned) for returned in results] == [
        ("COMPLETED", 0),
        ("FAILED", "ValueError: no luck with 1"),
        ("COMPLETED", 2),
    ]
    with pytest.raises(ValueError, match="no luck") as caught:
        _ = results[1].return_value
    assert isinstance(caught.value.__cause__, JobTraceback)
    trace = str(caught.value.__cause__)
    assert "in _raise" in trace
    assert "run_job" not in trace  # the traceback begins where the job begins


def test_error_names_exit_codes_and_signals(tmp_path):
    died = [text for status, text in launch(tmp_path, "exit", "leave", "segv", "grow", "number") if status == "FAILED"]
    assert [text.partition("; the job's output")[0] for text in died[:3]] == [
        "RunError: called sys.exit with exit code 3 before the job was done",
        "LostJobError: its process ended with exit code 0 before the job was done",
        "LostJobError: killed by SIGSEGV: a crash in native code",
    ]
    assert len(died) == 4
    start = "LostJobError: killed by SIGKILL: by a user, or by the kernel's OOM killer because memory ran out; "
    start += "the job held "
    assert died[3].startswith(start)
    assert 1.0 <= float(died[3].removeprefix(start).partition(" GiB at its peak")[0]) < 4.0


def test_sweep_completes_if_the_first_middle_and_last_of_twelve_jobs_are_killed(tmp_path):
    process_launcher = launcher(tmp_path, workers=2)
    victims = (0, 5, 11)

    def kill(number, pid):
        if number in victims:
            os.kill(pid, signal.SIGKILL)

    process_launcher.on_start = kill
    deeds = ["wait" if number in victims else "number" for number in range(12)]
    for number, returned in enumerate(process_launcher.launch(jobs(*deeds), 0)):
        status, answer = how(returned)
        if number in victims:
            assert status == "FAILED"
            assert answer.startswith("LostJobError: killed by SIGKILL: ")
        else:
            assert (status, answer) == ("COMPLETED", number)


def test_job_without_a_valid_config_or_folder_does_not_stop_other_jobs(tmp_path):
    process_launcher = launcher(tmp_path)
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/1").write_text("in the way")
    outcomes = [how(returned) for returned in process_launcher.launch([["q=1"], ["n=1"], ["n=2"]], 0)]
    assert [status for status, _ in outcomes] == ["FAILED", "FAILED", "COMPLETED"]
    assert "Could not override 'q'" in outcomes[0][1]
    assert "FileExistsError" in outcomes[1][1]


def test_signal_to_one_job_does_not_stop_other_jobs(tmp_path):
    process_launcher = launcher(tmp_path)

    def stop(number, pid):
        if number < 2:
            os.kill(pid, (signal.SIGTERM, signal.SIGINT)[number])

    process_launcher.on_start = stop
    assert [how(returned) for returned in process_launcher.launch(jobs("wait", "wait", "number"), 0)] == [
        ("FAILED", "RunError: terminated by SIGTERM"),
        ("FAILED", "RunError: interrupted"),
        ("COMPLETED", 2),
    ]


def test_jobs_survive_a_killed_fork_server(light, tmp_path):
    process_launcher = launcher(tmp_path, workers=2)
    pids = []

    def kill(number, pid):
        pids.append(pid)
        if number == 1:
            assert wait_for(tmp_path / "waits-0")
            assert light._process is not None
            light._process.kill()
            os.kill(pid, signal.SIGKILL)
        if number == 2:
            (tmp_path / "go").touch()

    process_launcher.on_start = kill
    outcomes = [how(returned) for returned in process_launcher.launch(jobs("wait", "wait", "number", "number"), 0)]
    lost = "LostJobError: its process ended for an unknown reason: the process that starts the jobs was killed too"
    assert outcomes == [("COMPLETED", "gone on"), ("FAILED", lost), ("COMPLETED", 2), ("COMPLETED", 3)]


def test_launch_returns_if_the_last_job_cannot_be_started(tmp_path, monkeypatch):
    def start(*_):
        raise RunError("no process can be started")

    monkeypatch.setattr(starters.Spawner, "start", start)
    monkeypatch.setattr(processes, "make_starter", lambda variables: starters.Spawner())
    failed = ("FAILED", "RunError: no process can be started")
    assert launch(tmp_path, "number", "number") == [failed] * 2


def test_all_jobs_end_if_the_callback_on_start_raises_an_error(tmp_path):
    process_launcher = launcher(tmp_path, workers=2)
    pids = []

    def fail(number, pid):
        pids.append(pid)
        if number == 1:
            assert all(wait_for(tmp_path / f"waits-{n}") for n in (0, 1))
            raise ZeroDivisionError

    process_launcher.on_start = fail
    with pytest.raises(ZeroDivisionError):
        process_launcher.launch(jobs("wait", "wait", "number"), 0)
    assert len(pids) == 2
    assert not any(map(alive, pids))
    assert (tmp_path / "stopped-0").read_text() == "TerminatedError"


# ---- the environment of a job


def test_job_has_the_import_path_and_environment_and_working_directory_of_its_sweep(tmp_path, monkeypatch):
    assert launch(tmp_path, "number") == [("COMPLETED", 0)]  # the server starts before the changes below
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("MINE", "here")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "argv", ["train.py", "-m"])
    OmegaConf.register_new_resolver("run_id", lambda: "5eed", replace=True)
    try:
        ((status, facts),) = launch(tmp_path, "seen")
    finally:
        OmegaConf.clear_resolver("run_id")
    assert status == "COMPLETED"
    assert facts["environment"]["MINE"] == "here"
    assert "MPLBACKEND" not in facts["environment"]
    assert facts["environment"] == dict(os.environ)
    assert facts["folder"] == str(tmp_path / "elsewhere")
    assert facts["path"][0] == str(tmp_path / "modules")
    assert facts["argv"] == ["train.py", "-m"]
    assert (facts["stdin"], facts["cuda"], facts["handlers"], facts["folder_of_id"]) == ("", False, [True], "5eed")
    pid, parent, group, session = facts["process"]
    assert group == pid
    assert session == parent != os.getsid(0)  # so ctrl-C in the terminal does not reach the job


def test_each_job_uses_the_given_number_of_threads(tmp_path):
    facts = [value for _, value in launch(tmp_path, "seen", "seen", workers=2, threads=3)]
    assert [each["threads"] for each in facts] == [3, 3]  # for any number of cores
    assert all(each["environment"][name] == "3" for each in facts for name in THREADS)


def test_running_jobs_never_use_the_same_gpu(tmp_path):
    outcomes = launch(tmp_path, *["claim"] * 6, workers=3, gpus=[0, 1, 7])  # a job fails if another job holds its GPU
    assert [status for status, _ in outcomes] == ["COMPLETED"] * 6
    assert {gpu for _, gpu in outcomes} == {"0", "1", "7"}
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_modules_of_a_run_are_loaded_before_its_process_starts(tmp_path):
    ((status, imported),) = launch(tmp_path, "imports", threads=3)
    assert status == "COMPLETED", imported
    slow = {name for name in imported if name.partition(".")[0] in ("torch", "sympy", "numpy", "rich", "ssr_hydra")}
    assert (slow, len(imported) < 30) == (set(), True)


def test_invalid_settings_are_refused_before_any_job_runs(tmp_path):
    with refused("hydra.launcher.workers"):
        launcher(tmp_path, workers=0)
    with refused("hydra.launcher.workers"):
        launcher(tmp_path, workers=2, gpus=OmegaConf.create([0]))


def test_job_can_be_spawned_instead_of_forked(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "make_starter", lambda variables: starters.Spawner())
    outcomes = launch(tmp_path, "seen", "raise", "segv", workers=2, threads=2)
    assert outcomes[0][1]["threads"] == 2
    assert outcomes[0][1]["process"][0] == outcomes[0][1]["process"][2]  # a separate process group
    assert outcomes[1:] == [("FAILED", "ValueError: no luck with 1"), ("FAILED", outcomes[2][1])]
    assert "killed by SIGSEGV" in outcomes[2][1]


# ---- output


def test_each_job_prints_to_a_file_and_the_error_of_a_killed_job_names_that_file(tmp_path, capfd):
    (tmp_path / "sweep/4").mkdir(parents=True)
    (tmp_path / "sweep/4/output.log").write_text("from an earlier attempt\n")
    outcomes = launch(tmp_path, "print", "number", "print", "segv", "segv", workers=2)
    assert capfd.readouterr() == ("", "")
    for number in (0, 2):
        output = (tmp_path / f"sweep/{number}/output.log").read_text()
        assert sorted(output.splitlines()) == [f"complained by {number}", f"said by {number}", f"shouted by {number}"]
    assert {path.parent.name for path in tmp_path.rglob("output.log")} == {"0", "2", "4"}  # only for output
    assert "printed" not in outcomes[3][1]
    assert outcomes[4][1].endswith(f"; the job's output is in {tmp_path}/sweep/4/output.log")


# ---- signals


class Script:
    """A process that runs the launcher, in a separate process group or on a terminal."""

    def __init__(self, folder, *deeds, terminal=None, **settings):
        arguments = [sys.executable, SUPPORT / "process_launcher_app.py", folder, json.dumps(settings), *deeds]
        self.process = subprocess.Popen(
            arguments,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A separate session would ignore ctrl-Z.
            preexec_fn=os.setpgrp if terminal is None else lambda: _take_terminal(terminal),
        )

    def told(self):
        """Return all output until the script ends."""
        out, err = self.process.communicate(timeout=300)
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")], err


def _take_terminal(terminal):
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


@pytest.fixture
def script():
    scripts = []

    def start(*arguments, **settings):
        scripts.append(Script(*arguments, **settings))
        return scripts[-1]

    yield start
    for each in scripts:
        each.process.kill()
        each.process.communicate()


def all_wait(folder, *numbers):
    assert all(wait_for(folder / f"waits-{number}") for number in numbers)
    wait_until(lambda: all((folder / f"waits-{number}").read_text() for number in numbers))
    return [int((folder / f"waits-{number}").read_text()) for number in numbers]


@pytest.mark.parametrize(
    ("number", "left", "noted"),
    [
        (signal.SIGINT, "KeyboardInterrupt: interrupted; 2 jobs stopped", "KeyboardInterrupt"),
        (signal.SIGUSR2, "TerminatedError: terminated by SIGUSR2; 2 jobs stopped", "TerminatedError"),
    ],
)
def test_sweep_forwards_a_signal_once_and_waits_for_its_jobs(script, tmp_path, number, left, noted):
    started = script(tmp_path, "wait", "wait", "number", workers=2)
    pids = all_wait(tmp_path, 0, 1)
    started.process.send_signal(number)
    messages, err = started.told()
    assert messages[-1] == {"left": left}
    assert [message["start"] for message in messages if "start" in message] == [0, 1]  # the third job did not start
    assert {message["how"][0] for message in messages if "end" in message} == {"FAILED"}
    assert [(tmp_path / f"stopped-{each}").read_text() for each in (0, 1)] == [noted] * 2
    assert not any(map(alive, pids))
    hint = "stopping 2 jobs, with a checkpoint; ctrl-C again stops immediately\n"
    assert err == (hint if number == signal.SIGINT else "")


def test_ctrl_c_on_a_terminal_stops_the_jobs(script, tmp_path):
    master, terminal = pty.openpty()
    started = script(tmp_path, "wait", "number", terminal=terminal)
    os.close(terminal)
    all_wait(tmp_path, 0)
    os.write(master, b"\x03")
    messages, err = started.told()
    os.close(master)
    assert messages[-1] == {"left": "KeyboardInterrupt: interrupted"}
    assert (tmp_path / "stopped-0").read_text() == "KeyboardInterrupt"
    assert err == "stopping 1 job, with a checkpoint; ctrl-C again stops immediately\n"


def test_third_ctrl_c_kills_a_job_that_ignores_ctrl_c(script, tmp_path):
    started = script(tmp_path, "deaf", workers=2)  # with two workers, the sweep prints what each ctrl-C does
    pids = all_wait(tmp_path, 0)
    assert started.process.stderr is not None
    for last in ("with a checkpoint; ctrl-C again stops immediately", "ctrl-C again kills"):
        started.process.send_signal(signal.SIGINT)  # one signal at a time, because two pending signals count as one
        assert started.process.stderr.readline() == f"stopping 1 job, {last}\n"
    assert alive(pids[0])
    started.process.send_signal(signal.SIGINT)
    messages, _ = started.told()
    assert messages[-1] == {"left": "KeyboardInterrupt: interrupted"}
    (end,) = (message for message in messages if "end" in message)
    assert end["how"][1].startswith("LostJobError: killed by SIGKILL")


def test_ctrl_z_suspends_the_jobs_too(script, tmp_path):
    started = script(tmp_path, "wait")
    (pid,) = all_wait(tmp_path, 0)

    started.process.send_signal(signal.SIGTSTP)
    assert wait_until(lambda: state_of(pid) == state_of(started.process.pid) == "T")
    started.process.send_signal(signal.SIGCONT)
    assert wait_until(lambda: state_of(pid) != "T" != state_of(started.process.pid))
    (tmp_path / "go").touch()
    messages, _ = started.told()
    assert messages[-1] == {"left": "done"}
    assert messages[-2]["how"] == ["COMPLETED", "gone on"]


def test_fork_server_ends_with_the_sweep(script, tmp_path):
    started = script(tmp_path, "seen")
    messages, _ = started.told()
    (end,) = (message for message in messages if "end" in message)
    _, server, _, _ = end["how"][1]["process"]
    assert not alive(server)


def test_a_sent_result_counts_even_if_the_process_is_killed_afterwards():
    answer = JobAnswer(pickle.dumps(JobReturn(status=JobStatus.COMPLETED, _return_value=3)), "")
    assert _result(_RunningJob(0, [], {}, 1, NOBODY, answer), ProcessEnd(0, -9)).return_value == 3


def test_error_whose_class_the_sweep_cannot_import_is_reported_as_a_run_error():
    answer = JobAnswer(b"cnowhere\nNoClass\n.", "KindError: gone", "the traceback")
    returned = _result(_RunningJob(0, [], {}, 1, NOBODY, answer), ProcessEnd(0, 0))
    assert how(returned) == ("FAILED", "RunError: KindError: gone")
    assert str(returned._return_value.__cause__) == "\nthe traceback"


# ---- the app


def app(folder, *arguments):
    quick = ["trainer.progress=none", "study_report=false", f"hydra.sweep.dir={folder}"]
    return warm.start(str(REPO / "train.py"), "-m", *quick, *arguments, cwd=folder.parent)


def test_job_has_the_same_result_under_the_default_launcher_of_hydra(tmp_path):
    results = []
    for name in ("basic", "processes"):
        with app(tmp_path / name, f"launcher={name}", "ssr=0.5,1", "max_duration=6ba") as process:
            _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        results.append([RunResult.load(tmp_path / name / number) for number in "01"])
    for basic, ours in zip(*results, strict=True):
        assert ours.metrics == basic.metrics  # bitwise
        assert (ours.config_hash, ours.steps) == (basic.config_hash, basic.steps)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_jobs_save_a_checkpoint_and_end_with_their_sweep(tmp_path, number):
    folder = tmp_path / "sweep"
    two = ("hydra.launcher.workers=2", "hydra.launcher.gpus=none")
    with app(folder, *two, "seed=0,1,2", "max_duration=1h") as process:
        assert wait_until(lambda: all(lines(folder / name) > 2 for name in "01"))
        process.send_signal(number)
        _, err = process.communicate(timeout=300)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert wait_until(lambda: all((folder / name / "result.json").exists() for name in "01"))
    for name in "01":
        record = RunResult.load(folder / name)
        assert record.status == "stopped"
        assert 0 <= record.conditions["jobs_beside"] <= 1  # 0 if the other job ended before it was counted
        reason = "KeyboardInterrupt: interrupted" if number == signal.SIGINT else "terminated by SIGTERM"
        assert str(record.error).startswith(f"{reason}, with a checkpoint at batch ")
        assert len(list((folder / name / "checkpoints").glob("ba*"))) == 1
    assert not (folder / "2").exists() or not (folder / "2/metrics.jsonl").exists()
    assert "Traceback" not in err


def lines(folder):
    path = folder / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0
