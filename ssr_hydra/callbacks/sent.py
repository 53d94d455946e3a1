"""A file that stores which records an append-only service has received, so that a resumed run sends no record twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssr_hydra.callbacks.values import scalars
from ssr_hydra.files import write_atomically
from ssr_hydra.records import CLOCKS, config_hash

# Nodes of a config that do not change the results of a run.
_NO_MATTER = ("name", "resume", "checkpoint", "logger")


class Sent:
    """The id of a run in a store (a service such as MLflow), and the last record that the store received.

    A killed run resumes from its last checkpoint and creates the records after the checkpoint again, with the same
    values. :meth:`new_values` leaves out records that the store already has. If the config has changed, the repeated
    records may have other values, but the store cannot replace the old values. In that case, :meth:`resume` drops the
    old id, so that the run gets a new id. :meth:`resume` also drops the id if the run starts from the beginning again.

    Args:
        path: Path of the JSON file. Its folder must exist.
        place: The name of the store. An id is valid only in one store.
        config: The run's config.
    """

    def __init__(self, path: Path, place: str, config: Mapping[str, Any] | None) -> None:
        self._path, self._place = path, place
        relevant = None if config is None else {key: value for key, value in config.items() if key not in _NO_MATTER}
        self._config = config_hash(relevant)
        self.id: str | None = None
        self.previous: str | None = None
        self._batch, self._events = -1, [""]
        self._before: tuple[int, list[str]] = (-1, [])

    def resume(self, batch: int) -> str | None:
        """Return the id with which the run continues after ``batch`` batches; None if the run needs a new id.

        Call this method once, before any record is sent. It reads which records the store already has.
        """
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            place, run_id, config = content["place"], str(content["id"]), content["config"]
            last, events = int(content["batch"]), [str(event) for event in content["events"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # there is no file, or the file is damaged
            return None
        if place != self._place or (last > batch and config != self._config) or (batch == 0 and last > 0):
            self.previous = run_id if place == self._place else None
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
        """Return a record's counters and numbers. Return an empty dict for a record that must not be sent.

        A record must not be sent if it has no numbers, or if the store has received it already.
        """
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
            "config": self._config,
            "batch": self._batch,
            "events": self._events,
        }
        # Without a sync, a record may be sent twice after a power failure. A sync for each record would be slow.
        write_atomically(self._path, json.dumps(content) + "\n", sync=False)
