"""Logger for Weights & Biases."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from ssr_hydra.callbacks.sent import Sent, ServiceLogger
from ssr_hydra.callbacks.values import require_extra, run_folder
from ssr_hydra.errors import WrongTypeError
from ssr_hydra.records import RunResult
from ssr_hydra.settings.base import one_of

_MODES = ("online", "offline")


@dataclass(eq=False)
class WandbLogger(ServiceLogger):
    """Log to Weights & Biases. The logger's files are in ``wandb/`` in the run's folder.

    Every number of a record, and the counters ``epoch``, ``sample``, ``token`` and ``train_seconds``, are logged with
    the number of batches as their step. Only the W&B login and the environment (``WANDB_ENTITY``,
    ``WANDB_BASE_URL``) can set the owner of the run and the server; a config cannot.

    W&B cannot delete records. So ``wandb.json`` in the run's folder stores the id of the W&B run and the batch number
    of the last sent record. A resumed run uses this file to send no record twice. The logger starts a new W&B run in
    two cases: training restarts from the beginning, or the run resumes with a changed config and W&B already has
    records of batches after the checkpoint. The config value ``resumed_from`` of the new W&B run names the old W&B run.

    Args:
        project: The W&B project of the run.
        mode: ``online`` or ``offline``. An offline run sends nothing until ``wandb sync`` is called. None means the
            value of ``WANDB_MODE``, or online if this variable is not set.
        tags: Tags of the run.
        group: Name under which W&B groups the run with other runs, such as the runs of a sweep; None for no group.

    Raises:
        InputError: The package ``wandb`` is not installed, ``mode`` is unknown, or ``project`` or
            ``group`` is not text.

    Example:
        >>> from ssr_hydra.callbacks import Events
        >>> events = Events(loggers={"wandb": WandbLogger(project="digits", mode="offline")})
    """

    project: str = "ssr_hydra"
    mode: Annotated[str | None, _MODES] = None
    tags: Sequence[str] = ()
    group: str | None = None

    def __post_init__(self) -> None:
        if self.mode is not None:
            one_of(self.mode, "mode", _MODES)
        for field, name in (("project", self.project), ("group", self.group)):
            if name is not None and (not isinstance(name, str) or not name.strip()):
                raise WrongTypeError(field, name, "must be text that is not blank", "use a name such as my-project")
        require_extra("wandb")
        self._exit_code = 1  # fit_end sets the exit code to 0 if the run completes

    def fit_start(self, trainer: Any) -> None:
        """Start a new W&B run. If training resumes, continue its earlier W&B run if possible."""
        import wandb

        folder = run_folder(trainer, "wandb")
        sent = Sent(folder / "wandb.json", self.project, trainer.config)
        run_id = sent.resume(trainer.state.timestamp.batches)
        online = (self.mode or os.environ.get("WANDB_MODE") or "online") == "online"
        self._run = wandb.init(
            project=self.project,
            name=trainer.name,
            id=run_id or secrets.token_hex(8),
            resume="allow" if online else None,  # offline, W&B would print a warning for "allow"
            dir=str(folder),
            mode=self.mode,
            tags=tuple(self.tags) or None,
            group=self.group,
            config=sent.config,
            settings=wandb.Settings(console="off"),  # do not log the progress bar
            reinit="create_new",
        )
        sent.start(self._run.id)
        self._sent = sent

    def fit_end(self, trainer: Any, result: RunResult) -> None:
        """Add the run's status and error to the W&B summary."""
        del trainer
        if self._run is not None:
            self._exit_code = 0 if result.status == "completed" else 1
            self._run.summary.update({"status": result.status, "error": result.error})

    def close(self) -> None:
        """Finish the W&B run, and wait until all records are sent."""
        if self._run is not None:
            run, self._run = self._run, None
            run.finish(exit_code=self._exit_code)
