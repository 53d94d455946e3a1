"""Rules for config files from outside the package: their size, their content, and the choices in their defaults list.

A file from someone else must not run code, read or write outside its folder, or take long to compose. This module does
not depend on Hydra.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import yaml
from omegaconf import OmegaConf

from ssr_hydra.app.hydra_rules import chosen_nodes, is_below_hydra
from ssr_hydra.configs import GROUPS, ExperimentConfig
from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    InputError,
    PathError,
    RangeError,
    UntrustedError,
    WrongTypeError,
)
from ssr_hydra.files import open_regular

_MOST_BYTES = 2**20
_MOST_VALUES = 5_000
_MOST_LEVELS = 100
_MOST_REFERENCES = 1_000
_MOST_DEFAULTS = 100
_LONGEST_NUMBER = 300  # YAML cannot convert longer sexagesimal numbers such as 1:0:...:0.5
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_LONGEST_REFERENCE = 2_000
_LONGEST_ENTRY = 300

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader, if available, is ten times faster


def shown_path(path: str | Path) -> str:
    """Return a path for messages: relative if it is below the working directory, otherwise unchanged."""
    text = os.fspath(path)
    relative = os.path.relpath(text)
    return text if relative.startswith("..") else relative


class _NodeSize(NamedTuple):
    """The size of a YAML node with expanded aliases: its values, references ``${...}`` and levels of nesting."""

    values: int = 1
    references: int = 0
    levels: int = 0


@dataclass
class _OpenNode:
    """A YAML mapping or list that the parser has not read to its end.

    Attributes:
        before: The total size of the nodes before this node.
        lines: In a mapping, the line number of each key.
        key: In a mapping, the key whose value comes next; None if this key is not text.
    """

    anchor: str | None
    is_mapping: bool
    before: _NodeSize
    levels: int = 1
    children: int = 0
    lines: dict[str, int] = field(default_factory=dict)
    key: str | None = None


class FileBounds:
    """Measure the config files of one composition, and refuse files that are too large or invalid.

    The size limits apply to all files of the composition together.

    Args:
        typed: The keys of the overrides on the command line.
        texts: The files that were read before, as a mapping from path to content. These files are not read again.
    """

    def __init__(self, typed: Collection[str] = (), texts: dict[str, str] | None = None) -> None:
        self._typed, self._texts = typed, {} if texts is None else texts
        self._bytes = 0
        self._size = _NodeSize(0)
        self._checked: set[Path] = set()
        self._unfolded: dict[str, float] = {}

    def read(self, path: Path) -> str:
        """Return the text of a YAML file. Check the file without constructing its values.

        Raises:
            InputError: The file exceeds a limit, is not YAML, repeats a key, has a top-level key with a dot, or has an
                unquoted word in a text field that YAML would change, such as ``on``.
        """
        if path in self._checked:
            return self._texts[str(path)]
        name = shown_path(path)
        text = self._texts.get(str(path))
        if text is None:
            text = _text_of(path, name)
        self._bytes += len(text.encode())
        if self._bytes > _MOST_BYTES:
            rule = f"all config files together must have at most {_MOST_BYTES:,} bytes"
            raise _refused(name, rule, "shorten the file")
        if text.startswith("\ufeff"):
            rule = "must not start with a byte order mark, which hides the # @package line"
            raise _refused(name, rule, "save the file as UTF-8 without BOM")
        try:
            self._walk(name, yaml.parse(text, Loader=_Loader))
        except yaml.YAMLError as error:
            raise _refused(name, problem_of(error), "correct the YAML") from None
        self._checked.add(path)
        self._texts[str(path)] = text
        return text

    def check_defaults(self, path: str, folders: Sequence[Path]) -> None:
        """Refuse a defaults list that names files outside its folder, or choices that only the command line may make.

        Also refuse a defaults list that contains itself or expands to too many configs.
        """
        try:
            total = self._num_configs(path, folders)
        except RecursionError:
            total = math.inf
        if total > _MOST_DEFAULTS:
            rule, fix = f"expands to more than {_MOST_DEFAULTS} configs", "shorten the defaults lists"
            if math.isinf(total):
                rule, fix = "contains itself", "remove the entry that leads back to this file"
            raise RangeError("defaults", f"{path}.yaml", rule, fix)

    def _num_configs(self, path: str, folders: Sequence[Path]) -> float:
        if path not in self._unfolded:
            self._unfolded[path] = math.inf  # the size stays infinite if the config contains itself
            size, file = 1.0, next((file for folder in folders if (file := folder / f"{path}.yaml").is_file()), None)
            if file is not None:
                text = self.read(file)
                chosen = chosen_nodes(path.rpartition("/")[0], self._typed)
                content = content_of(text)
                _check_choices(path, content, folders)
                for entry in defaults_of(content):
                    _check_entry(entry, f"{path}.yaml", chosen and chosen[0])
                    size += sum(self._num_configs(inner, folders) for inner in entry.configs(path, folders))
            self._unfolded[path] = size
        return self._unfolded[path]

    def _walk(self, name: str, events: Iterable[Any]) -> None:
        parents = [_OpenNode(None, False, self._size)]
        sizes: dict[str, _NodeSize] = {}  # anchor -> size of the node
        for event in events:
            parent = parents[-1]
            if isinstance(event, yaml.CollectionEndEvent):
                parents.pop()
                parents[-1].levels = max(parents[-1].levels, parent.levels + 1)
                if parent.anchor is not None:
                    values = self._size.values - parent.before.values
                    references = self._size.references - parent.before.references
                    sizes[parent.anchor] = _NodeSize(values, references, parent.levels)
            elif isinstance(event, yaml.NodeEvent):
                parent.children += 1
                if parent.children % 2 == 1:
                    parent.key = None
                size = _NodeSize()
                if isinstance(event, yaml.AliasEvent):
                    if event.anchor not in sizes:
                        rule = f"uses *{event.anchor} in line {_line(event)} before the end of &{event.anchor}"
                        raise _refused(name, rule, "replace the alias with its value")
                    size = sizes[event.anchor]
                    parent.levels = max(parent.levels, size.levels + 1)
                elif isinstance(event, yaml.ScalarEvent):
                    size = _NodeSize(references=event.value.count("${"))
                    _check_scalar(name, event, parent, is_top=len(parents) == 2)
                    if event.anchor is not None:
                        sizes[event.anchor] = size
                else:
                    parents.append(_OpenNode(event.anchor, isinstance(event, yaml.MappingStartEvent), self._size))
                self._add(name, size, depth=len(parents) - 1)

    def _add(self, name: str, size: _NodeSize, depth: int) -> None:
        if depth + size.levels > _MOST_LEVELS:
            raise _refused(name, f"must have at most {_MOST_LEVELS} levels of nesting", "use fewer levels of nesting")
        self._size = _NodeSize(self._size.values + size.values, self._size.references + size.references)
        for count, most, what in (
            (self._size.values, _MOST_VALUES, "values after expansion of aliases"),
            (self._size.references, _MOST_REFERENCES, "references ${...}"),
        ):
            if count > most:
                rule = f"all config files together must have at most {most:,} {what}"
                raise _refused(name, rule, "shorten the file")


def _text_of(path: Path, name: str) -> str:
    try:
        with open_regular(path) as file:
            return file.read(_MOST_BYTES + 1).decode("utf-8")
    except UnicodeDecodeError as error:
        rule = f"must be UTF-8 text (byte {error.start:,} is not)"
        raise _refused(name, rule, "save the file as UTF-8") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise _refused(name, f"cannot be read ({why})", "make the file readable") from None


def _refused(name: str, rule: str, fix: str) -> InputError:
    return FormatError("config", name, rule, fix)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def problem_of(error: Exception) -> str:
    """Return the message and the line number of an error of the YAML parser, in one line."""
    if isinstance(error, (LookupError, AttributeError)):  # PyYAML raises these errors for a value such as !!bool x
        return "has a value that does not fit its YAML tag"
    mark = getattr(error, "problem_mark", None)
    text = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error) or "is not YAML"
    return " ".join(f"{text}{'' if mark is None else f' in line {mark.line + 1}'}".split())[:200]


def _check_scalar(name: str, event: Any, parent: _OpenNode, *, is_top: bool) -> None:
    text, is_plain = event.value, event.implicit[0] and event.style in (None, "")
    if "${" in text and len(text) > _LONGEST_REFERENCE:
        rule = f"has a string of {len(text):,} characters with references ${{...}} in line {_line(event)}"
        raise _refused(name, rule, f"shorten this string to at most {_LONGEST_REFERENCE:,} characters")
    # YAML reads a sexagesimal number (1:59:59:...) in quadratic time. With !!int, YAML reads any text as a number.
    may_be_number = event.tag in _NUMBER_TAGS or (is_plain and re.match(r"[-+.\d]", text) and " " not in text)
    if may_be_number and len(text) > _LONGEST_NUMBER:
        raise _refused(name, f"has a number of {len(text):,} characters in line {_line(event)}", "put it in quotes")
    if not parent.is_mapping:
        return
    if parent.children % 2 == 0:  # a value
        if is_plain and parent.key in _words():
            _check_word(name, parent.key, text, _line(event))
        return
    if text in parent.lines and text != "<<":
        rule = f"sets {text[:80]} twice, in lines {parent.lines[text]} and {_line(event)}"
        raise _refused(name, rule, "keep one of the two lines")
    if is_top and re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", text):
        outer, inner = text.split(".", 1)
        rule = f"has the key {text[:80]} in line {_line(event)}, but a YAML key cannot contain a dot"
        raise _refused(name, rule, f"nest it: {outer}: {{{inner.replace('.', ': {')}: ...{'}' * text.count('.')}")
    parent.lines[text] = _line(event)
    parent.key = text


def _check_word(name: str, key: str, text: str, line: int) -> None:
    """Refuse a word without quotes in a text field if YAML would change the word, such as ``on`` or ``007``."""
    if not text or "$" in text or len(text) > _LONGEST_NUMBER:
        return
    read: Any = OmegaConf.create(f"x: {text}")
    value = read["x"]
    if value is not None and not isinstance(value, str) and str(value) != text:
        rule = f"must be text, but YAML reads it as {value!r} ({name}, line {line})"
        raise WrongTypeError(key, text, rule, f'put it in quotes: {key}: "{text}"')


@cache
def _words() -> frozenset[str]:
    """Return the names of text fields. In every built-in config, a field with such a name has the type ``str``."""
    words: set[str] = set()
    others: set[str] = set()
    for config in (ExperimentConfig, *(config for group in GROUPS.values() for config in group.values())):
        kind = config if isinstance(config, type) else type(config)
        if is_dataclass(kind):
            for name, hint in get_type_hints(kind).items():
                (words if hint in (str, str | None) else others).add(name)
    return frozenset(words - others)


def check_name(path: str, file: str | Path) -> None:
    """Raise an error, because a user's file has the name of a preset."""
    group, _, name = path.removesuffix(".yaml").rpartition("/")
    rule = f"is the name of a preset of this package, so {shown_path(file)} cannot have this name"
    raise ConflictError(group or "config", name, rule, f"rename the file, e.g. my_{name}.yaml")


OWN_CHOICES = {
    "launcher": "processes",
    "hydra/output": "unique",
    "hydra/help": "ssr_hydra",
    "hydra/sweeper": "study",
}
"""The choices of ``conf/config.yaml`` in Hydra's groups. A main config of the user may make only these choices."""

_OUTSIDE = re.compile(r"(^|/)\.\.?(/|$)|^//|^~|[\\:]")


def _check_entry(entry: _Entry, file: str, chosen: str | None) -> None:
    """Refuse an entry that names a config outside the folder of ``file``, or that a file must not choose.

    In Hydra's groups, a file may choose only ``OWN_CHOICES`` and configs in ``chosen``, the group of the file itself.
    """
    for text in filter(None, (entry.group, entry.package, *entry.names)):
        if len(text) > _LONGEST_ENTRY:
            rule = f"must have entries of at most {_LONGEST_ENTRY} characters ({file})"
            raise RangeError("defaults", text, rule, "shorten it")
        if text != entry.package and "${" not in text and _OUTSIDE.search(text):
            rule = f"must be inside the folder of {file}"
            raise PathError("defaults", text, rule, "move the config into that folder")
    root = entry.root
    is_hydras = root == "launcher" or root.partition("/")[0] == "hydra" or is_below_hydra(entry.package)
    if not is_hydras or (chosen is not None and f"{root}/".startswith(f"{chosen}/")):
        return
    if entry.package is not None or any(name != OWN_CHOICES.get(root) for name in entry.names):
        short = "launcher" if root == "hydra/launcher" else root
        is_group = entry.group is not None and entry.package is None
        fix = f"write {short}={','.join(entry.names)} on the command line" if is_group else "remove it"
        raise UntrustedError(root, ",".join(entry.names), f"cannot be chosen in a file ({file})", fix)


class _DefaultsLoader(_Loader):  # type: ignore[misc]
    """Read values with unknown YAML tags as None. The later composition of the file refuses these tags."""


_DefaultsLoader.add_constructor(None, lambda *_: None)


@dataclass(frozen=True)
class _Entry:
    """An entry of a defaults list. If the entry has no group, ``names`` contains the path of a config."""

    group: str | None
    names: tuple[str, ...]
    package: str | None
    is_override: bool = False

    @classmethod
    def of(cls, item: Any) -> _Entry:
        key, value = next(iter(item.items())) if isinstance(item, dict) and item else (None, item)
        values = value if isinstance(value, list) else [value]
        if key is None:
            path, _, package = str(value).partition("@")
            return cls(None, (path,), package or None)
        group, _, package = str(key).split(" ")[-1].partition("@")  # the key may start with "optional" and "override"
        names = tuple(str(name) for name in values if name is not None)
        return cls(group, names, package or None, "override" in str(key).split(" ")[:-1])

    @property
    def root(self) -> str:
        """The group; the path of the config if the entry has no group. A leading slash is removed."""
        return (self.names[0] if self.group is None else self.group).lstrip("/")

    def configs(self, path: str, folders: Sequence[Path]) -> Iterator[str]:
        """Yield the paths of the configs that the entry can choose. The defaults list is in the config ``path``."""
        here = path.rpartition("/")[0]
        for name in self.names:
            whole = name if self.group is None else f"{self.group}/{name}"
            place = whole.lstrip("/") if whole.startswith("/") or not here else f"{here}/{whole}"
            if "${" not in place:
                yield place.removesuffix(".yaml")
                continue
            outer = place[: place.index("${")].rpartition("/")[0]  # the reference can mean any file in this folder
            for folder in folders:
                yield from (f"{outer}/{file.stem}" for file in (folder / outer).glob("*.yaml"))


def content_of(text: str) -> dict[Any, Any]:
    """Return the values of a YAML file. The result is empty if the text is invalid or not a mapping."""
    try:
        content = yaml.load(text, Loader=_DefaultsLoader)  # _DefaultsLoader is a subclass of a safe loader
    except Exception:  # a wrong value for a tag, such as !!bool x, may raise any error
        return {}
    return content if isinstance(content, dict) else {}


def defaults_of(content: Mapping[Any, Any]) -> list[_Entry]:
    """Return the entries of the defaults list in a file, except ``_self_``."""
    entries = content.get("defaults")
    return [_Entry.of(item) for item in entries if item != "_self_"] if isinstance(entries, list) else []


_MAIN_GROUPS = (*GROUPS, "param_groups", "debug")


def _check_choices(path: str, content: Mapping[Any, Any], folders: Sequence[Path]) -> None:
    """Refuse common mistakes in a file that chooses configs of groups. Each error shows the line to write."""
    here = path.rpartition("/")[0]
    for key in _MAIN_GROUPS if here in ("", "experiment", "debug") else ():
        value = content.get(key)
        listed: list[Any] = value if isinstance(value, list) else [value]
        if listed and all(isinstance(name, str) and name and "$" not in name for name in listed):
            rule = f"must be in the defaults list, because it chooses a config of the group {key} ({path}.yaml)"
            raise FormatError(key, value, rule, f"write under defaults: - {_line_of(key, listed, here)}")
    for entry in defaults_of(content) if here.partition("/")[0] == "experiment" else ():
        group = (entry.group or "").lstrip("/")
        if group not in _MAIN_GROUPS or entry.package is not None or any((f / here / group).is_dir() for f in folders):
            continue
        if entry.group == group or not entry.is_override:
            rule = f"must be an override with a slash before the group, as the main config has this group ({path}.yaml)"
            raise FormatError(group, ",".join(entry.names), rule, f"write - {_line_of(group, entry.names, here)}")


def _line_of(group: str, names: Sequence[str], here: str) -> str:
    choices = f"[{', '.join(names)}]" if group in ("logger", "callbacks", "param_groups") else ", ".join(names)
    return f"override /{group}: {choices}" if here else f"{group}: {choices}"
