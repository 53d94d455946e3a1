"""Facts about the runs of a study: the model, the data, the optimizer and so on, read from the folders of the runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ssr_hydra.files import read_bounded
from ssr_hydra.records import RESULT, RunResult
from ssr_hydra.report.content import Content
from ssr_hydra.report.number_text import duration, number
from ssr_hydra.studies.notes import arm
from ssr_hydra.studies.recipes import Config, ConfigReader

_LONGEST = 400
_MOST_BYTES = 100_000
_MOST_READ = 64  # maximum number of folders to read: one for each study, recipe and control
_MOST_NAMED = 8
_APART = ("name", "logger", "checkpoint", "resume", "debug", "hydra", "trainer.progress", "study", "study_report")


def setup(content: Content) -> list[tuple[str, str]]:
    """Return the known facts about the runs, as pairs (name, text).

    Example:
        >>> from ssr_hydra.studies import load
        >>> setup(build(load("studies/digits")))[0]  # doctest: +SKIP
        ('model', 'ConvNet, in_channels 1, num_classes 10, widths 8 16')
    """
    runs = content.study.completed
    firsts = runs.drop_duplicates(["study", "recipe", "control"]).iloc[:_MOST_READ]
    tables = [path for path in content.study.sources if path.name != RESULT and path.is_file()]
    facts = [("table", _table(path)) for path in tables]
    if not tables:
        facts += _configured(firsts)
    facts.append(("SSR 1", _length(content, runs)))
    facts.append(("SSRs", _shortened_list(number(ssr) for ssr in sorted(runs["ssr"].unique()))))
    seeds = sorted(int(seed) for seed in runs["seed"].dropna().unique())
    facts.append(("seeds", f"{len(seeds)}: {_shortened_list(map(str, seeds))}" if seeds else ""))
    way = "higher is better" if content.study.direction == "max" else "lower is better"
    facts.append(("measured by", f"{content.objective}, {way}"))
    if not tables:
        facts += _overrides(content, firsts)
    return [(name, _cut(text)) for name, text in facts if text]


def _table(path: Path) -> str:
    try:
        with path.open("rb") as file:  # the caller checked that the path is a regular file
            head = file.readline(_MOST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError):
        return path.name
    return f"{path.name}, columns {head.strip()}"


def _configured(firsts: pd.DataFrame) -> list[tuple[str, str]]:
    reader = ConfigReader()
    rows: dict[str, dict[str, str]] = {}
    scaled = firsts[firsts["control"] == ""]
    for row in (firsts if scaled.empty else scaled).itertuples():
        folder = Path(str(row.folder))
        try:
            config = reader.read(folder)
        except (OSError, ValueError):
            config = None
        if config is None:
            continue
        texts = {
            "model": _component(config.get("model")),
            "data": _data(config, folder),
            "batch size": _value_text(config.get("data.batch_size")),
            "optimizer": _component(config.get("optimizer"), without=("params", "lr")),
            "learning rate": ", ".join(dict.fromkeys(_rates(config.get("optimizer")))),
            "schedule": _component(config.get("scheduler")),
        }
        for name, text in texts.items():
            rows.setdefault(name, {})[arm(str(row.recipe), str(row.control))] = text
    return [(name, _by_recipe(texts)) for name, texts in rows.items()]


def _by_recipe(texts: Mapping[str, str]) -> str:
    """Return the value that all recipes share. If the values differ, return them with the names of the recipes."""
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    parts = [f"{recipe}: {text or 'none'}" for recipe, text in texts.items()]
    more = [f"and {len(parts) - _MOST_NAMED} more"] if len(parts) > _MOST_NAMED else []
    return "; ".join([*parts[:_MOST_NAMED], *more])


def _component(node: Any, without: Sequence[str] = ()) -> str:
    """Return a config node as text: the name of its class, and the arguments that are not 0, false or null."""
    if isinstance(node, list):
        return " + ".join(filter(None, (_component(item, without) for item in node)))
    if not isinstance(node, Mapping):
        return ""
    if "_target_" not in node:
        parts = {str(name): _component(item, without) for name, item in node.items()}
        return "; ".join(f"{name}: {text}" for name, text in parts.items() if text)
    words = [str(node["_target_"]).rpartition(".")[2]]
    for name, value in node.items():
        if str(name).startswith("_") or name in without or value == 0:  # False == 0
            continue
        text = str(name) if value is True else f"{name} {_component(value) or _value_text(value)}"
        if not text.endswith(" "):
            words.append(text)
    return ", ".join(words)


def _value_text(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, Mapping):
        return ""
    if isinstance(value, list):
        return " ".join(filter(None, map(_value_text, value[:_MOST_NAMED])))
    if isinstance(value, float):
        return number(value, 6)
    text = str(value)
    return "" if "${" in text else text  # omit a reference to another key of the config


def _rates(node: Any) -> Iterator[str]:
    """Yield every learning rate in the config of an optimizer."""
    if isinstance(node, Mapping):
        if isinstance(rate := node.get("lr"), (int, float)) and not isinstance(rate, bool):
            yield f"{rate:.6g}"
        node = list(node.values())
    for item in node if isinstance(node, list) else []:
        yield from _rates(item)


def _data(config: Config, folder: Path) -> str:
    """Return the class of the data set, and the description of the data in the run's record."""
    class_name = _component(config.get("data.train"))
    try:
        read = (RunResult.load(folder / RESULT).data or {}).get("dataset")
    except (OSError, ValueError, RecursionError):
        read = None
    if not isinstance(read, Mapping):
        return class_name
    parts = [str(read["name"])] if isinstance(read.get("name"), str) else []
    if isinstance(samples := read.get("samples"), int) and not isinstance(samples, bool):
        parts.append(f"{samples:,} samples")
    return "; ".join(filter(None, [", ".join(parts), class_name]))


def _length(content: Content, runs: pd.DataFrame) -> str:
    """Return the length of a run with SSR 1. Without such a run, compute it from the runs with the largest SSR."""
    lengths = [str(text) for text in runs["max_duration"].unique() if isinstance(text, str) and text]
    parts = [_shortened_list(lengths)] if lengths else []
    whole = runs[runs["ssr"] == 1.0]
    longest = runs[runs["ssr"] == runs["ssr"].max()]  # for these runs, steps / ssr has the smallest rounding error
    for name in ("steps", "samples", "tokens", "seconds"):
        if name not in content.axes:
            continue
        each = whole[name] if len(whole) else longest[name] / longest["ssr"]
        low, high = float(each.min()), float(each.max())
        show, unit = (duration, "of training") if name == "seconds" else ("{:,.0f}".format, name)
        amount = show(low) if high <= 1.005 * low else f"{show(low)} to {show(high)}"
        parts.append(f"{'' if len(whole) else 'about '}{amount} {unit}")
    return ", ".join(parts)


def _overrides(content: Content, firsts: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the overrides of each study in the form of a sweep's command line, such as ``ssr=0.5,1,2 seed=0,1``."""
    texts: dict[str, list[str]] = {}
    for study, rows in content.study.completed.groupby("study", sort=False):
        sweep: dict[str, dict[str, None]] = {}
        for folder in firsts[firsts["study"] == study]["folder"]:
            for text in _read_overrides(Path(str(folder))):
                key, equals, value = text.partition("=")
                if equals and not any(key.lstrip("+~").startswith(name) for name in _APART):
                    sweep.setdefault(key, {})[value] = None
        for key in ("ssr", "seed"):
            if key in sweep:
                sweep[key] = {f"{value:g}": None for value in sorted(rows[key].dropna().unique().tolist())}
        if sweep:
            line = " ".join(f"{key}={','.join(values)}" for key, values in sweep.items())
            texts.setdefault(line, []).append(str(study))
    if len(texts) == 1:
        return [("overrides", next(iter(texts)))]
    return [(f"overrides of {', '.join(studies)}", line) for line, studies in texts.items()]


def _read_overrides(folder: Path) -> list[str]:
    try:
        content = yaml.safe_load(read_bounded(folder / ".hydra/overrides.yaml", _MOST_BYTES))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return []
    return [item for item in content if isinstance(item, str)] if isinstance(content, list) else []


def _shortened_list(values: Iterable[str]) -> str:
    texts = list(values)
    if len(texts) <= 2 * _MOST_NAMED:
        return ", ".join(texts)
    return f"{', '.join(texts[:_MOST_NAMED])} ... {texts[-1]}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
