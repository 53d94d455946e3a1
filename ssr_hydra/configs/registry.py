"""Registration of the structured configs with Hydra's ConfigStore."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.config_store import ConfigStore
from hydra.plugins.config_source import ConfigLoadError
from omegaconf import DictConfig, OmegaConf

from ssr_hydra.configs.derive import PhaseConfig, configs_of
from ssr_hydra.configs.experiment import LAUNCHERS, SWEEPERS, TRAINERS, AppConfig
from ssr_hydra.configs.optimizers import OPTIMIZERS
from ssr_hydra.configs.schedulers import SCHEDULERS
from ssr_hydra.configs.tasks import CUSTOM, DATA, MODELS
from ssr_hydra.errors import ConflictError, UnknownNameError, WrongTypeError

PROVIDER = "ssr_hydra"

_LOGGERS = {
    "csv": "CSVLogger",
    "tensorboard": "TensorBoardLogger",
    "wandb": "WandbLogger",
    "mlflow": "MLflowLogger",
    "trackio": "TrackioLogger",
}
_CALLBACKS = {"ema": "EMA", "profiler": "Profiler", "throughput": "Throughput"}

LOGGERS = configs_of(
    {choice: (f"ssr_hydra.callbacks.{name}", {}) for choice, name in _LOGGERS.items()}, module=__name__
)
"""Choices of the group ``logger``. The config of each choice is at ``logger.<name>``."""

CALLBACKS = configs_of(
    {choice: (f"ssr_hydra.callbacks.{name}", {}) for choice, name in _CALLBACKS.items()}, module=__name__
)
"""Choices of the group ``callbacks``. The config of each choice is at ``callbacks.<name>``."""

# pickle finds the classes by name
globals().update((config.__name__, config) for config in (*LOGGERS.values(), *CALLBACKS.values()))

GROUPS: dict[str, Mapping[str, Any]] = {
    "scheduler": SCHEDULERS,
    "optimizer": {**OPTIMIZERS, "custom": CUSTOM},
    "model": MODELS,
    "data": DATA,
    "trainer": TRAINERS,
    "logger": LOGGERS,
    "callbacks": CALLBACKS,
}
"""The config groups: ``GROUPS[group][choice]`` is the config of a choice."""

# Groups whose choices can be combined (logger=[csv,tensorboard]). Each choice has a separate node in the config.
_SEVERAL = ("logger", "callbacks")

# The default schedulers inside each composite scheduler, by key in the composite's config. A defaults list names these
# schedulers, so that the command line can replace each scheduler by name.
_PARTS: dict[str, dict[str, str]] = {
    "product": {"factors.warmup": "constant_warmup", "factors.decay": "exponential"},
    "sequence": {"phases.warmup.scheduler": "ramp", "phases.decay.scheduler": "cosine"},
    "torch_sequential": {"schedulers.warmup": "torch_linear", "schedulers.decay": "torch_cosine"},
    "torch_chained": {"schedulers.warmup": "torch_linear", "schedulers.decay": "torch_exponential"},
}


def conf_dir() -> Path:
    """Return the folder of the YAML presets: inside an installed package, or next to the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def register(groups: Iterable[str] = ("scheduler",), prefix: str = "") -> None:
    """Store configs of this package in Hydra's ConfigStore. Repeated calls have no effect.

    Args:
        groups: Names from :data:`GROUPS`; by default only the schedulers. ``register(GROUPS)`` registers the whole app:
            all groups, the top level ``base_config``, the launchers and the sweepers.
        prefix: The folder of the groups. An app that already has groups with these names needs a prefix. With
            ``prefix="ssr"``, ``ssr/scheduler@scheduler=wsd`` chooses a scheduler.

    Raises:
        InputError: A group is unknown, or another config already has the name of a choice.

    Example:
        >>> from hydra.core.config_store import ConfigStore
        >>> register()
        >>> "wsd.yaml" in ConfigStore.instance().list("scheduler")
        True
    """
    if isinstance(groups, str):
        raise WrongTypeError("groups", groups, "must be a list of names", f"write [{groups!r}]")
    chosen = list(groups)
    for group in chosen:
        if group not in GROUPS:
            raise UnknownNameError("groups", group, "not a group of this package", f"choose among {', '.join(GROUPS)}")
    for preset in presets(chosen, prefix, is_app=set(chosen) == set(GROUPS)):
        _store(preset)


class Preset(NamedTuple):
    """A config of this package for the ConfigStore.

    Args:
        path: Group and name, such as ``scheduler/wsd``.
        node: The config.
        package: The dotted path of the config node that gets this config; None for the node with the group's name.
    """

    path: str
    node: Any
    package: str | None = None


def presets(groups: Iterable[str] = GROUPS, prefix: str = "", *, is_app: bool = True) -> Iterator[Preset]:
    """Yield this package's configs of the groups.

    Args:
        groups: Names from :data:`GROUPS`.
        prefix: The folder that contains the groups; empty for none.
        is_app: Whether to include the app's own configs: the top level, launchers and sweepers.
    """
    start = f"{prefix}/" if prefix else ""
    if is_app:
        yield Preset(f"{start}base_config", AppConfig)
        for kind, choices in (("launcher", LAUNCHERS), ("sweeper", SWEEPERS)):
            for name, node in choices.items():
                yield Preset(f"hydra/{kind}/{name}", node)
    for group in groups:
        for name, node in GROUPS[group].items():
            if group == "scheduler" and name in _PARTS:
                node = _with_parts(f"{start}{group}", name)
            yield Preset(f"{start}{group}/{name}", node, f"{group}.{name}" if group in _SEVERAL else None)


def _with_parts(path: str, name: str) -> Any:
    node: DictConfig = OmegaConf.structured(SCHEDULERS[name])
    parts: list[Any] = [{f"/{path}@{place}": choice} for place, choice in _PARTS[name].items()]
    OmegaConf.set_struct(node, False)
    node["defaults"] = ["_self_", *parts]
    if name == "sequence":
        node["phases"] = {"warmup": PhaseConfig(until="0.05dur", scale=False)}
    if name == "torch_sequential":
        node["defaults"] = [*parts, "_self_"]
        node["schedulers"] = {"warmup": {"total_iters": "1dur"}}
    OmegaConf.set_struct(node, None)  # undo the set_struct above
    return node


def _store(preset: Preset) -> None:
    store = ConfigStore.instance()
    with suppress(ConfigLoadError):  # no config with this name exists yet
        existing = store.load(f"{preset.path}.yaml")
        if existing.provider == PROVIDER:
            return
        raise ConflictError(
            preset.path,
            existing.provider,
            "Hydra's ConfigStore has a config of this name already",
            'use a prefix: register(prefix="ssr")',
        )
    group, _, name = preset.path.rpartition("/")
    store.store(name=name, node=preset.node, group=group or None, package=preset.package, provider=PROVIDER)
