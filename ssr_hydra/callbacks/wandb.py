"""Weights & Biases, by its own package."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from ssr_hydra.callbacks.checks import check_wandb
from ssr_hydra.callbacks.sent import Sent
from ssr_hydra.callbacks.values import CLOCKS, import_extra, run_folder, scalars
from ssr_hydra.records import RunResult

__all__ = ["WandbLogger"]


class WandbLogger:
    """Logs to Weights & Biases; its files lie in ``wandb/`` in the run's folder.

    Every number of a record is logged at the true batch as its step, and the counters ``epoch``, ``sample``, ``token``
    and ``train_seconds`` beside it, which a chart can have as its x axis. Whom the run belongs to, and which server
    keeps it, is not said by a config but by the person's login and environment (``WANDB_ENTITY``, ``WANDB_BASE_URL``).

    W&B takes nothing back. The run's id is kept in ``wandb.json`` in the run's folder with the last batch sent, so a
    resumed run goes on in the same W&B run, and records that it makes a second time are not sent again. A run that was
    changed and goes back behind what was sent, and one that starts from the beginning, is a new W&B run, which names
    the old one as ``resumed_from``.

    Args:
        project: The project that the run appears in.
        mode: ``online``, or ``offline``: nothing leaves this machine until ``wandb sync``. None is what
            ``WANDB_MODE`` says, else online.
        tags: Of the run.
        group: Under which W&B shows the run together with others, such as those of a sweep; None for none.

    Raises:
        InputError: The package ``wandb`` is not installed; an unknown mode.

    Example:
        >>> from ssr_hydra.callbacks import Events
        >>> events = Events(loggers={"wandb": WandbLogger(project="digits", mode="offline")})
    """

    def __init__(
        self,
        project: str = "ssr_hydra",
        mode: str | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
    ) -> None:
        check_wandb(mode, project=project, group=group)
        import_extra("wandb", "wandb")
        self._project, self._mode, self._tags, self._group = project, mode, tuple(tags), group
        self._run: Any = None
        self._sent: Sent | None = None
        self._exit_code = 1  # until the run has ended well

    def fit_start(self, trainer: Any) -> None:
        """Start the W&B run, or go on with it."""
        wandb = import_extra("wandb", "wandb")
        folder = run_folder(trainer, "wandb")
        sent = Sent(folder / "wandb.json", self._project, trainer.config)
        known = sent.resume(trainer.state.timestamp._batch)
        config = dict(trainer.config or {})
        if sent.previous is not None:
            config["resumed_from"] = sent.previous
        settings = wandb.Settings(console="off")  # the progress bar is no log
        online = (self._mode or os.environ.get("WANDB_MODE") or "online") == "online"
        self._run = wandb.init(
            project=self._project,
            name=trainer.name,
            id=known or secrets.token_hex(8),
            resume="allow" if online else None,  # offline W&B would say that it cannot know what the server has
            dir=str(folder),
            mode=self._mode,
            tags=self._tags or None,
            group=self._group,
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
