"""Find the recipes that a study compares, and give each recipe a short name.

A recipe is a run's config without ssr, seed and control, and without settings that do not change results.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ssr_hydra.files import read_bounded

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C version, if available, is ten times faster

# The lines that differ between the runs of a recipe. The other lines are parsed once for all runs.
_VARIED = re.compile(r"^(ssr|seed|control): ([^\n]*)$", re.MULTILINE)
_CHOICES = re.compile(r"^    choices:\n((?:      [^\n]*\n)+)", re.MULTILINE)
_WARMUP = "scale_warmup"
# Settings that do not change a run's results: display, checkpoints, resuming, loggers and how a sweep runs its jobs.
_APART = (
    "trust", "study", "study_code", "study_report", "plan", "workers", "launcher", "share", "share_keep", "zip", "name",
    "ssr", "seed", "control", "logger", "checkpoint", "resume", "debug",
)  # fmt: skip
_APART_IN_TRAINER = ("device", "eval_interval", "log_interval", "objective", "progress")
_MOST_BYTES, _MOST_PARTS, _MOST_DEPTH = 1_000_000, 200_000, 40
_LONGEST = 120


@dataclass(frozen=True)
class Config:
    """The config of a run, from the run's folder.

    Attributes:
        varied: The values of ``ssr``, ``seed`` and ``control``, as far as the config has them.
        rest: All other settings.
        settings: A mapping from each path in ``rest`` to the leaf at this path, without settings that do not change
            results. A list is a leaf.
        key: A text that is equal for runs of the same recipe.
        scaled: Whether the warmup is scaled; None if unknown.
    """

    varied: dict[str, Any]
    rest: dict[str, Any]
    settings: dict[tuple[str, ...], Any]
    key: str
    scaled: bool | None

    def get(self, dotted: str) -> Any:
        """Return the value of ``rest`` at a dotted path; None if the path does not exist."""
        value: Any = self.rest
        for part in dotted.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return None
            value = value[part]
        return value


class ConfigReader:
    """Reader of ``.hydra/config.yaml`` of many runs. It parses the text of each recipe only once."""

    def __init__(self) -> None:
        self._configs: dict[str, Config] = {}
        self._scalars: dict[str, Any] = {}

    def read(self, folder: Path) -> Config | None:
        """Return the config of the run in a folder; None if the folder has no config.

        Raises:
            ValueError: The file is truncated, too large, or not a config.
        """
        text = _text(folder / ".hydra/config.yaml")
        if text is None:
            return None
        varied = {}
        for name, scalar in _VARIED.findall(text):
            if scalar not in self._scalars:
                self._scalars[scalar] = _parse(scalar)
            varied[name] = self._scalars[scalar]
        rest = _VARIED.sub("", text)
        if rest not in self._configs:
            content = _parse(rest)
            if not isinstance(content, dict) or not content:
                raise ValueError("config.yaml is not a mapping")
            _check_size(content)
            settings = {place: value for place, value in _leaves(content) if not _is_apart(place)}
            warmups = {place for place in settings if _is_warmup(place)}
            values = {repr(settings[place]) for place in warmups}
            scaled = values == {"True"} if values in ({"True"}, {"False"}) else None
            compared = settings if scaled is None else {key: settings[key] for key in settings.keys() - warmups}
            self._configs[rest] = Config({}, content, settings, _canonical(compared), scaled)
        return replace(self._configs[rest], varied=varied)


def _text(path: Path) -> str | None:
    try:
        return read_bounded(path, _MOST_BYTES).decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parse(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a safe loader
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"config.yaml is incomplete or invalid ({type(error).__name__})") from None


def _check_size(value: Any) -> None:
    """Raise a ValueError if a config is too deep or large: a few lines with aliases may describe billions of items."""
    waiting, parts = [(value, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        parts += 1
        if depth > _MOST_DEPTH or parts > _MOST_PARTS:
            raise ValueError("config.yaml is too large for a configuration")
        items = node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple, set)) else ()
        waiting += [(item, depth + 1) for item in items]


def _leaves(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the value of each leaf of a config. A list is a leaf."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*place, str(key)))
    else:
        yield place, value


def _canonical(settings: Mapping[tuple[str, ...], Any]) -> str:
    return json.dumps(sorted((".".join(place), value) for place, value in settings.items()), default=repr)


def _is_apart(place: tuple[str, ...]) -> bool:
    return place[0] in _APART or (place[0] == "trainer" and len(place) > 1 and place[1] in _APART_IN_TRAINER)


def work_of(config: Config) -> str:
    """Return the config as text, without schedules and numeric settings of the optimizer.

    If the texts of two runs are equal, their steps do the same work.
    """
    return _canonical(
        {
            place: value
            for place, value in config.settings.items()
            if place[0] not in ("scheduler", "schedules")
            and not (place[0] in ("optimizer", "param_groups") and _is_numeric(value))
        }
    )


def _is_numeric(value: Any) -> bool:
    if isinstance(value, (list, tuple)):  # betas
        return all(_is_numeric(item) for item in value)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_warmup(place: tuple[str, ...]) -> bool:
    return place[0] in ("scheduler", "schedules") and place[-1] == _WARMUP


@dataclass
class Recipe:
    """The data from which the name of a recipe is made.

    Attributes:
        config: The config of the recipe's first run; None if this run has no config.
        name: The ``name`` in the record of the recipe's first run.
        choices: A mapping from config group to choice, as Hydra composed it.
        overrides: A mapping from dotted path to value, from the command line.
        title: The ``name`` in the configs of the runs; None if they have no name, or different names.
    """

    config: Config | None
    name: str | None
    choices: dict[str, str] = field(default_factory=dict)
    overrides: dict[str, str] = field(default_factory=dict)
    title: str | None = None

    @classmethod
    def of(cls, folder: Path, config: Config | None, name: str | None, title: str | None = None) -> Recipe:
        """Return a recipe with the choices and overrides in a run's folder. Ignore files that cannot be read."""
        recipe = cls(config, name, title=title)
        if config is None:
            return recipe
        try:
            text = _text(folder / ".hydra/hydra.yaml") or ""
            part = _CHOICES.search(text)
            choices = _parse(part[1]) if part is not None else {}
            overrides = _parse(_text(folder / ".hydra/overrides.yaml") or "[]")
        except (OSError, ValueError):
            return recipe
        if isinstance(choices, dict):
            recipe.choices = {
                str(group): str(choice)
                for group, choice in choices.items()
                if not str(group).startswith("hydra/") and str(group).split("@")[0] not in _APART
            }
        for override in overrides if isinstance(overrides, list) else ():
            key, _, value = str(override).partition("=")
            key = key.lstrip("+~")
            if key not in recipe.choices and not _is_apart(tuple(key.split("."))) and not key.endswith(_WARMUP):
                recipe.overrides[key] = value
        return recipe


def label_recipes(recipes: Mapping[Hashable, Recipe]) -> dict[Hashable, str]:
    """Return a unique short name for each recipe, made of its differences from the other recipes.

    If all recipes have different titles, the titles are the names. Otherwise a name consists of the group choices
    (``wsd``) and the overrides (``optimizer.lr=0.1``) that differ between recipes. If two names are equal, other
    differences of the configs are added. If two names are still equal, a number is added.

    Example:
        >>> label_recipes({0: Recipe(None, "digits"), 1: Recipe(None, "cifar")})
        {0: 'digits', 1: 'cifar'}
    """
    entries = list(recipes.values())
    titles = [recipe.title for recipe in entries]
    if len(entries) > 1 and None not in titles and len(set(titles)) == len(entries):
        return dict(zip(recipes, unique_labels(map(str, titles)), strict=True))
    groups = _differing([recipe.choices for recipe in entries])
    override_keys = dict.fromkeys(key for recipe in entries for key in recipe.overrides)
    override_values = [{key: _recipe_value(recipe, key) for key in override_keys} for recipe in entries]
    places = _differing(override_values)
    labels = []
    for recipe, values in zip(entries, override_values, strict=True):
        words = [recipe.choices[key] for key in groups if recipe.choices.get(key, "None") != "None"]
        words += [f"{key}={values[key]}" for key in places if values[key] is not None]
        labels.append(_clean(" ".join(words)) or _clean(_own_name(recipe)))
    for label in {label for label in labels if labels.count(label) > 1} if len(labels) < 2000 else set(labels):
        same = [index for index, other in enumerate(labels) if other == label]
        if len(same) > 1:
            for index, more in zip(same, _differences([entries[index] for index in same]), strict=True):
                labels[index] = _clean(f"{label} {more}")
    return dict(zip(recipes, unique_labels(labels), strict=True))


def _differing(rows: list[dict[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return [key for key in keys if len({repr(row.get(key)) for row in rows}) > 1]


def _recipe_value(recipe: Recipe, key: str) -> str | None:
    if key in recipe.overrides:
        return recipe.overrides[key]
    value = recipe.config.get(key) if recipe.config is not None else None
    return None if value is None or isinstance(value, (Mapping, list)) else str(value)


def _own_name(recipe: Recipe) -> str:
    if "scheduler" in recipe.choices:
        return recipe.choices["scheduler"]
    target = recipe.config.get("scheduler._target_") if recipe.config is not None else None
    return recipe.name or (str(target).rpartition(".")[2] if target is not None else "") or "runs"


def _differences(recipes: list[Recipe]) -> Iterable[str]:
    rows: list[dict[str, Any]] = []
    for recipe in recipes:
        if recipe.config is None:
            rows.append({"name": recipe.name})
        else:
            settings = recipe.config.settings.items()
            rows.append({".".join(place): value for place, value in settings if not _is_warmup(place)})
    keys = _differing(rows)
    for row in rows:
        yield " ".join(f"{key}={row[key]}" for key in keys if key in row)


def _clean(text: str) -> str:
    """Return a name as one line of at most 120 printable characters, for terminals and web pages."""
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text).strip()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def unique_labels(labels: Iterable[str]) -> list[str]:
    r"""Return each label as one line of printable characters. If labels are equal, all but the first get a number.

    Example:
        >>> unique_labels(["wsd", "wsd", "a\nb"])
        ['wsd', 'wsd (2)', 'a\ufffdb']
    """
    used_names: set[str] = set()
    counts: Counter[str] = Counter()
    names = []
    for text in labels:
        label = name = _clean(text)
        while name in used_names:
            counts[label] += 1
            name = f"{label} ({counts[label] + 1})"
        used_names.add(name)
        names.append(name)
    return names
