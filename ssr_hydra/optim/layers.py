"""Which layer of a model a parameter belongs to, counted from the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from torch import nn

from ssr_hydra.errors import InputError

__all__ = ["layers_of"]

_CONTAINERS = (nn.Sequential, nn.ModuleList)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def layers_of(model: nn.Module, layers: Iterable[str] = (), path: str = "layers") -> dict[nn.Parameter, int]:
    """The layer of every parameter, counted from 0 in the order in which the model has its modules.

    By the model's structure: a part of an ``nn.Sequential`` or ``nn.ModuleList`` is a layer as a whole, be it a block
    or a convolution, and so is a module outside of these that has none inside. What has vectors alone (norms, class
    tokens) belongs to the layer before it, at the beginning to the one after, and embeddings are one layer together.
    A vision transformer: its stem, each block, its head. A ResNet: its stem, each residual block, its classifier.

    Or by patterns of the names of the modules that are a layer each: then all that stands before the first of them is a
    layer, and so is all that stands after the last, or between two.

    Args:
        model: Any module.
        layers: Patterns, such as ``["encoder.layers.*"]``; none for the model's structure.
        path: The dotted place of the patterns, for messages.

    Raises:
        InputError: A pattern that fits no module.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
        >>> {name: layers_of(model)[parameter] for name, parameter in model.named_parameters() if "weight" in name}
        {'0.weight': 0, '1.weight': 0, '3.weight': 1, '4.weight': 2}
    """
    patterns = tuple(layers)
    return _named(model, patterns, path) if patterns else _structural(model)


def _structural(model: nn.Module) -> dict[nn.Parameter, int]:
    found: dict[nn.Parameter, int] = {}
    layer, so_far = 0, "vectors"
    for module, parameters in _units(model):
        new = [parameter for parameter in parameters if parameter not in found]  # of tied ones the first place counts
        if not new:
            continue
        kind = _kind(module, new)
        if (kind == "layer" and so_far != "vectors") or (kind == "embeddings" and so_far == "layer"):
            layer += 1
        if kind != "vectors":
            so_far = kind
        found.update(dict.fromkeys(new, layer))
    return found


def _kind(module: nn.Module | None, parameters: list[nn.Parameter]) -> str:
    if isinstance(module, _EMBEDDINGS):
        return "embeddings"
    # A parameter of a module with others inside: a class token, a table of positions.
    return "vectors" if module is None or all(parameter.ndim <= 1 for parameter in parameters) else "layer"


def _units(module: nn.Module) -> Iterator[tuple[nn.Module | None, list[nn.Parameter]]]:
    """What can be a layer, in order: whole parts of containers, modules without children, and loose parameters."""
    children = [child for child in module.children() if next(child.parameters(), None) is not None]
    if not children:
        yield module, list(module.parameters())
        return
    if loose := list(module.parameters(recurse=False)):
        yield None, loose
    for child in children:
        if isinstance(module, _CONTAINERS) and not isinstance(child, _CONTAINERS):
            yield child, list(child.parameters())
        else:
            yield from _units(child)


def _named(model: nn.Module, patterns: tuple[str, ...], path: str) -> dict[nn.Parameter, int]:
    names = [name for name, _ in model.named_modules() if name]
    chosen: list[str] = []
    for name in names:  # in order, so that the outermost of nested ones is there first
        if any(fnmatchcase(name, pattern) for pattern in patterns) and not any(
            name.startswith(f"{c}.") for c in chosen
        ):
            chosen.append(name)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(path, pattern, "fits the name of no module", f"modules are {_some(names)}")
    found: dict[nn.Parameter, int] = {}
    layer, before = -1, ""
    for name, parameter in model.named_parameters():
        unit = next((part for part in chosen if name.startswith(f"{part}.")), "(outside)")
        layer += unit != before
        before = unit
        found[parameter] = layer
    return found


def _some(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
