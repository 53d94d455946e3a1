"""Loaders that know nothing of epochs and seeds: an epoch of theirs that is entered in its middle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from ssr_hydra.data.seeding import GlobalRng
from ssr_hydra.trainer.saving import plain_random_numbers, restore_random_numbers

__all__ = ["Rereading"]


class Rereading:
    """Reads the epochs of a loader that has no ``seek``, such as torch's ``DataLoader``.

    Its order is drawn from the global random numbers, or from a generator that it was given, when an epoch begins. So
    it is remembered how they stood then; an epoch that is entered again begins from there, and the batches that were
    trained on are read once more and passed over. Its batches are the same if what reads them draws from nowhere else.

    Args:
        loader: Any iterable.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader
        self._began: tuple[GlobalRng, list[torch.Tensor]] | None = None
        self._saved: Mapping[str, Any] | None = None

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """The batches of an epoch from one of them on."""
        *outer, within = self._parts()
        if not hasattr(outer[-1], "set_epoch") and within is not outer[1]:  # else it passes the epoch on by itself
            outer.append(within)
        for part in outer:
            set_epoch = getattr(part, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
        now, saved = GlobalRng.now(), self._saved
        if saved is not None:
            self._saved = None
            restore_random_numbers(saved["random"])
            for generator, state in zip(self._generators(), saved["generators"], strict=False):
                generator.set_state(state)
        self._began = self._now()
        batches = iter(self._loader)
        for _ in range(start):
            next(batches, None)
        if saved is not None and start:
            now.restore()
        return batches

    def state_dict(self, *, within: bool) -> dict[str, Any]:
        """How things stood when the epoch began; or stand now, where the next one is yet to begin."""
        random, generators = self._began if within and self._began is not None else self._now()
        return {"random": plain_random_numbers(random), "generators": generators}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin the next epoch that is read as such a state has it."""
        self._saved = state

    def _now(self) -> tuple[GlobalRng, list[torch.Tensor]]:
        return GlobalRng.now(), [generator.get_state() for generator in self._generators()]

    def _parts(self) -> list[Any]:
        """The loader, its sampler, its batch sampler, and what that one samples by."""
        loader = self._loader
        sampler, batch_sampler = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
        return [loader, sampler, batch_sampler, getattr(batch_sampler, "sampler", None)]

    def _generators(self) -> list[torch.Generator]:
        """Those that the loader and its samplers were given, each once."""
        found: dict[int, torch.Generator] = {}
        for part in self._parts():
            generator = getattr(part, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
        return list(found.values())
