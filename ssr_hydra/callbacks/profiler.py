"""Callback that runs torch's profiler over a few batches of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ssr_hydra.callbacks.values import run_folder
from ssr_hydra.files import write_atomically
from ssr_hydra.settings.base import count, flag

_MOST_PROFILED = 1000  # the data of each profiled batch stays in memory until the profile is written
_SWITCHES = ("record_shapes", "profile_memory", "with_stack")


@dataclass(eq=False)
class Profiler:
    """Profile ``active`` batches and write the folder ``profile/`` in the run's folder.

    The profiler skips the first ``wait`` batches. Then it profiles ``warmup`` batches and discards their data, because
    the start of a profile is slow. Then it records ``active`` batches. Later batches are not slowed down. The file
    ``trace-<batch>.json`` can be opened with <https://ui.perfetto.dev> or ``chrome://tracing``. The file
    ``table-<batch>.txt`` lists the slowest operators. ``<batch>`` is the number of the last profiled batch. In a run
    with several processes, only rank 0 is profiled.

    Args:
        wait: Batches without profiling.
        warmup: Batches whose profile is discarded.
        active: Batches whose profile is written.
        repeat: Number of cycles of ``wait``, ``warmup`` and ``active`` batches.
        record_shapes: Whether to record the shapes of the operators' inputs.
        profile_memory: Whether to record memory allocations.
        with_stack: Whether to record the Python line that called each operator.
        rows: Number of rows in the table.

    Raises:
        InputError: A number is out of range, or an option that must be a bool is not.

    Example:
        >>> from ssr_hydra.callbacks import Events
        >>> events = Events({"profiler": Profiler(wait=10, active=5)})
    """

    wait: int = 5
    warmup: int = 2
    active: int = 5
    repeat: int = 1
    record_shapes: bool = False
    profile_memory: bool = False
    with_stack: bool = False
    rows: int = 30
    main_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        count(self.wait, "wait", 0, 10**9)
        for name in ("warmup", "active", "repeat", "rows"):
            count(getattr(self, name), name, 1, _MOST_PROFILED)
        for name in _SWITCHES:
            flag(getattr(self, name), name)
        self._profile: Any = None
        self._left = 0
        self._folder = Path()
        self._batch = 0

    def fit_start(self, trainer: Any) -> None:
        """Start the profiler."""
        from torch.profiler import ProfilerActivity, profile, schedule

        self._folder = run_folder(trainer, "profiler") / "profile"
        self._folder.mkdir(exist_ok=True)
        activities = [ProfilerActivity.CPU]
        if trainer.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._left = (self.wait + self.warmup + self.active) * self.repeat
        self._profile = profile(
            activities=activities,
            schedule=schedule(wait=self.wait, warmup=self.warmup, active=self.active, repeat=self.repeat),
            on_trace_ready=self._write,
            acc_events=True,  # without this, torch prints a message that the profiler clears events after each cycle
            **{name: getattr(self, name) for name in _SWITCHES},
        )
        self._profile.start()

    def batch_end(self, trainer: Any, loss: Any) -> None:
        """Count a batch, and stop the profiler after the last of the ``repeat`` cycles."""
        del loss
        if self._profile is not None:
            self._batch = trainer.state.timestamp.batches
            self._left -= 1
            self._profile.step()
            if self._left == 0:
                self._stop()

    def fit_end(self, trainer: Any, result: Any) -> None:
        """Write the profile of an incomplete cycle. If no batch was profiled, write ``nothing.txt`` with the reason."""
        del trainer, result
        self._stop()
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            text = f"No batch was profiled: the run ended after {self._batch} batches, and wait={self.wait} and "
            write_atomically(self._folder / "nothing.txt", f"{text}warmup={self.warmup} come before the active ones.\n")

    def close(self) -> None:
        """Stop profiling."""
        self._stop()

    def _stop(self) -> None:
        if self._profile is not None:
            profile, self._profile = self._profile, None
            profile.stop()

    def _write(self, profile: Any) -> None:
        profile.export_chrome_trace(str(self._folder / f"trace-{self._batch}.json"))
        by = "self_cuda_time_total" if profile.use_device == "cuda" else "self_cpu_time_total"
        table = profile.key_averages().table(sort_by=by, row_limit=self.rows)
        write_atomically(self._folder / f"table-{self._batch}.txt", f"{table}\n")
