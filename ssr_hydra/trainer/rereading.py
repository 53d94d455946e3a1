"""Loaders without epochs and seeds: resume them in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from ssr_hydra.data.seeding import GlobalRng
from ssr_hydra.trainer.saving import plain_random_numbers, restore_random_numbers

__all__ = ["Rereading"]


class Rereading:
    """Reads the epochs of a loader that has no ``seek``, such as torch's ``DataLoader``.

    Such a loader draws its order from the global random state, or from its own generator, when an epoch starts. This
    class stores that state. A resumed epoch starts from the stored state, and batches that were already trained are
    read again and skipped. The batches are the same if the loader uses no other random numbers.

    Args:
        loader: Any iterable.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader
        self._began: tuple[GlobalRng, list[torch.Tensor]] | None = None
        self._saved: Mapping[str, Any] | None = None

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Yield the batches of an epoch from a given one on."""
        *outer, within = self._parts()
        if not hasattr(outer[-1], "set_epoch") and within is not outer[1]:  # otherwise it calls set_epoch itself
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
        """Return the random state at the start of the epoch, or the current one if the next epoch has not started."""
        random, generators = self._began if within and self._began is not None else self._now()
        return {"random": plain_random_numbers(random), "generators": generators}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Start the next epoch from such a state."""
        self._saved = state

    def _now(self) -> tuple[GlobalRng, list[torch.Tensor]]:
        return GlobalRng.now(), [generator.get_state() for generator in self._generators()]

    def _parts(self) -> list[Any]:
        """Yield the loader, its sampler, its batch sampler, and the sampler of that."""
        loader = self._loader
        sampler, batch_sampler = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
        return [loader, sampler, batch_sampler, getattr(batch_sampler, "sampler", None)]

    def _generators(self) -> list[torch.Generator]:
        """Return the generators of the loader and its samplers, each once."""
        found: dict[int, torch.Generator] = {}
        for part in self._parts():
            generator = getattr(part, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
        return list(found.values())
