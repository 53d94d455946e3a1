"""Logger for Trackio."""

from __future__ import annotations

import io
import os
import secrets
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from ssr_hydra.callbacks.sent import Sent, ServiceLogger
from ssr_hydra.callbacks.values import require_extra, run_folder
from ssr_hydra.errors import WrongTypeError


@dataclass(eq=False)
class TrackioLogger(ServiceLogger):
    """Log to Trackio. The command ``trackio show`` opens Trackio's dashboard.

    The logger writes to Trackio's own store on this machine (``TRACKIO_DIR``). ``TRACKIO_SPACE_ID`` selects a Hugging
    Face Space instead. ``TRACKIO_SERVER_URL`` selects a server. Only the environment can select the
    store; a config cannot.

    Every number of a record, and the counters ``epoch``, ``sample``, ``token`` and ``train_seconds``, are logged with
    the number of batches as their step.

    Trackio cannot delete records. So ``trackio.json`` in the run's folder stores the name of the Trackio run and the
    batch number of the last sent record. A resumed run uses this file to send no record twice. The logger starts a new
    Trackio run in two cases: training restarts from the beginning, or the run resumes with a changed config and Trackio
    already has records of batches after the checkpoint. The config value ``resumed_from`` of the new Trackio run names
    the old Trackio run.

    Args:
        project: The Trackio project of the run.

    Raises:
        InputError: The package ``trackio`` is not installed, or ``project`` is not text.

    Example:
        >>> from ssr_hydra.callbacks import Events
        >>> events = Events(loggers={"trackio": TrackioLogger(project="digits")})
    """

    project: str = "ssr_hydra"

    def __post_init__(self) -> None:
        if not isinstance(self.project, str) or not self.project.strip():
            raise WrongTypeError(
                "project", self.project, "must be text that is not blank", "use a name such as my-project"
            )
        require_extra("trackio")

    def fit_start(self, trainer: Any) -> None:
        """Start a new Trackio run. If training resumes, continue its earlier Trackio run if possible."""
        import trackio

        server = os.environ.get("TRACKIO_SERVER_URL", "").partition("?")[0]  # the text after the ? is a write token
        place = os.environ.get("TRACKIO_SPACE_ID") or server or "local"
        sent = Sent(run_folder(trainer, "trackio") / "trackio.json", f"{place} {self.project}", trainer.config)
        run_name = sent.resume(trainer.state.timestamp.batches)
        with redirect_stdout(io.StringIO()):
            self._run = trackio.init(
                project=self.project,
                # Trackio finds a run by its name, so the name must be unique.
                name=run_name or f"{trainer.name}-{secrets.token_hex(4)}",
                resume="allow",
                config=sent.config,
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        sent.start(self._run.name)
        self._sent = sent

    def close(self) -> None:
        """Wait until all records are written, and finish the Trackio run."""
        if self._run is not None:
            import trackio

            self._run = None
            with redirect_stdout(io.StringIO()):
                trackio.finish()
