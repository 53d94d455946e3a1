"""The layer of each parameter of a model, counted from the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from torch import nn

from ssr_hydra.errors import UnknownNameError

_CONTAINERS = (nn.Sequential, nn.ModuleList)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def layers_of(model: nn.Module, layers: Iterable[str] = (), path: str = "layers") -> dict[nn.Parameter, int]:
    """Return the layer of every parameter, counted from 0 in the order of the model's modules.

    By default, each element of an ``nn.Sequential`` or ``nn.ModuleList`` is one layer, and outside of these containers,
    each module without children is one layer. There are two exceptions. Consecutive embeddings are one layer. A module
    with only vectors, such as a norm, belongs to the layer before it, or to the first layer if there is none before it.
    For example, the layers of a vision transformer are the stem, each block and the head.

    If ``layers`` has patterns, each module whose name matches a pattern is a layer. All parameters before, between or
    after these modules form additional layers.

    Args:
        model: Any module.
        layers: Patterns, such as ``["encoder.layers.*"]``; if empty, the layers follow from the model's structure.
        path: Dotted path of the patterns in the config, for error messages.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
        >>> {name: layers_of(model)[parameter] for name, parameter in model.named_parameters() if "weight" in name}
        {'0.weight': 0, '1.weight': 0, '3.weight': 1, '4.weight': 2}
    """
    patterns = tuple(layers)
    return _depths_by_pattern(model, patterns, path) if patterns else _structural(model)


def shortened(names: list[str], most: int = 8) -> str:
    """Return a text with the first ``most`` names and the number of the remaining names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _structural(model: nn.Module) -> dict[nn.Parameter, int]:
    depths: dict[nn.Parameter, int] = {}
    layer, so_far = 0, "vectors"
    for module, parameters in _units(model):
        # A tied parameter belongs to its first layer.
        new = [parameter for parameter in parameters if parameter not in depths]
        if not new:
            continue
        kind = _kind(module, new)
        if (kind == "layer" and so_far != "vectors") or (kind == "embeddings" and so_far == "layer"):
            layer += 1
        if kind != "vectors":
            so_far = kind
        depths.update(dict.fromkeys(new, layer))
    return depths


def _kind(module: nn.Module | None, parameters: list[nn.Parameter]) -> str:
    if isinstance(module, _EMBEDDINGS):
        return "embeddings"
    # module is None for class tokens and position embeddings.
    return "vectors" if module is None or all(parameter.ndim <= 1 for parameter in parameters) else "layer"


def _units(module: nn.Module) -> Iterator[tuple[nn.Module | None, list[nn.Parameter]]]:
    """Yield (module, parameters) for each part of the model that may be a layer.

    The parts are modules without children, and elements of containers. If a module with children has parameters of its
    own, these parameters are a part too, with None as the module.
    """
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


def _depths_by_pattern(model: nn.Module, patterns: tuple[str, ...], path: str) -> dict[nn.Parameter, int]:
    names = [name for name, _ in model.named_modules() if name]
    chosen: list[str] = []
    for name in names:  # skip the inner modules of a layer
        matches = any(fnmatchcase(name, pattern) for pattern in patterns)
        if matches and not any(name.startswith(f"{outer}.") for outer in chosen):
            chosen.append(name)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UnknownNameError(path, pattern, "matches no module", f"the modules are {shortened(names)}")
    depths: dict[nn.Parameter, int] = {}
    layer, before = -1, ""
    for name, parameter in model.named_parameters():
        unit = next((part for part in chosen if name.startswith(f"{part}.")), "(outside)")
        layer += unit != before
        before = unit
        depths[parameter] = layer
    return depths
