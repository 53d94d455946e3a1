"""Check which classes and functions a config may name by ``_target_``, and create the objects that a config describes.

A ``_target_`` runs code, and configs may come from other people. A list of dangerous names would never be complete:
``torch.load``, ``site.addsitedir`` and ``numpy.load`` can run code, as ``os.system`` can. So a config may use only
names that this package has registered, and members of modules that the command line trusts. The functions check each
name before they import a module.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ssr_hydra import configs
from ssr_hydra.configs import GROUPS, TORCHMETRICS, TRANSFORMS
from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    InputError,
    RunError,
    UnknownNameError,
    UntrustedError,
    UserCodeError,
    WrongTypeError,
    described_error,
    missing_package,
)

_LOSSES = (
    "BCELoss BCEWithLogitsLoss CosineEmbeddingLoss CrossEntropyLoss GaussianNLLLoss HingeEmbeddingLoss HuberLoss "
    "KLDivLoss L1Loss MSELoss MarginRankingLoss MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss "
    "PoissonNLLLoss SmoothL1Loss SoftMarginLoss TripletMarginLoss"
)
_LAYERS = (
    "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool2d AvgPool1d AvgPool2d BatchNorm1d BatchNorm2d BatchNorm3d "
    "Bilinear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d Dropout Dropout1d Dropout2d ELU Embedding "
    "EmbeddingBag Flatten GELU GLU GroupNorm Hardswish Identity InstanceNorm1d InstanceNorm2d LayerNorm LeakyReLU "
    "Linear LogSoftmax MaxPool1d MaxPool2d Mish ModuleDict ModuleList MultiheadAttention PReLU PixelShuffle RMSNorm "
    "ReLU ReLU6 SELU Sequential SiLU Sigmoid Softmax Softplus Tanh TransformerEncoderLayer Unflatten Upsample ZeroPad2d"
)
_TORCH_SCHEDULERS = (
    "ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR ExponentialLR LinearLR MultiStepLR OneCycleLR "
    "PolynomialLR ReduceLROnPlateau StepLR"
)

TORCH_SCHEDULERS = frozenset(f"torch.optim.lr_scheduler.{name}" for name in _TORCH_SCHEDULERS.split())


def as_description(node: Any) -> Any:
    """Return a copy of a config node in which :mod:`ssr_hydra.torch_schedulers` replaces torch's schedulers.

    These classes have the same names as torch's classes, but need no optimizer.
    """
    if isinstance(node, Mapping):
        changed = {key: as_description(value) for key, value in node.items()}
        if node.get("_target_") in TORCH_SCHEDULERS:
            changed["_target_"] = f"ssr_hydra.torch_schedulers.{node['_target_'].rpartition('.')[2]}"
        return changed
    return [as_description(value) for value in node] if isinstance(node, list) else node


DATA_CONFIGS: dict[str, Any] = {
    config._target_: config
    for config in (getattr(configs, name) for name in configs.__all__)
    if getattr(config, "_target_", "").startswith("ssr_hydra.data.")
}
"""A mapping from the target of a built-in data set or augmentation to its config."""


def _registered() -> frozenset[str]:
    names = {f"torch.nn.{name}" for name in f"{_LOSSES} {_LAYERS}".split()} | TORCH_SCHEDULERS | DATA_CONFIGS.keys()
    names |= {f"ssr_hydra.{name}" for name in ("models.bits_per_byte", "models.next_token_loss", "trainer.accuracy")}
    names |= {f"torchvision.transforms.v2.{name}" for name in TRANSFORMS} | TORCHMETRICS
    targets = {getattr(config, "_target_", None) for choices in GROUPS.values() for config in choices.values()}
    return frozenset(names | {target for target in targets if isinstance(target, str)})


REGISTERED = _registered()
"""The names that a config may use without ``trust``."""

EXTRAS = {"torchvision": "vision", "torchmetrics": "metrics", "timm": "timm"}
"""A mapping from each optional package with registered names to the extra that installs the package."""

KEYS = frozenset({"_target_", "_args_", "_partial_", "_recursive_", "_convert_"})
"""Keys of a node that are not arguments of its target."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII)
"""Pattern of the dotted names that a ``_target_`` can be."""

_RULES = {
    "_args_": ("must be a list of positional arguments", "write [a, b]"),
    "_partial_": ("must be true or false", "remove it"),
    "_recursive_": ("must be true, because nested targets are always created", "remove it"),
    "_convert_": ("must be all or object, because arguments are always plain Python lists and mappings", "remove it"),
}

# Packages that can load and run files. trust must not name such a package, only a module or a member of the package.
_TOO_WIDE = frozenset({"torch", "numpy", "hydra", "omegaconf"})


def check_trust(trust: Iterable[str] | str) -> tuple[str, ...]:
    """Return the names of modules, classes and functions in ``trust`` as a tuple. Refuse invalid names."""
    names = (trust,) if isinstance(trust, str) else tuple(trust)
    for name in names:
        if not isinstance(name, str) or NAME.fullmatch(name) is None:
            rule = "must be the name of a module, class or function"
            raise UnknownNameError("trust", name, rule, "e.g. trust=[my_package]")
        if name in _TOO_WIDE:
            rule = "contains functions that load and run files"
            raise UntrustedError("trust", name, rule, f"trust only what you use: trust=[{name}.<module or function>]")
        if name.split(".")[0] in sys.stdlib_module_names:
            raise UntrustedError(
                "trust",
                name,
                "must not be in the standard library, which can run any code",
                "trust a module that you wrote",
            )
    return names


def trust_of(cfg: Mapping[str, Any] | DictConfig) -> tuple[str, ...]:
    """Return the names in ``trust`` of a config. :func:`check_trust` checks the names."""
    trust = cfg.get("trust", ())
    value: Any = OmegaConf.to_container(trust) if OmegaConf.is_config(trust) else trust
    return () if value is None else check_trust(value if isinstance(value, (list, tuple)) else [value])


def import_from_here() -> None:
    """Let this process and the processes of jobs import trusted modules from the working directory.

    The working directory is last on the import path, so Python prefers an installed package with the same name.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if here not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([*paths, here])


def check_there(trust: Iterable[str]) -> None:
    """Refuse a name in ``trust`` whose top-level module does not exist. The function imports no module."""
    for name in trust:
        module = name.partition(".")[0]
        if module in sys.modules:
            continue
        if importlib.util.find_spec(module) is None:
            fix = "correct the name, install the module, or put its folder on PYTHONPATH"
            raise UnknownNameError("trust", name, f"module {module} not found", fix)


def is_trusted(name: str, trust: Iterable[str]) -> bool:
    """Return whether a name is registered, is in ``trust``, or is a member of a name in ``trust``."""
    return name in REGISTERED or any(name == entry or name.startswith(f"{entry}.") for entry in trust)


def walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of every node in plain data. The first node is ``node`` itself."""
    yield path, node
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from walk(value, _join(path, key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from walk(value, f"{path}[{index}]")


def check_targets(node: Any, trust: Iterable[str] = (), path: str = "") -> None:
    """Refuse a config in which a ``_target_`` at any depth is not allowed. ``node`` is plain, resolved data."""
    trust = tuple(trust)
    for place, part in walk(node, path):
        if not isinstance(part, Mapping):
            continue
        if "_target_" in part:
            _check_target(part, trust, place, node)
        elif keys := KEYS & part.keys():
            rule = "works only together with _target_"
            raise ConflictError(_join(place, min(keys)), part[min(keys)], rule, "remove it")


def _check_target(node: Mapping[Any, Any], trust: tuple[str, ...], path: str, whole: Any) -> None:
    field, name = _join(path, "_target_"), node["_target_"]
    if not _is_name(name):
        raise FormatError(field, name, "must be the dotted name of a class or function", "e.g. my_package.MyModel")
    if not is_trusted(name, trust):
        rule = "is neither in the built-in list of allowed names nor in the setting trust"
        raise UntrustedError(field, name, rule, _how_to_trust_all(name, trust, whole))
    are_valid = {
        "_args_": isinstance(node.get("_args_", []), (list, tuple)),
        "_partial_": isinstance(node.get("_partial_", False), bool),
        "_recursive_": node.get("_recursive_", True) is True,
        "_convert_": node.get("_convert_", "all") in ("all", "object"),
    }
    for key, is_valid in are_valid.items():
        if not is_valid:
            raise UntrustedError(_join(path, key), node[key], *_RULES[key])


def _how_to_trust_all(name: str, trust: tuple[str, ...], whole: Any) -> str:
    """Return the fix for an untrusted name. Usually, the fix is a ``trust`` that allows all targets of the config."""
    if name.split(".")[0] in sys.stdlib_module_names:
        return (
            "a config cannot use the standard library; write a function in your own module, and add the module to trust"
        )
    if name.startswith(("torch.", "ssr_hydra.")) and (
        close := difflib.get_close_matches(name, REGISTERED, n=1, cutoff=0.93)
    ):
        return f"did you mean {close[0]}?"
    names = [*trust]
    targets = [node["_target_"] for _, node in walk(whole) if isinstance(node, Mapping) and "_target_" in node]
    for target in (name, *(each for each in targets if _is_name(each))):
        entry = _package_of(target)
        if not is_trusted(target, names) and entry.split(".")[0] not in sys.stdlib_module_names:
            names.append(entry)
    return how_to_trust(names)


def how_to_trust(names: Iterable[str]) -> str:
    """Return the fix that adds names to ``trust``."""
    return f"if you know what this code does, write trust=[{','.join(names)}] on the command line"


def _is_name(target: object) -> bool:
    return isinstance(target, str) and NAME.fullmatch(target) is not None and "__" not in target


def _package_of(name: str) -> str:
    """Return what to add to ``trust`` for a name: its package, or its module if the package is in ``_TOO_WIDE``."""
    package = name.partition(".")[0]
    if package not in _TOO_WIDE:
        return package
    module = name.rpartition(".")[0]
    return name if not module or module in _TOO_WIDE else module


def instantiate(node: Any, trust: Iterable[str] = (), path: str = "", **extra: Any) -> Any:
    """Check the targets of a config, and create the objects that the config describes, inner targets first.

    Args:
        node: The config as plain, resolved data. Lists and mappings without a target are copied.
        trust: The names that the command line trusts.
        path: Dotted path of the node, for messages.
        extra: Additional keyword arguments for the outermost target.

    Example:
        >>> instantiate({"_target_": "ssr_hydra.schedulers.StepScheduler", "step_size": "2ep"}).step_size
        Time('2ep')
    """
    trust = tuple(trust)
    check_targets(node, trust, path)
    return _make(node, trust, path, extra)


def _make(node: Any, trust: tuple[str, ...], path: str, extra: Mapping[str, Any]) -> Any:
    if isinstance(node, (list, tuple)):
        return [_make(value, trust, f"{path}[{index}]", {}) for index, value in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    values = {
        key: _make(value, trust, _join(path, key), {})
        for key, value in node.items()
        if not (isinstance(key, str) and key in KEYS - {"_args_"})
    }
    if "_target_" not in node:
        return values
    name, args = node["_target_"], values.pop("_args_", [])
    target, kwargs = locate(name, trust, _join(path, "_target_")), {**values, **extra}
    if node.get("_partial_", False):
        return functools.partial(target, *args, **kwargs)
    _check_arguments(target, name, args, kwargs, path)
    try:
        return target(*args, **kwargs)
    except InputError as error:
        raise (error.within(path) if path else error) from None
    except RunError:
        raise
    except Exception as error:
        if name not in REGISTERED:
            raise _failed(path, name, error) from error
        if not isinstance(error, (TypeError, ValueError, RuntimeError)):
            raise
        raise WrongTypeError(
            path or name, name, _one_line(error), "correct the arguments (--cfg job prints them)"
        ) from error


def _failed(field: str, name: str, error: Exception) -> UserCodeError:
    return UserCodeError(f"{field or '_target_'} ({name}): {described_error(error)}")


def locate(name: str, trust: Iterable[str] = (), field: str = "_target_") -> Callable[..., Any]:
    """Import and return the class or function with a dotted name.

    The object must be defined in a trusted module, and each module in the name must be a submodule of the previous one.
    For example, ``my_package.os.system`` is refused, even if ``my_package`` imports ``os``.

    Example:
        >>> locate("ssr_hydra.schedulers.StepScheduler").__name__
        'StepScheduler'
    """
    trust = tuple(trust)
    node = {"_target_": name}
    _check_target(node, trust, field.removesuffix("_target_").removesuffix("."), node)
    module_name, *rest = name.split(".")
    module = _import(module_name, name, field)
    if module is None:
        if module_name in EXTRAS:
            raise missing_package(field, name, module_name, EXTRAS[module_name])
        fix = "install it, or put its folder on PYTHONPATH"
        raise UnknownNameError(field, name, f"module {module_name} not found", fix)
    while len(rest) > 1 and (inner := _import(f"{module_name}.{rest[0]}", name, field)) is not None:
        module, module_name, rest = inner, f"{module_name}.{rest[0]}", rest[1:]
    target: Any = module
    for attribute in rest:
        if (isinstance(target, ModuleType) and target is not module) or not hasattr(target, attribute):
            fix = "check the spelling"
            if getattr(module, "__file__", None) is None:  # Python probably imported a folder that contains the package
                folder = next(iter(module.__path__))
                fix += (
                    f"; {folder} has no __init__.py: if the package is a subfolder of it, run the command in {folder}"
                )
            raise UnknownNameError(field, name, f"{module_name} does not define {'.'.join(rest)}", fix)
        target = getattr(target, attribute)
    if isinstance(target, ModuleType) or not callable(target):
        raise WrongTypeError(field, name, "is not a class or function", "use the name of a class or function")
    if name not in REGISTERED and name not in trust:
        _check_origin(target, name, trust, field)
    return target  # type: ignore[no-any-return]


def _import(module: str, name: str, field: str) -> ModuleType | None:
    """Import a module for the target ``name``, and return the module; None if the module does not exist."""
    try:
        return importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            return None
        raise _failed(field, name, error) from error


def _check_origin(target: Any, name: str, trust: tuple[str, ...], field: str) -> None:
    origin = getattr(target, "__module__", None) if inspect.isclass(target) or inspect.isroutine(target) else None
    if not isinstance(origin, str):
        rule = "is an object, not a class or function"
        raise WrongTypeError(field, name, rule, "write a function that returns this object")
    qualified = f"{origin}.{getattr(target, '__qualname__', '')}"
    if not is_trusted(qualified, trust):
        rule = f"comes from {origin}, which is not trusted"
        raise UntrustedError(field, name, rule, _how_to_trust_all(qualified, trust, {}))


def _check_arguments(
    target: Callable[..., Any], name: str, args: list[Any], kwargs: Mapping[str, Any], path: str
) -> None:
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # some C functions have no signature
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        fix = f"its arguments are {', '.join(signature.parameters) or 'none'}"
        if not inspect.isclass(target) and "missing" in str(error):
            fix += "; if the function is called later, add _partial_: true"
        raise WrongTypeError(_join(path, "_target_"), name, _one_line(error), fix) from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
