"""Resume a loader that has no ``seek`` in the middle of an epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from ssr_hydra.checkpoints.format import check_state
from ssr_hydra.data.seeding import GlobalRng
from ssr_hydra.trainer.saving import random_numbers, restore_random_numbers


class Rereading:
    """Reads the epochs of a loader that has no ``seek``, such as torch's ``DataLoader``.

    Such a loader draws the order of an epoch's batches from a random state: the global state, or the state of its
    generator. To resume an epoch, this class restores the random state of the epoch's start, and then reads and
    discards the batches that were already trained.

    If the loader has ``state_dict`` and ``load_state_dict``, such as torchdata's ``StatefulDataLoader``, the class also
    stores the loader's state. Then a resumed epoch continues from this state, and no batch is read twice.

    Args:
        loader: Any iterable of batches.
        saves: Whether the run writes checkpoints. If so, the class checks at the first batch that a checkpoint can hold
            the loader's state.
        is_shared: Whether evaluations also read this loader. If so, the class does not store the loader's state,
            because evaluations change this state too.
    """

    def __init__(self, loader: Iterable[Any], *, saves: bool = False, is_shared: bool = False) -> None:
        self._loader: Any = loader
        # Accelerate's loaders have these methods even if the loader that they wrap lacks them.
        parts = (loader, getattr(loader, "base_dataloader", loader))
        names = ("state_dict", "load_state_dict")
        has_methods = all(callable(getattr(part, name, None)) for part in parts for name in names)
        self._is_stateful = has_methods and not is_shared
        self._checks = saves and self._is_stateful
        self._began: tuple[GlobalRng, list[torch.Tensor]] | None = None
        self._saved: Mapping[str, Any] | None = None

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Return an iterator over the batches of an epoch, without its first ``start`` batches."""
        self._set_epoch(epoch)
        now, saved = GlobalRng.now(), self._saved
        if saved is not None:
            self._saved = None
            self._restore(saved)
        self._began = self._now()
        if saved is not None and self._is_stateful and "loader" in saved:
            self._loader.load_state_dict(saved["loader"])
            batches: Iterator[Any] = iter(self._loader)
            if start == 0:
                batches = self._next_epoch(epoch, batches, saved)
        else:
            batches = iter(self._loader)
            for _ in range(start):
                next(batches, None)
        if saved is not None and start:
            now.restore()
        if self._checks:
            self._checks = False
            first = list(itertools.islice(batches, 1))
            self._state_of_loader()
            batches = itertools.chain(first, batches)
        return batches

    def _next_epoch(self, epoch: int, batches: Iterator[Any], saved: Mapping[str, Any]) -> Iterator[Any]:
        """Return an iterator over the next epoch, from a state that was saved at the end of the previous epoch."""
        first = list(itertools.islice(batches, 1))
        if first:
            return itertools.chain(first, batches)
        # There is no batch, because the saved state is from the end of the previous epoch. Start this epoch again.
        self._set_epoch(epoch)
        self._restore(saved)
        return iter(self._loader)

    def _set_epoch(self, epoch: int) -> None:
        *outer, within = self._parts()
        # If a batch sampler has set_epoch, it calls set_epoch of its own sampler. Do not call that method twice.
        if not hasattr(outer[-1], "set_epoch") and within is not outer[1]:
            outer.append(within)
        for part in outer:
            set_epoch = getattr(part, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)

    def _restore(self, saved: Mapping[str, Any]) -> None:
        restore_random_numbers(saved["random"])
        for generator, state in zip(self._generators(), saved["generators"], strict=False):
            generator.set_state(state)

    def _state_of_loader(self) -> Any:
        """Return the loader's own state. Refuse a state that a checkpoint cannot hold."""
        state = self._loader.state_dict()
        check_state(state, f"train_dataloader.{type(self._loader).__name__}.state_dict")
        return state

    def state_dict(self, *, within: bool) -> dict[str, Any]:
        """Return the loader's state and a random state: of the epoch's start if ``within`` an epoch, else of now."""
        if self._saved is not None:  # the run stops again before it has read a batch, so the saved state is still valid
            return dict(self._saved)
        rng, generators = self._began if within and self._began is not None else self._now()
        state = {"random": random_numbers(rng), "generators": generators}
        return {**state, "loader": self._state_of_loader()} if self._is_stateful else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Start the next epoch from the result of :meth:`state_dict`."""
        self._saved = state

    def _now(self) -> tuple[GlobalRng, list[torch.Tensor]]:
        return GlobalRng.now(), [generator.get_state() for generator in self._generators()]

    def _parts(self) -> list[Any]:
        """Return the loader, its sampler, its batch sampler and the batch sampler's sampler; None for missing parts."""
        loader = self._loader
        sampler, batch_sampler = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
        return [loader, sampler, batch_sampler, getattr(batch_sampler, "sampler", None)]

    def _generators(self) -> list[torch.Generator]:
        """Return the torch generators of the loader and its samplers, without duplicates."""
        generators: dict[int, torch.Generator] = {}
        for part in self._parts():
            generator = getattr(part, "generator", None)
            if isinstance(generator, torch.Generator):
                generators[id(generator)] = generator
        return list(generators.values())
