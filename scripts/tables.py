"""Write ``docs/reference/tables.md``: the keys of all configs, with type, default and meaning."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from ssr_hydra import configs, settings  # noqa: E402

PAGE = REPO / "docs" / "reference" / "tables.md"
_HEAD = """\
# Tables

This page lists every choice of the config groups, and every key with its type, default and meaning.
`scripts/tables.py` writes the page from the typed configs and their docstrings. In Python, the keys are the arguments
of the class in the second column. This class is in `ssr_hydra` or in torch. The default `???` means that you must set
the value. A key of type `any` accepts values of several types, and its class checks these values. For the keys of
torch's optimizers, see the documentation of torch.
"""
_NODES = {
    "Top level": (configs.AppConfig, ()),
    "checkpoint": (configs.CheckpointConfig, (settings.CheckpointSettings,)),
    "resume": (configs.ResumeConfig, (settings.ResumeSettings,)),
}
_SETTINGS: Mapping[str, tuple[type, ...]] = {
    "trainer": (settings.CountSettings, settings.StepSettings),
    "data": (settings.DataSettings,),
}
_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?([^`.]+)`")
_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:(?: +.*)?\n)*)", re.MULTILINE)
_ARGUMENT = re.compile(r"^ {4}(\w+): ((?:.*\n)(?: {5,}.*\n)*)", re.MULTILINE)


def meanings(*documented: Any) -> dict[str, str]:
    """Return a mapping from argument to description, from the docstrings of classes and their base classes."""
    descriptions: dict[str, str] = {}
    for item in (base for source in documented for base in getattr(source, "__mro__", (source,))):
        for section in _SECTION.findall((inspect.getdoc(item) or "") + "\n"):
            for name, text in _ARGUMENT.findall(section):
                descriptions.setdefault(name, text)
    return descriptions


def cell(text: str) -> str:
    """Return text as the content of a table cell."""
    return " ".join(_ROLE.sub(r"`\1`", text).replace("``", "`").replace("|", "\\|").split())


def code(value: Any) -> str:
    """Return a value as YAML writes it, as code in a table cell."""
    text = value if isinstance(value, str) and value else json.dumps(value, default=str)
    return cell(f"`{text}`")


def kind(hint: Any) -> str:
    """Return the name of a type."""
    inner = [kind(part) for part in get_args(hint)]
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(inner)
    if hint in (Any, type(None)) or is_dataclass(hint):
        return "any" if hint is not type(None) else "null"
    return str(hint.__name__) + (f"[{', '.join(inner)}]" if inner else "")


def default_of(item: Field[Any], config: Any) -> Any:
    """Return the value of a field in a config, or the default if the config is a class."""
    if not isinstance(config, type):
        return getattr(config, item.name)
    return item.default_factory() if item.default_factory is not MISSING else item.default


def target_of(config: Any) -> str:
    """Return the ``_target_`` of a config; an empty string if it has none."""
    if isinstance(config, Mapping):
        return str(config.get("_target_", ""))
    return next((str(default_of(item, config)) for item in fields(config) if item.name == "_target_"), "")


def keys(config: Any, documented: tuple[Any, ...] = (), prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type, default and meaning of each key of a config.

    A key whose default refers to another key is left out, because that key has its row.
    """
    if isinstance(config, Mapping):
        return
    cls = config if isinstance(config, type) else type(config)
    module, _, name = target_of(config).rpartition(".")
    if module.startswith("ssr_hydra"):
        documented = (*documented, getattr(importlib.import_module(module), name))
    texts, hints = meanings(cls, *documented), get_type_hints(cls)
    for item in fields(config):
        value = default_of(item, config)
        if item.name == "_target_" or (isinstance(value, str) and value.startswith("${")):
            continue
        if not is_dataclass(value):
            yield f"{prefix}{item.name}", kind(hints[item.name]), code(value), cell(texts.get(item.name, ""))
        elif item.name not in _NODES:
            yield from keys(value, (), f"{prefix}{item.name}.")


def summary(config: Any) -> str:
    """Return the first sentence about a choice: from the class that it creates, else from the config."""
    module, _, name = target_of(config).rpartition(".")
    if module.startswith("ssr_hydra"):
        config = getattr(importlib.import_module(module), name)
    elif not is_dataclass(config):
        return "Your own class: set `_target_`."
    paragraph = (inspect.getdoc(config) or "").split("\n\n")[0]
    return cell(re.sub(r"^``\w+=\w+``(: )?", "", paragraph)) if not module.startswith("torch") else ""


def group(name: str, choices: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a group: a table of its choices, and a table of their documented keys."""
    yield from ("", f"## {name}", "", "| choice | class or file | keys and defaults | meaning |", "|---|---|---|---|")
    described: dict[tuple[str, str, str], list[str]] = {}
    for choice, config in choices.items():
        rows = list(keys(config, _SETTINGS.get(name, ())))
        for key, hint, _, meaning in rows:
            if meaning:
                described.setdefault((key, hint, meaning), []).append(choice)
        defaults = " ".join(f"{key}={default[1:-1]}" for key, _, default, _ in rows)
        target = target_of(config).replace("???", "").removeprefix("ssr_hydra.")
        filled = (f"`{text}`" if text else "" for text in (target, defaults))
        yield f"| `{choice}` | {' | '.join(filled)} | {summary(config)} |"
    yield from presets(name)
    if described:
        yield from ("", "| key | type | meaning | choices |", "|---|---|---|---|")
    for (key, hint, meaning), names in described.items():
        whom = "all" if len(names) >= len(choices) - ("custom" in choices) else " ".join(f"`{item}`" for item in names)
        yield f"| `{key}` | {cell(f'`{hint}`')} | {meaning} | {whom} |"


def presets(name: str) -> Iterator[str]:
    """Yield a row for each YAML preset of a group. Its meaning is the comment at the top of the file."""
    for path in sorted((configs.conf_dir() / name).glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        start = next(at for at, line in enumerate([*lines, ""]) if not line.startswith("#"))
        comment = " ".join(line[1:].strip() for line in lines[:start] if not re.match(r"# (@package|yaml-lang)", line))
        yield f"| `{path.stem}` | `conf/{name}/{path.name}` | | {cell(comment)} |"


def page() -> str:
    """Return the text of the page."""
    lines = [_HEAD.rstrip()]
    for title, (config, documented) in _NODES.items():
        lines += ["", f"## {title}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        rows = keys(config, documented)
        lines += [f"| `{key}` | {cell(f'`{hint}`')} | {default} | {meaning} |" for key, hint, default, meaning in rows]
    for name, choices in configs.GROUPS.items():
        lines += group(name, choices)
    for name in ("param_groups", "experiment", "debug", "launcher"):
        lines += group(name, {})
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
