"""Protect the files of an earlier run in a job's folder until the new job starts to train.

Hydra writes ``.hydra`` (the job's description) before it calls the app. The app can refuse the job later, for example
when it reads the data. So if the folder may already have a run, Hydra writes no description. This module writes it
when training starts.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, read_write

from ssr_hydra.checkpoints.resume import find
from ssr_hydra.files import write_atomically
from ssr_hydra.records import RESULT
from ssr_hydra.settings.resume import AUTO

_KEY = "hydra.output_subdir="


def deferring(subdir: str) -> tuple[str, str]:
    """Return overrides that let :class:`Pending`, and not Hydra, write the description into ``subdir``."""
    return f"{_KEY}{subdir}", f"{_KEY}null"  # Hydra uses the last value; Pending reads both


def holds_a_run(folder: Path, subdir: str) -> bool:
    """Return whether a job's folder has files of a run: a description, a record or checkpoints."""
    return (folder / subdir).exists() or (folder / RESULT).exists() or find(AUTO, folder) is not None


class Pending:
    """If a job's folder has a run, hold back the description and the log lines of the new job until training starts.

    ``cfg`` is the config of the job, and ``hydra`` is Hydra's own config. Outside of the app, ``folder`` and ``hydra``
    are None. ``waits`` is True until the description is written or discarded.
    """

    def __init__(self, folder: str | Path | None, cfg: Any, hydra: DictConfig | None) -> None:
        self.waits = False
        self._lines: list[tuple[logging.Handler, logging.LogRecord]] = []
        self._holds: list[tuple[logging.Handler, Any]] = []
        if folder is None or hydra is None:
            return
        overrides = [*hydra.hydra.overrides.hydra][-2:]
        subdir = "".join(overrides[:1]).removeprefix(_KEY)
        if overrides != [*deferring(subdir)]:  # Hydra has written the description, or the user wants no description
            return
        self.waits = True
        self._place, self._files = Path(folder) / subdir, _description(cfg, hydra, subdir)
        if not holds_a_run(Path(folder), subdir):
            self.publish()
            return
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.FileHandler):
                self._hold(handler)

    def _hold(self, handler: logging.Handler) -> None:
        def hold(record: logging.LogRecord) -> bool:
            self._lines.append((handler, record))
            return False

        handler.addFilter(hold)
        self._holds.append((handler, hold))

    def publish(self, _: object = None) -> None:
        """Write the description (each file atomically) and the log lines that were held back."""
        if not self.waits:
            return
        self._place.mkdir(parents=True, exist_ok=True)
        for name, text in self._files.items():
            write_atomically(self._place / name, text)
        self._release()
        self._write_lines()
        self.waits = False

    def drop(self, *, failed: bool = False) -> None:
        """Discard the description. The files of the earlier run stay unchanged.

        With ``failed``, write the log lines that were held back.
        """
        if not self.waits:
            return
        self._release()
        if failed:
            self._write_lines()
        self.waits = False

    def _write_lines(self) -> None:
        for handler, record in self._lines:
            handler.handle(record)

    def _release(self) -> None:
        for handler, hold in self._holds:
            handler.removeFilter(hold)
        self._holds = []


def _description(cfg: Any, hydra: DictConfig, subdir: str) -> dict[str, str]:
    """Return the text of each file that Hydra would write into ``subdir``."""
    hydra = copy.deepcopy(hydra)
    with read_write(hydra.hydra):
        hydra.hydra.output_subdir = subdir
        hydra.hydra.overrides.hydra.pop()  # the value null
    # config.yaml is the last file, because it identifies the run. Until then the folder belongs to the previous run.
    parts = {"overrides": hydra.hydra.overrides.task, "hydra": hydra, "config": cfg}
    return {f"{name}.yaml": OmegaConf.to_yaml(part) for name, part in parts.items()}
