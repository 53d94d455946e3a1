"""Logger for TensorBoard, based on torch's writer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssr_hydra.callbacks.values import flat, require_extra, run_folder, scalars
from ssr_hydra.records import RunResult


@dataclass(eq=False)
class TensorBoardLogger:
    """Write event files into ``tensorboard/`` in the run's folder. ``tensorboard --logdir outputs`` shows all runs.

    Every number of a record is a scalar, with the number of batches as its step. The tab *Text* shows the config. After
    the end of the run, the tab *HParams* shows the config with the final metrics. Each record is flushed, so a kill
    loses no record.

    A resumed run sets ``purge_step``, so that TensorBoard skips the old records after the checkpoint.

    Raises:
        InputError: The package ``tensorboard`` is not installed.

    Example:
        >>> from ssr_hydra.callbacks import Events
        >>> events = Events(loggers={"tensorboard": TensorBoardLogger()})
    """

    def __post_init__(self) -> None:
        require_extra("tensorboard")
        self._writer: Any = None
        self._config: Mapping[str, Any] | None = None

    def fit_start(self, trainer: Any) -> None:
        """Open an event file."""
        from torch.utils.tensorboard import SummaryWriter

        batch = trainer.state.timestamp.batches
        folder = run_folder(trainer, "tensorboard") / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=batch + 1 if batch > 0 else 0)
        self._config = trainer.config
        if self._config is not None:
            text = json.dumps(self._config, indent=2, ensure_ascii=False)
            # Markdown shows lines that start with four spaces as a code block.
            self._writer.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()), 0)
            self._writer.flush()

    def log(self, trainer: Any, record: Mapping[str, Any]) -> None:
        """Write the numbers of a record."""
        del trainer
        for name, value in scalars(record).items():
            self._writer.add_scalar(name, value, record["batch"])
        self._writer.flush()

    def fit_end(self, trainer: Any, result: RunResult) -> None:
        """Write the config as hyperparameters, with the final metrics."""
        from torch.utils.tensorboard.summary import hparams

        del trainer
        if self._config is None or self._writer is None:
            return
        # TensorBoard has only one value for each name and step, so the final metrics need a prefix.
        final = {f"final/{name}": value for name, value in result.metrics.items() if value is not None}
        for summary in hparams({**flat(self._config), "status": result.status}, final):  # type: ignore[no-untyped-call]
            self._writer.file_writer.add_summary(summary)
        for name, value in final.items():
            self._writer.add_scalar(name, value, result.steps)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
