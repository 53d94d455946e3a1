"""Kill runs of the app, and start them again until they complete. ``resume_lab.scenarios`` runs this program.

    python resume_killer.py SCENARIO,SCENARIO:COUNT FOLDER

The program imports all modules once, and forks a process for each start of a run. So it must have a single thread.
"""

from __future__ import annotations

import functools
import json
import os
import pty
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import resume_lab
import torch
import torch._dynamo  # optimizers import torch._dynamo when they are created, which takes seconds
from checkpoint_helpers import newest
from resume_lab import DIGITS, arguments
from run_equality import content_of

import ssr_hydra.app.compose
import ssr_hydra.app.main
import ssr_hydra.data
import ssr_hydra.trainer.trainer
from ssr_hydra import metrics_log
from ssr_hydra.app.main import main
from ssr_hydra.configs import GROUPS, register

_FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
_RECORDS = re.compile(r"checkpoints|metrics\.jsonl|result\.json")

CONFIGS: dict[str, list[str]] = {
    "adamw": arguments(optimizer="adamw"),
    "adamw_ema": arguments("callbacks=[ema]", "+callbacks.ema.decay=0.9", optimizer="adamw", data__num_workers=2),
    "sgd_workers": arguments(data__num_workers=2, checkpoint__best="eval/loss"),
    "digits": arguments(data=DIGITS, scheduler__t_warmup="0.1dur"),
    "fp16": arguments(data=DIGITS, trainer__precision="fp16", trainer__accumulate=2, trainer__clip_grad_norm=1.0),
    "ragged": arguments(max_duration="123sp", ssr=1.25, checkpoint__interval="25sp", trainer__eval_interval="0.4dur"),
}


def start(folder: Path, overrides: list[str], prepare: Callable[[], object] = lambda: None) -> int:
    """Run the app in a new process in a folder, with its output in ``said.txt``. Return the process id."""
    process = os.fork()
    if process == 0:
        run_and_exit(folder, overrides, prepare)
    return process


def run_and_exit(folder: Path, overrides: list[str], prepare: Callable[[], object]) -> NoReturn:
    """Run the app until this process ends."""
    code: Any = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        output = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        prepare()
        main(overrides)
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
        code = 9
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 8)


def ended(process: int) -> int:
    """Return the exit code of a process, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


class Killer:
    """Count the steps of a run (batches, evaluations, records, file operations), and kill the run before one step.

    Args:
        step: The number of this step, from 0. If negative, the run is not killed, and ``steps.json`` lists its steps.
        act: A function to call instead of the kill.
    """

    def __init__(self, step: int = -1, act: Callable[[], object] | None = None) -> None:
        self.step, self.act = step, act
        self.seen: list[str] = []
        self.process = 0

    def __call__(self) -> None:
        self.process = os.getpid()
        forward, fsync, write = resume_lab.Net.forward, os.fsync, metrics_log.MetricsLog.write

        def counted_forward(net: Any, inputs: Any) -> Any:
            self.count("train" if net.training else "eval")
            return forward(net, inputs)

        def counted_fsync(descriptor: int) -> None:
            self.count("fsync")
            fsync(descriptor)

        def counted_write(log: Any, record: Mapping[str, Any]) -> None:
            if len(self.seen) == self.step and self.act is None:  # the kill leaves an incomplete record
                os.write(log._file.fileno(), b'{"event":"train","epo')
            self.count("record")
            write(log, record)

        def hook(event: str, event_args: tuple[object, ...]) -> None:
            reads = event == "open" and isinstance(event_args[2], int) and not event_args[2] & (os.O_WRONLY | os.O_RDWR)
            if event in _FILE_EVENTS and not reads and _RECORDS.search(str(event_args[0])):
                self.count(event)

        resume_lab.Net.forward, metrics_log.MetricsLog.write, os.fsync = counted_forward, counted_write, counted_fsync
        sys.addaudithook(hook)

    def count(self, what: str) -> None:
        if os.getpid() != self.process:  # a worker of a data loader
            return
        self.seen.append(what)
        if len(self.seen) == self.step + 1:
            if self.act is None:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                self.act()
        if self.step < 0:
            Path("../steps.json").write_text(json.dumps(self.seen))


def outcome(run: Path) -> dict[str, Any]:
    """Return everything that a run writes, without times, interruptions and leftovers of killed processes."""
    content = content_of(run)
    for part in ("files", "config", "overrides"):
        del content[part]
    for part in ("state", "result"):
        content[part].pop("resumes", None)
    content["records"] = [line for line in content["records"] if line["event"] != "resume"]
    content["checkpoints"] = sorted(path.name for path in (run / "checkpoints").glob("ba*"))
    return content


class Whole(NamedTuple):
    """The outcome and the steps of the uninterrupted run."""

    outcome: dict[str, Any]
    steps: list[str]

    def at(self, draw: random.Random) -> tuple[int, str]:
        """Return a random step; each kind of step is equally likely."""
        what = draw.choice(sorted(set(self.steps)))
        return draw.choice([number for number, step in enumerate(self.steps) if step == what]), what


@functools.cache
def whole(name: str) -> Whole:
    """Run a config without interruption. The scenarios share the result."""
    folder = Path(sys.argv[2]).resolve() / "uninterrupted" / name
    code = ended(start(folder / "whole", CONFIGS[name], Killer()))
    assert code == 0, printed_in(folder / "whole")
    return Whole(outcome(folder / "whole/run"), json.loads((folder / "steps.json").read_text()))


def printed_in(folder: Path) -> str:
    return (folder / "said.txt").read_text()


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run/result.json").read_text())
    return content


def check_same(folder: Path, expected: Whole, *, stopped: bool = False) -> None:
    """Compare a run with the uninterrupted run. A stopped run may have one more checkpoint."""
    here = outcome(folder / "run")
    for part in here.keys() - ({"checkpoints"} if stopped else set()):
        assert here[part] == expected.outcome[part], (folder, part, printed_in(folder))


def run_to_the_end(folder: Path, overrides: list[str], expected: Whole, *, stopped: bool = False) -> None:
    """Run the same command again, and compare the outcome with the uninterrupted run."""
    code = ended(start(folder, overrides))
    assert code == 0, (folder, code, printed_in(folder))
    check_same(folder, expected, stopped=stopped)


def kills(folder: Path, n_kills: int, most: int = 4) -> dict[str, Any]:
    """Send SIGKILL at random steps. Repeat the same command until the run completes."""
    draw, places, chains = random.Random(0), [], 0
    for number, (name, overrides) in enumerate(CONFIGS.items(), 1):
        while (missing := n_kills * number // len(CONFIGS) - len(places)) > 0:
            expected = whole(name)
            chain, chains = folder / name / f"chain{chains}", chains + 1
            for _ in range(min(most, missing)):
                step, _ = expected.at(draw)
                code = ended(start(chain, overrides, Killer(step)))
                if code != -signal.SIGKILL:  # the run completed before this step
                    assert code == 0, (chain, code, printed_in(chain))
                    check_same(chain, expected)
                    break
                places.append(expected.steps[step])
            else:
                run_to_the_end(chain, overrides, expected)
    return {"kills": len(places), "where": sorted({*places})}


def ends(folder: Path, every: int) -> dict[str, Any]:
    """Send SIGKILL while the run writes its last checkpoint and its record, at every few steps."""
    overrides, expected = CONFIGS["adamw"], whole("adamw")
    last = max(number for number, step in enumerate(expected.steps) if step == "train")
    steps = range(last + 1, len(expected.steps), every)
    for step in steps:
        assert ended(start(folder / str(step), overrides, Killer(step))) == -signal.SIGKILL
        run_to_the_end(folder / str(step), overrides, expected)
    return {"kills": len(steps)}


def check_stopped(folder: Path, words: str) -> None:
    """Check the record and the checkpoint of a run that a signal stopped."""
    result = record(folder)
    assert result["status"] == "stopped", printed_in(folder)
    assert result["error"] == f"{words}, with a checkpoint at batch {result['steps']}", result["error"]
    assert (folder / f"run/checkpoints/ba{result['steps']}").is_dir()


_WORDS = {
    signal.SIGTERM: "terminated by SIGTERM",
    signal.SIGUSR2: "terminated by SIGUSR2",
    signal.SIGHUP: "terminated by SIGHUP",
    signal.SIGINT: "KeyboardInterrupt: interrupted",
}


def signals(folder: Path, terminations: int) -> dict[str, Any]:
    """Send signals at random steps, to the process or to its process group, as job schedulers do."""
    draw, counts = random.Random(1), {}
    plan = [(signal.SIGTERM, terminations)]
    plan += [(other, terminations // 6) for other in (signal.SIGUSR2, signal.SIGHUP, signal.SIGINT)]
    names = ("sgd_workers", "adamw_ema", "digits")[:terminations]
    for number, n_runs in plan:
        stopped: list[str] = []
        tries = 0
        while len(stopped) < n_runs:
            name = draw.choice(names)
            overrides, expected = CONFIGS[name], whole(name)
            here = folder / name / f"{number.name}{tries}"
            step, what = expected.at(draw)
            to_all, tries = draw.random() < 0.5, tries + 1

            def act(number: int = number, to_all: bool = to_all) -> None:
                os.killpg(os.getpgrp(), number) if to_all else os.kill(os.getpid(), number)
                time.sleep(0)  # Python runs its handlers

            def prepare(step: int = step, act: Callable[[], object] = act) -> None:
                os.setsid()
                Killer(step, act)()

            code = ended(start(here, overrides, prepare))
            if code == 0:  # the signal came after the last batch
                check_same(here, expected)
                continue
            assert code == 128 + number, (here, what, code, printed_in(here))
            if step >= expected.steps.index("eval"):  # the first evaluation runs before training, as a check
                check_stopped(here, _WORDS[number])
            stopped.append(what)
            run_to_the_end(here, overrides, expected, stopped=True)
        counts[number.name] = {"stopped": len(stopped), "eval": stopped.count("eval")}
    return counts


def requeue(folder: Path) -> dict[str, Any]:
    """Install a handler of SIGUSR2, as a job launcher does. The run calls it after the checkpoint is written."""
    overrides, expected = CONFIGS["adamw"], whole("adamw")
    codes = []
    for name, leave in (("back", lambda: None), ("exits", lambda: sys.exit(7))):
        here = folder / name

        def prepare(leave: Callable[[], object] = leave) -> None:
            def handler(number: int, frame: object) -> None:
                names = sorted(path.name for path in Path("run/checkpoints").glob("ba*"))
                Path("handled.json").write_text(json.dumps([number, names]))
                leave()

            signal.signal(signal.SIGUSR2, handler)
            first = expected.steps.index("eval", expected.steps.index("train"))  # not the trial evaluation
            Killer(first, lambda: os.kill(os.getpid(), signal.SIGUSR2))()

        codes.append(ended(start(here, overrides, prepare)))
        assert json.loads((here / "handled.json").read_text()) == [signal.SIGUSR2, ["ba11", "ba7"]]
        assert record(here)["status"] == "stopped"
        run_to_the_end(here, overrides, expected, stopped=True)
    return {"codes": codes}


def keyboard(folder: Path, count: int) -> dict[str, Any]:
    """Send ctrl-C to the process group of a terminal, once and twice, in training and in evaluation."""
    name = "adamw_ema"
    overrides, expected, codes = CONFIGS[name], whole(name), []
    for what, times in (("train", 1), ("eval", 2), ("train", 2), ("eval", 1))[:count]:
        here = folder / f"{what}{times}"
        ready, tell = os.pipe()
        step = [number for number, step in enumerate(expected.steps) if step == what][4]

        def wait(times: int = times, tell: int = tell) -> None:
            os.write(tell, b"x")
            until = time.monotonic() + 300  # the second ctrl-C ends the run in this function
            while time.monotonic() < until and not signal.getsignal(signal.SIGINT).__self__.number:  # type: ignore[union-attr]
                time.sleep(0.01)
            if times == 2:
                os.write(tell, b"y")
                while time.monotonic() < until:
                    time.sleep(0.01)

        process, terminal = pty.fork()
        if process == 0:
            run_and_exit(here, overrides, Killer(step, wait))
        os.close(tell)
        for byte in (b"x", b"y")[:times]:  # one by one, because two pending signals count as one
            assert os.read(ready, 1) == byte, printed_in(here)
            os.write(terminal, b"\x03")
        os.close(ready)
        codes.append(ended(process))
        os.close(terminal)
        if times == 1:
            check_stopped(here, _WORDS[signal.SIGINT])
            assert "ctrl-C again stops immediately" not in printed_in(here)  # progress is off
        else:
            assert record(here)["error"] == "KeyboardInterrupt: interrupted"
        run_to_the_end(here, overrides, expected, stopped=True)
    return {"codes": codes}


def full_disk(folder: Path) -> dict[str, Any]:
    """Limit the size of files, so that the run cannot write the checkpoint."""
    overrides, expected = CONFIGS["adamw"], whole("adamw")
    for number, (at, stop) in enumerate(((12, False), (12, True), (25, False))):
        here = folder / str(number)

        def act(stop: bool = stop) -> None:
            sys.dont_write_bytecode = True  # Python could write a partial bytecode file
            resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))
            if stop:
                os.kill(os.getpid(), signal.SIGTERM)

        step = [position for position, step in enumerate(expected.steps) if step == "train"][at]
        code = ended(start(here, overrides, Killer(step, act)))
        before = (at // 7) * 7
        # A stopped run also prints the command that continues it.
        message, *command = printed_in(here).strip().splitlines()
        path = re.escape(str(here / f"run/checkpoints/.ba{at + 1 if stop else before + 7}."))
        assert re.search(rf"cannot write \d+ bytes: File too large: '{path}\d+.new/state.pt'", message), message
        if stop:
            assert (code, len(command)) == (143, 1)
            assert message.startswith("terminated by SIGTERM, without a checkpoint: "), message
            assert message.endswith("; continue with"), message
        else:
            assert (code, len(command)) == (1, 0)
        result = record(here)
        assert result["status"] == ("stopped" if stop else "failed")
        assert "without a checkpoint" in result["error"] or result["error"].startswith("WriteError: "), result["error"]
        checkpoint, refused = newest(here / "run/checkpoints")
        assert (checkpoint.path.name, refused) == (f"ba{before}", [])
        assert not list((here / "run/checkpoints").glob(".ba*"))
        run_to_the_end(here, overrides, expected, stopped=True)
    return {"full": 3}


SCENARIOS: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__: function for function in (kills, ends, signals, requeue, keyboard, full_disk)
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    register(GROUPS)
    ssr_hydra.app.compose.register = lambda: None  # this process has registered the configs already
    where = Path(sys.argv[2]).resolve()
    plans = [plan.partition(":") for plan in sys.argv[1].split(",")]
    print(json.dumps({name: SCENARIOS[name](where / name, *map(int, count.split())) for name, _, count in plans}))
