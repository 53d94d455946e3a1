"""Base class of loggers whose service cannot delete records, and a file that stores which record was sent last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssr_hydra.callbacks.values import scalars
from ssr_hydra.files import write_atomically
from ssr_hydra.records import CLOCKS, config_hash

# Keys of a config that do not change the results of a run.
_NO_MATTER = ("name", "resume", "checkpoint", "logger")


class Sent:
    """The id of a run in a store (a service such as MLflow), and the last record that the store received.

    A killed run resumes from its last checkpoint and creates the records after the checkpoint again, with the same
    values. :meth:`new_values` leaves out records that the store already has. The run needs a new id in two cases,
    because the store cannot replace records: training restarts from the beginning, or the run resumes with a changed
    config and the store already has records of batches after the checkpoint.

    Args:
        path: Path of the JSON file. Its folder must exist.
        place: Name of the store, such as a server and a project. If the file names another store, its id is ignored.
        config: The run's config.
    """

    def __init__(self, path: Path, place: str, config: Mapping[str, Any] | None) -> None:
        self._path, self._place = path, place
        relevant = None if config is None else {key: value for key, value in config.items() if key not in _NO_MATTER}
        self._hash = config_hash(relevant)
        self.config: dict[str, Any] = dict(config or {})
        self.id: str | None = None
        self.previous: str | None = None
        self._batch, self._events = -1, [""]
        self._before: tuple[int, list[str]] = (-1, [])

    def resume(self, batch: int) -> str | None:
        """Return the id that the store already has for this run; None if the run needs a new id.

        ``batch`` is the number of batches that were trained before this start of the run. Call this method once, before
        any record is sent. If the run needs a new id, the method stores the old id in ``previous`` and
        ``config["resumed_from"]``.
        """
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            place, run_id, config = content["place"], str(content["id"]), content["config"]
            last, events = int(content["batch"]), [str(event) for event in content["events"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # there is no file, or the file is damaged
            return None
        if place != self._place:
            return None
        if (last > batch and config != self._hash) or (batch == 0 and last > 0):
            self.previous = self.config["resumed_from"] = run_id
            return None
        self.id, self._before = run_id, (last, events)
        self._batch, self._events = last, events
        return run_id

    def start(self, identity: str) -> None:
        """Save the id that the store assigned to the run."""
        self.id = identity
        self._save()

    def is_new(self, record: Mapping[str, Any]) -> bool:
        """Return whether the store has not received this record yet."""
        last, events = self._before
        batch: int = record["batch"]
        return batch > last or (batch == last and record.get("event", "") not in events)

    def new_values(self, record: Mapping[str, Any]) -> dict[str, float]:
        """Return a record's counters and numbers. Return {} if it has no numbers or was already sent."""
        values = scalars(record)
        if not values or not self.is_new(record):
            return {}
        return {**{name: record[name] for name in CLOCKS if name in record}, **values}

    def add(self, record: Mapping[str, Any]) -> None:
        """Save that the store has received this record."""
        batch, event = record["batch"], record.get("event", "")
        self._events = [*self._events, event] if batch == self._batch else [event]
        self._batch = batch
        self._save()

    def _save(self) -> None:
        content = {
            "id": self.id,
            "place": self._place,
            "config": self._hash,
            "batch": self._batch,
            "events": self._events,
        }
        # Without a sync, a record may be sent twice after a power failure. A sync for each record would be slow.
        write_atomically(self._path, json.dumps(content) + "\n", sync=False)


class ServiceLogger:
    """Base class of loggers that send a record only once. A subclass sets ``_run`` and ``_sent`` in ``fit_start``."""

    _run: Any = None
    _sent: Sent | None = None

    def log(self, trainer: Any, record: Mapping[str, Any]) -> None:
        """Send the numbers of a record."""
        del trainer
        assert self._sent is not None
        if values := self._sent.new_values(record):
            self._send(values, record["batch"])
            self._sent.add(record)

    def _send(self, values: dict[str, float], batch: int) -> None:
        self._run.log(values, step=batch)
