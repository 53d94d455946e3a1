"""A small Hydra app under ``launcher=processes``. Each job runs the task that its test chooses.

Tests use the app in their process, or as a script. The script prints a line of JSON for each start and end of a job,
and when the script ends.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from ssr_hydra.app.command_line import VERSION_BASE
from ssr_hydra.sweeps.launchers import processes
from ssr_hydra.sweeps.launchers.processes import ProcessLauncher
from ssr_hydra.sweeps.launchers.starters import ForkServer
from ssr_hydra.trainer.interrupts import TerminatedError

LIGHT = ("hydra.core.utils", "ssr_hydra.sweeps.launchers.resources", "process_launcher_app")
"""The modules of jobs that do not train."""

_PATIENCE = 300.0  # the longest time that a job waits or sleeps, in seconds


class OddError(Exception):
    """An exception that cannot be unpickled: its class needs two arguments, but stores one argument."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def wait_for(path: Path) -> bool:
    """Wait until a file exists."""
    until = time.monotonic() + _PATIENCE
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return path.exists()


def _wait(cfg: DictConfig) -> str:
    """Wait until the file ``go`` exists or a signal arrives, and record the signal."""
    place = Path(cfg.place)
    try:  # the signal may arrive immediately after the file exists
        (place / f"waits-{cfg.n}").write_text(str(os.getpid()))
        wait_for(place / "go")
    except (KeyboardInterrupt, TerminatedError) as error:
        (place / f"stopped-{cfg.n}").write_text(type(error).__name__)
        raise
    return "gone on"


def _deaf(cfg: DictConfig) -> None:
    """Ignore ctrl-C and SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    (Path(cfg.place) / f"waits-{cfg.n}").write_text(str(os.getpid()))
    time.sleep(_PATIENCE)


def _seen(cfg: DictConfig) -> dict[str, Any]:
    import torch

    return {
        "environment": dict(os.environ),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.is_initialized(),
        "folder": str(Path.cwd()),
        "argv": sys.argv,
        "path": sys.path,
        "stdin": sys.stdin.read(),
        "process": (os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0)),
        "handlers": [signal.getsignal(each) is signal.default_int_handler for each in (signal.SIGINT,)],
        "folder_of_id": str(OmegaConf.create({"it": "${run_id:}"}).it) if OmegaConf.has_resolver("run_id") else None,
    }


def _claim(cfg: DictConfig) -> str:
    """Hold a GPU for a moment, and fail if another job holds it."""
    gpu = os.environ["CUDA_VISIBLE_DEVICES"]
    claim = Path(cfg.place) / f"gpu-{gpu}"
    claim.touch(exist_ok=False)
    time.sleep(0.05)
    claim.unlink()
    return gpu


def _imports(cfg: DictConfig) -> list[str]:
    """Import what a run imports, without the modules that check the command line."""
    from ssr_hydra.app.main import main

    importlib.import_module("ssr_hydra.app.preflight")
    before = set(sys.modules)
    main(["max_duration=2ba", "data.eval=null", "trainer.objective=null", f"hydra.run.dir={cfg.place}/run"])
    return sorted(set(sys.modules) - before)


def _print(cfg: DictConfig) -> None:
    print(f"said by {cfg.n}")
    print(f"complained by {cfg.n}", file=sys.stderr)
    sys.stdout.flush()
    os.system(f"echo shouted by {cfg.n}")


def _raise(cfg: DictConfig) -> None:
    raise ValueError(f"no luck with {cfg.n}")


def _grow(cfg: DictConfig) -> None:
    memory = bytearray(2**30)
    memory[::4096] = b"x" * (2**18)
    os.kill(os.getpid(), signal.SIGKILL)


DEEDS: dict[str, Callable[[DictConfig], Any]] = {
    "number": lambda cfg: cfg.n,
    "pid": lambda cfg: os.getpid(),
    "raise": _raise,
    "exit": lambda cfg: sys.exit(3),
    "leave": lambda cfg: os._exit(0),
    "segv": lambda cfg: os.kill(os.getpid(), signal.SIGSEGV),
    "grow": _grow,
    "wait": _wait,
    "deaf": _deaf,
    "seen": _seen,
    "print": _print,
    "claim": _claim,
    "imports": _imports,
}


def do(cfg: DictConfig, told: str = "") -> Any:
    """Run the task that ``cfg.do`` names."""
    return DEEDS[cfg.do](cfg)


class NoCallbacks:
    """Hydra's callbacks, which do nothing here."""

    def on_job_start(self, **_: Any) -> None:
        """See Hydra's ``Callback``."""

    def on_job_end(self, **_: Any) -> None:
        """See Hydra's ``Callback``."""


def launcher(folder: Path, task: Callable[[DictConfig], Any] | None = None, **settings: Any) -> ProcessLauncher:
    """Return a launcher after its ``setup``."""
    conf = folder / "conf"
    conf.mkdir(exist_ok=True)
    (conf / "config.yaml").write_text(f"do: number\nn: 0\nplace: {json.dumps(str(folder))}\n")
    quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none", f"hydra.sweep.dir={folder}/sweep"]
    with initialize_config_dir(str(conf), job_name="lab", **VERSION_BASE):
        loader = GlobalHydra.instance().config_loader()
        cfg = compose("config", ["hydra.mode=MULTIRUN", *quiet], return_hydra_config=True)
    # These settings have the same effect on every machine.
    process_launcher = ProcessLauncher(**{"workers": 1, "gpus": "none", **settings})
    context = HydraContext(config_loader=loader, callbacks=NoCallbacks())  # type: ignore[arg-type]
    process_launcher.setup(hydra_context=context, task_function=task or functools.partial(do, told="once"), config=cfg)
    return process_launcher


def jobs(*deeds: str) -> list[list[str]]:
    """Return the overrides of jobs with these tasks."""
    return [[f"do={deed}", f"n={number}"] for number, deed in enumerate(deeds)]


def how(returned: JobReturn) -> tuple[str, Any]:
    """Return the status of a job, and its value or error as text."""
    value = returned._return_value
    return returned.status.name, f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else value


def main() -> None:
    """``process_launcher_app.py FOLDER SETTINGS DEED ...``."""

    def tell(**fields: Any) -> None:
        print(json.dumps(fields), flush=True)

    server = ForkServer({}, LIGHT)
    processes.make_starter = lambda variables: server
    process_launcher = launcher(Path(sys.argv[1]), **json.loads(sys.argv[2]))
    process_launcher.on_start = lambda number, pid: tell(start=number, pid=pid)
    process_launcher.on_end = lambda number, returned: tell(end=number, how=how(returned))
    try:
        process_launcher.launch(jobs(*sys.argv[3:]), 0)
    except BaseException as error:
        tell(left=f"{type(error).__name__}: {error}")
    else:
        tell(left="done")
    server.close()


if __name__ == "__main__":
    main()
