"""Resume a loader that has no ``seek`` in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from ssr_hydra.data.seeding import GlobalRng
from ssr_hydra.trainer.saving import plain_random_numbers, restore_random_numbers

__all__ = ["Rereading"]


class Rereading:
    """Reads the epochs of a loader that has no ``seek``, such as torch's ``DataLoader``.

    When an epoch starts, such a loader draws the order of its batches from the global random state or from its own
    generator. This class stores this random state. A resumed epoch starts from the stored random state. The class
    reads the batches that were already trained again, and skips them. The other batches are the same as without the
    interruption if the loader uses no other random numbers.

    Args:
        loader: Any iterable of batches.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader
        self._began: tuple[GlobalRng, list[torch.Tensor]] | None = None
        self._saved: Mapping[str, Any] | None = None

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Return an iterator over the batches of an epoch, without its first ``start`` batches."""
        *outer, within = self._parts()
        # If the batch sampler has set_epoch, it calls set_epoch of its own sampler.
        if not hasattr(outer[-1], "set_epoch") and within is not outer[1]:
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
        """Return the random state from which the loader can start the epoch again.

        Args:
            within: Whether the run is within an epoch. If so, the method returns the random state at the start of that
                epoch, else the current random state.
        """
        random, generators = self._began if within and self._began is not None else self._now()
        return {"random": plain_random_numbers(random), "generators": generators}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Start the next epoch from the random state that :meth:`state_dict` returned."""
        self._saved = state

    def _now(self) -> tuple[GlobalRng, list[torch.Tensor]]:
        return GlobalRng.now(), [generator.get_state() for generator in self._generators()]

    def _parts(self) -> list[Any]:
        """Return the loader, its sampler, its batch sampler and the batch sampler's sampler; None if one is missing."""
        loader = self._loader
        sampler, batch_sampler = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
        return [loader, sampler, batch_sampler, getattr(batch_sampler, "sampler", None)]

    def _generators(self) -> list[torch.Generator]:
        """Return the torch generators of the loader and its samplers, without duplicates."""
        found: dict[int, torch.Generator] = {}
        for part in self._parts():
            generator = getattr(part, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
        return list(found.values())
