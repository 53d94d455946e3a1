"""What was sent to a store that takes nothing back, so that a resumed run says nothing twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssr_hydra.records import config_hash

__all__ = ["Sent"]

# Of a config, what leaves the numbers of a run as they are.
_NO_MATTER = ("name", "resume", "checkpoint", "logger")


class Sent:
    """The id that a run has in a store, and the last record that the store got.

    A run that was killed is done again from its last checkpoint, and the records since then come a second time, with
    the same values: :meth:`is_new` tells them apart. Where the config is another now they may have other values, and
    the store has the old ones already; then :meth:`resume` gives up the old id, so that the run gets a new one. So it
    does where a run starts from the beginning again.

    Args:
        path: Of the small JSON file; its folder exists.
        place: Which store: an id is of no use in another.
        config: The run's config.
    """

    def __init__(self, path: Path, place: str, config: Mapping[str, Any] | None) -> None:
        self._path, self._place = path, place
        kept = None if config is None else {key: value for key, value in config.items() if key not in _NO_MATTER}
        self._config = config_hash(kept)
        self.id: str | None = None
        self.previous: str | None = None
        self._batch, self._events = -1, [""]
        self._before: tuple[int, list[str]] = (-1, [])

    def resume(self, batch: int) -> str | None:
        """The id of this run in the store, if it has one; to be called once, with the batches done so far."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            place, known, config = content["place"], str(content["id"]), content["config"]
            last, events = int(content["batch"]), [str(event) for event in content["events"]]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return None  # not ours, or torn by hand: the run gets a new id
        if place != self._place or (last > batch and config != self._config) or (batch == 0 and last > 0):
            self.previous = known if place == self._place else None
            return None
        self.id, self._before = known, (last, events)
        self._batch, self._events = last, events
        return known

    def start(self, identity: str) -> None:
        """Note the id that the store has given."""
        self.id = identity
        self._save()

    def is_new(self, record: Mapping[str, Any]) -> bool:
        """Whether the store lacks this record."""
        last, events = self._before
        batch: int = record["batch"]
        return batch > last or (batch == last and record.get("event", "") not in events)

    def add(self, record: Mapping[str, Any]) -> None:
        """Note that the store has this record."""
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
        # Whole or not at all, but not synced: after a power cut a record may be told twice, which costs less than a
        # sync with every record.
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
        temporary.replace(self._path)
