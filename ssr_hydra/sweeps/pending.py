"""Protect the files of an earlier run in a job's folder until the new job starts to train.

Hydra writes ``.hydra`` (the job's description) before it calls the app. The app can refuse the job later, for example
when it reads the data. So if the folder already has a run, Hydra writes the description into a different folder, the
pending folder. When training starts, this module moves the description to ``.hydra``.
"""

from __future__ import annotations

import logging
import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssr_hydra.checkpoints.resume import find
from ssr_hydra.files import write_atomically
from ssr_hydra.records import RESULT
from ssr_hydra.settings.resume import AUTO

REFUSED = "refused.txt"
"""Name of the file in the pending folder of a refused job. The file holds the reason, for the table of the sweep."""

_NAME = re.compile(r"(.+)\.pending-[0-9a-f]{8}")


def pending_name(subdir: str) -> str:
    """Return a random name for the pending folder of this command, such as ``.hydra.pending-3f0a91c2``."""
    return f"{subdir}.pending-{secrets.token_hex(4)}"


def pending_pattern(name: str) -> str:
    """Return the glob pattern of the pending folders of all commands: ``.hydra.pending-????????``."""
    return f"{name[: -len('3f0a91c2')]}????????"


def holds_a_run(folder: Path, subdir: str) -> bool:
    """Return whether a job's folder has files of a run: a description, a record or checkpoints."""
    return (folder / subdir).exists() or (folder / RESULT).exists() or find(AUTO, folder) is not None


class Pending:
    """If a job's folder has a run, hold back the description and the log lines of the new job until training starts.

    ``hydra`` is Hydra's config of the job. Outside of the app, ``folder`` and ``hydra`` are None. ``waits`` is True
    while this object holds them back.
    """

    def __init__(self, folder: str | Path | None, hydra: Mapping[str, Any] | None) -> None:
        subdir = None if hydra is None else hydra.get("output_subdir")
        match = None if subdir is None or folder is None else _NAME.fullmatch(str(subdir))
        self.waits = False
        self._lines: list[tuple[logging.Handler, logging.LogRecord]] = []
        self._holds: list[tuple[logging.Handler, Any]] = []
        if match is None or folder is None:
            return
        self._aside, self._place = Path(folder) / str(subdir), Path(folder) / match[1]
        self.waits = True
        # Keep the files in memory, so that a job leaves no files behind if it is killed before training.
        self._files = {path.name: path.read_bytes() for path in self._aside.iterdir()}
        for path in Path(folder).glob(pending_pattern(self._aside.name)):  # also the folders of killed jobs
            if not (path / REFUSED).exists():  # the sweep of a refused job may still read the reason
                shutil.rmtree(path, ignore_errors=True)
        if not holds_a_run(Path(folder), match[1]):
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
        self._place.mkdir(exist_ok=True)
        # Write config.yaml last, because it identifies the run. Until then the folder belongs to the previous run.
        for name in sorted(self._files, key=lambda name: name == "config.yaml"):
            content = self._files[name]
            if name == "hydra.yaml":
                content = content.replace(self._aside.name.encode(), self._place.name.encode())
            write_atomically(self._place / name, content)
        self._release()
        self._write_lines()
        self.waits = False

    def drop(self, refused: str | None = None, *, failed: bool = False) -> None:
        """Discard the description. The files of the earlier run stay unchanged.

        If the app refused the job, ``refused`` is the reason. Then write the description and the reason into the
        pending folder, for the table of the sweep. With ``failed``, write the log lines that were held back.
        """
        if not self.waits:
            return
        self._release()
        if failed:
            self._write_lines()
        self.waits = False
        if refused is not None:
            with suppress(OSError):
                self._aside.mkdir(exist_ok=True)
                for name, content in {**self._files, REFUSED: refused.encode()}.items():
                    (self._aside / name).write_bytes(content)

    def _write_lines(self) -> None:
        for handler, record in self._lines:
            handler.handle(record)

    def _release(self) -> None:
        for handler, hold in self._holds:
            handler.removeFilter(hold)
        self._holds = []
