"""Logger for Weights & Biases."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssr_hydra.callbacks.sent import Sent
from ssr_hydra.callbacks.values import CLOCKS, require_extra, run_folder, scalars
from ssr_hydra.errors import InputError
from ssr_hydra.records import RunResult
from ssr_hydra.settings.base import one_of

__all__ = ["WandbLogger"]


@dataclass(eq=False)
class WandbLogger:
    """Log to Weights & Biases, with files in ``wandb/`` in the run's folder.

    Every number of a record is logged with the number of batches as its step. The counters ``epoch``, ``sample``,
    ``token`` and ``train_seconds`` are logged too, and can be the x axis of a chart. The run's owner and server
    come from the login and environment (``WANDB_ENTITY``, ``WANDB_BASE_URL``), never from a config.

    W&B cannot delete records. ``wandb.json`` in the run's folder holds the run's id and the last batch sent, so a
    resumed run continues the same W&B run and sends no record twice. If a run with a changed config goes back to an
    earlier batch, or a run starts from the beginning, it becomes a new W&B run, which names the old one in
    ``resumed_from``.

    Args:
        project: The project that the run appears in.
        mode: ``online``, or ``offline``, which sends nothing until ``wandb sync``. None is the value of
            ``WANDB_MODE``, else online.
        tags: Tags of the run.
        group: Group under which W&B shows the run with others, such as those of a sweep; None for no group.

    Raises:
        InputError: The package ``wandb`` is not installed; an unknown mode.

    Example:
        >>> from ssr_hydra.callbacks import Events
        >>> events = Events(loggers={"wandb": WandbLogger(project="digits", mode="offline")})
    """

    project: str = "ssr_hydra"
    mode: str | None = None
    tags: Sequence[str] = ()
    group: str | None = None

    def __post_init__(self) -> None:
        if self.mode is not None:
            one_of(self.mode, "mode", ("online", "offline"))
        for field, name in (("project", self.project), ("group", self.group)):
            if name is not None and (not isinstance(name, str) or not name.strip()):
                raise InputError(field, name, "must be a name", "write e.g. digits")
        require_extra("wandb")
        self._run: Any = None
        self._sent: Sent | None = None
        self._exit_code = 1  # until the run has ended well

    def fit_start(self, trainer: Any) -> None:
        """Start the W&B run, or continue it."""
        import wandb

        folder = run_folder(trainer, "wandb")
        sent = Sent(folder / "wandb.json", self.project, trainer.config)
        known = sent.resume(trainer.state.timestamp.batches)
        config = dict(trainer.config or {})
        if sent.previous is not None:
            config["resumed_from"] = sent.previous
        settings = wandb.Settings(console="off")  # do not log the progress bar
        online = (self.mode or os.environ.get("WANDB_MODE") or "online") == "online"
        self._run = wandb.init(
            project=self.project,
            name=trainer.name,
            id=known or secrets.token_hex(8),
            resume="allow" if online else None,  # offline, W&B warns that it does not know what the server has
            dir=str(folder),
            mode=self.mode,  # type: ignore[arg-type]  # one of its words
            tags=tuple(self.tags) or None,
            group=self.group,
            config=config,
            settings=settings,
            reinit="create_new",
        )
        sent.start(self._run.id)
        self._sent = sent

    def log(self, trainer: Any, record: Mapping[str, Any]) -> None:
        """Send the numbers of a record."""
        del trainer
        values = scalars(record)
        assert self._sent is not None
        if values and self._sent.is_new(record):
            clocks = {name: record[name] for name in CLOCKS if name in record}
            self._run.log({**clocks, **values}, step=record["batch"])
            self._sent.add(record)

    def fit_end(self, trainer: Any, result: RunResult) -> None:
        """Note how the run ended."""
        del trainer
        if self._run is not None:
            self._exit_code = 0 if result.status == "completed" else 1
            self._run.summary.update({"status": result.status, "error": result.error})

    def close(self) -> None:
        """Finish the W&B run: wait until everything is sent."""
        if self._run is not None:
            run, self._run = self._run, None
            run.finish(exit_code=self._exit_code)
