"""JSON Schemas of config files: ``ssr-train --schema DIR``. With them, an editor completes and checks YAML files.

The schemas come from the structured configs, their docstrings, and the names of config files. A schema accepts
``${...}`` and ``???`` for every value. For a ``_target_`` outside of this package, a schema accepts all arguments.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from ssr_hydra.app.hydra_rules import SETTINGS
from ssr_hydra.app.targets import NAME, REGISTERED
from ssr_hydra.configs import GROUPS, AppConfig, ExperimentConfig, PhaseConfig, conf_dir
from ssr_hydra.errors import PathError, visible
from ssr_hydra.files import check_length, write_atomically, write_error
from ssr_hydra.rules import CONDITIONS
from ssr_hydra.schedulers.combinators import Phase
from ssr_hydra.schedulers.protocol import ComposerScheduler
from ssr_hydra.time import Time
from ssr_hydra.time.duration import PATTERN
from ssr_hydra.torch_schedulers import TorchScheduler

_Schema = dict[str, Any]
_OVERLAYS = ("config", "experiment", "debug", "launcher")  # files of these groups may set any key of the config
_SEVERAL = ("logger", "callbacks")
_NAMED = ("scheduler", "optimizer", *_SEVERAL)  # a node of these groups may be a mapping from name to node
_SIMPLE = {float: "number", int: "integer", bool: "boolean", str: ["string", "number"], type(None): "null"}
_NULL = {"type": "null"}


def write_schemas(folder: str, config_dir: str | None = None) -> str:
    """Write the JSON Schemas into a folder, each file atomically, and return instructions for their use.

    The schemas also accept the names of the files in ``config_dir``, the user's own config folder.
    """
    check_length(folder, "--schema")
    place = Path(folder)
    if not folder.strip() or (place.exists() and not place.is_dir()):
        raise PathError("--schema", folder, "must be a folder", "write e.g. --schema .schema")
    files = {f"{name}.json": json.dumps(schema, indent=1) + "\n" for name, schema in schemas(config_dir).items()}
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, place, 0) from error
    for name, text in files.items():
        write_atomically(place / name, text)
    line = f"# yaml-language-server: $schema=../../{visible(place.name)}/experiment.json"
    return f"wrote {len(files)} JSON Schemas to {visible(folder)}; begin a file in conf/experiment with\n  {line}"


def schemas(config_dir: str | None = None) -> dict[str, _Schema]:
    """Return a mapping from group to the schema of the group's files. The key ``config`` is for main configs."""
    definitions = _Definitions(_yaml_names(conf_dir()), _yaml_names(Path(config_dir)) if config_dir else {})
    whole = {group: definitions.overlay(group) for group in _OVERLAYS}
    whole |= {group: definitions.file(group) for group in (*GROUPS, "param_groups")}
    return {
        group: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"ssr_hydra: {group}",
            **schema,
            "$defs": definitions.needed_by(schema),
        }
        for group, schema in whole.items()
    }


def _yaml_names(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.yaml")):
        names.setdefault(path.parent.relative_to(folder).as_posix(), []).append(path.stem)
    return names


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/$defs/{name}"}


def _any_of(options: Iterable[_Schema]) -> _Schema:
    """Return a schema that accepts references (``${...}``) and each value that one of ``options`` accepts.

    If exactly one option accepts mappings, the schema checks a mapping only against this option, so that the editor's
    error names the invalid key. The same holds for lists.
    """
    rest = list({json.dumps(option): option for option in options}.values())
    if {} in rest:
        return {}
    inside = [each for each in rest if "$ref" in each and each not in (_ref("duration"), _ref("selection"))]
    by_type = {
        "object": [*inside, *(each for each in rest if each.get("type") == "object")],
        "array": [each for each in rest if each.get("type") == "array"],
    }
    branches = {kind: only[0] for kind, only in by_type.items() if len(only) == 1}
    schema: _Schema = {"anyOf": [*(each for each in rest if each not in branches.values()), _ref("reference")]}
    for kind, branch in branches.items():
        schema = {"if": {"type": kind}, "then": branch, "else": schema}
    return schema


def _choices(values: Iterable[str | None]) -> _Schema:
    return {"enum": list(dict.fromkeys(values))}


class _Definitions:
    """The ``$defs`` of all schemas: a definition for each config class and each group."""

    def __init__(self, shipped: Mapping[str, list[str]], own: Mapping[str, list[str]]) -> None:
        groups = dict.fromkeys([*GROUPS, *shipped, *own])
        self._own = own
        self._names = {g: [*GROUPS.get(g, ()), *shipped.get(g, ()), *own.get(g, ())] for g in groups if g != "."}
        self._names["config"] = [*shipped["."], *own.get(".", ()), "base_config"]
        self._nested: dict[str, str] = {}  # definition -> its _target_, for classes that no config group contains
        self._defs: dict[str, _Schema] = {
            "reference": {"type": "string", "pattern": r"\$\{|^\?\?\?$"},
            "duration": {
                "description": "A number and a unit: iter ep ba sp tok dur sec, or a time such as 90s, 10m, 1h30m.",
                "type": "string",
                "pattern": PATTERN,
                "examples": ["10ep", "500ba", "0.1dur", "1h30m"],
            },
        }
        self._classes = {group: self._classes_of(group) for group in GROUPS}
        for group in GROUPS:
            self._defs[group] = self._node(group)
        targets = self._by_target(self._nested)
        self._defs["object"] = {"type": "object", "properties": self._special(REGISTERED), "allOf": targets}
        self._defs["rule"], self._defs["selection"] = self._rule()

    def needed_by(self, schema: _Schema) -> dict[str, _Schema]:
        """Return the definitions to which a schema refers, directly or through other definitions."""
        definitions: dict[str, _Schema] = {}
        waiting: list[Any] = [schema]
        while waiting:
            for name in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(waiting.pop())):
                if name not in definitions:
                    definitions[name] = self._defs[name]
                    waiting.append(definitions[name])
        return dict(sorted(definitions.items()))

    # ---- config classes

    def _classes_of(self, group: str) -> dict[str, list[str]]:
        """Return the config classes of a group: a mapping from class name to the choices that use the class."""
        classes: dict[str, list[str]] = {}
        for name, config in GROUPS[group].items():
            kind = config if isinstance(config, type) else type(config)
            if is_dataclass(kind):
                classes.setdefault(self._class(kind), []).append(name)
        return classes

    def _class(self, kind: Any) -> str:
        """Add the definition of a config class, and return its name."""
        if kind.__name__ not in self._defs:
            self._defs[kind.__name__] = {}  # end the recursion if a field of this class has this class as its type
            self._defs[kind.__name__] = self._fields(kind)
        return str(kind.__name__)

    def _fields(self, kind: Any) -> _Schema:
        properties: dict[str, _Schema] = {"defaults": {}}
        for base in reversed(kind.__mro__):
            source = vars(base).get("__source__", base)
            hints, docs = get_type_hints(source, include_extras=True), _docs(source)
            for name in inspect.get_annotations(base):
                if name == "_target_":
                    properties |= self._special([base._target_])
                else:
                    null = [_NULL] if getattr(kind, name, ...) is None else []  # the default is null
                    properties[name] = docs.get(name, {}) | _any_of([*self._options(hints[name]), *null])
        for item in fields(kind):
            value = item.default
            if isinstance(value, (str, int, float, bool)) and "${" not in str(value) and value not in ("", "???"):
                properties[item.name] = properties[item.name] | {"default": value}
        about = _docs(vars(kind).get("__source__", kind)).get("", {})
        return {"type": "object", **about, "properties": properties, "additionalProperties": False}

    def _options(self, hint: Any) -> list[_Schema]:
        """Return schemas for a type. A value is valid if it matches at least one of the schemas."""
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            kind, allowed = arguments
            if isinstance(allowed, tuple):
                return [_choices([*allowed, None] if type(None) in get_args(kind) else allowed)]
            if isinstance(allowed, re.Pattern):
                return [{"type": "string", "pattern": f"^({allowed.pattern})$"}]
            return self._options(allowed)
        if origin in (Union, UnionType):
            if Time in arguments:
                arguments = tuple(each for each in arguments if each is not str)
            for kind in (Phase, ComposerScheduler):
                # In a config, only this member of the union is possible: a mapping, often with a _target_.
                if kind in arguments:
                    arguments = (kind,)
            return [option for each in arguments for option in self._options(each)]
        if hint in _SIMPLE:
            return [{"type": _SIMPLE[hint]}]
        if origin is tuple:
            items = [_any_of(self._options(each)) for each in arguments]
            return [{"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}]
        if origin in (list, Sequence):
            return [{"type": "array", "items": _any_of(self._options(arguments[0]))}]
        if origin in (dict, Mapping):
            keys = _any_of(self._options(arguments[0]))
            values = _any_of(self._options(arguments[1]))
            return [{"type": "object", "propertyNames": keys, "additionalProperties": values}]
        if hint is Time:
            return [_ref("duration")]
        if hint in (ComposerScheduler, TorchScheduler):
            return [_ref("scheduler")]
        if origin is Callable:
            return [_ref("object")]
        if is_dataclass(hint):
            name = self._class(PhaseConfig if hint is Phase else hint)
            target = getattr(hint, "_target_", None)
            if target is not None:
                self._nested[name] = target
            return [_ref(name)]
        return [{}]

    def _special(self, targets: Iterable[str]) -> dict[str, _Schema]:
        other = {"type": "string", "pattern": rf"^(?!ssr_hydra\.){NAME.pattern}$"}
        package_targets = {"enum": sorted(targets)}
        return {
            "_target_": _any_of([package_targets, other]),
            "_recursive_": {"const": True},
            "_convert_": {"enum": ["all", "object"]},
            "_partial_": {"type": "boolean"},
            "_args_": {},
        }

    # ---- groups

    def _by_target(self, targets: Mapping[str, str]) -> list[_Schema]:
        """Return one rule per target: a node with this ``_target_`` must match the definition of its class."""
        return [
            {"if": {"required": ["_target_"], "properties": {"_target_": {"const": target}}}, "then": _ref(name)}
            for name, target in targets.items()
        ]

    def _node(self, group: str) -> _Schema:
        """Return the schema of a group's node. A node without a ``_target_`` may have the keys of every choice."""
        classes = self._classes[group]
        targets = {name: self._defs[name]["properties"].get("_target_") for name in classes}
        united: dict[str, list[_Schema]] = {}
        for name in classes:
            for key, schema in self._defs[name]["properties"].items():
                united.setdefault(key, []).append({k: v for k, v in schema.items() if k != "default"})
        properties = {key: _any_of(options) if len(options) > 1 else options[0] for key, options in united.items()}
        rest = _any_of([_ref(group), _NULL]) if group in _NAMED else False
        union = {"properties": properties, "additionalProperties": True if group in self._own else rest}
        if not any(targets.values()):
            return {"type": "object", **union}
        target_names = {name: target["anyOf"][0]["enum"][0] for name, target in targets.items() if target}
        node: _Schema = {"type": "object", "properties": self._special(target_names.values())}
        return node | {"allOf": self._by_target(target_names), "if": {"required": ["_target_"]}, "else": union}

    def _rule(self) -> tuple[_Schema, _Schema]:
        words = _any_of(self._options(str | list[str] | None))
        counts = _any_of(self._options(int | list[int] | None))
        conditions = {key: words if key in ("name", "module") else counts for key in CONDITIONS}
        conditions["except"] = _any_of([_ref("selection"), _NULL])
        mapping = {"type": "object", "properties": conditions, "additionalProperties": False, "minProperties": 1}
        selection = _any_of([mapping, {"type": "string"}, {"type": "array", "items": _ref("selection")}])
        value = _any_of(self._options(float | bool | str | list[float]))
        own = {"params": conditions["except"], "layer_decay": _any_of(self._options(float | None)), "layers": words}
        misplaced = dict.fromkeys(CONDITIONS, False)
        return {
            "type": "object",
            "properties": {"defaults": {}, **misplaced, **own},
            "additionalProperties": value,
        }, selection

    # ---- files

    def file(self, group: str) -> _Schema:
        """Return the schema of a group's files."""
        properties = {"defaults": self._defaults(group, "/{}@")}
        if group == "param_groups":
            rules = {"type": "object", "properties": {"defaults": {}}, "additionalProperties": _ref("rule")}
            return {"type": ["object", "null"], "properties": properties, "anyOf": [_ref("rule"), rules, _NULL]}
        chosen = [
            {"if": {"not": {"required": ["_target_"]}, **_in_defaults({"enum": names})}, "then": _ref(name)}
            for name, names in self._classes[group].items()
        ]
        whole = {"if": {"type": "object"}, "then": _ref(group)}
        return {"type": ["object", "null"], "properties": properties, "allOf": [whole, *chosen]}

    def overlay(self, group: str) -> _Schema:
        """Return the schema of files that set values in all groups, such as experiments and main configs."""
        schema = self._fields(AppConfig)
        properties, docs = schema["properties"], _docs(ExperimentConfig)
        del properties["trust"]  # only the command line can set trust
        for name in GROUPS:
            nodes = [_ref(name), _NULL]
            if name in _SEVERAL:
                choices = {n: _any_of([_ref(c), _NULL]) for c, names in self._classes[name].items() for n in names}
                nodes = [{"type": "object", "properties": choices, "additionalProperties": _any_of(nodes)}]
            if name == "scheduler":
                nodes.append({"type": "array", "items": _ref(name)})
            properties[name] = docs[name] | _any_of(nodes)
        rules = {"type": "object", "additionalProperties": _any_of([_ref("rule"), _NULL])}
        properties["param_groups"] = docs["param_groups"] | _any_of([rules])
        key = "{}" if group == "config" else "override /{}"
        properties["defaults"] = self._defaults(group, key)
        properties["hydra"] = {"type": "object"} if group == "launcher" else _hydra()
        chosen = [
            {
                "if": _in_defaults({"properties": {key.format(g): {"enum": names}}, "required": [key.format(g)]}),
                "then": {"properties": {g: {"if": _WITHOUT_TARGET, "then": _ref(name)}}},
            }
            for g, classes in self._classes.items()
            if g not in _SEVERAL
            for name, names in classes.items()
        ]
        return {**schema, "type": ["object", "null"], "allOf": chosen}

    def _defaults(self, group: str, key: str) -> _Schema:
        """Return the schema of a defaults list in the files of a group.

        ``key`` is a template for the keys in the list, such as ``override /{}``, where ``{}`` is the group.
        """
        groups = [each for each in self._names if each != "config"]
        choice = {}
        for each in groups:
            names = _choices(self._names[each])
            choice[each] = _any_of([names, _NULL, {"type": "array", "items": _any_of([names])}])
        entries = {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {key.format(each): choice[each] for each in groups if not key.endswith("@")},
            "patternProperties": {
                **{f"^(optional )?(override )?/?{each}@": choice[each] for each in groups},
                "^(optional )?override /?hydra/": {},
            },
            "additionalProperties": False,
        }
        own = _choices(["_self_", *self._names[group]])
        return {"type": "array", "items": _any_of([own, {"type": "string", "pattern": "[/@]"}, entries])}


_WITHOUT_TARGET = {"type": "object", "not": {"required": ["_target_"]}}


def _in_defaults(entry: _Schema) -> _Schema:
    return {"required": ["defaults"], "properties": {"defaults": {"type": "array", "contains": entry}}}


def _hydra() -> _Schema:
    whole: _Schema = {"properties": {}}
    for key, about in {**SETTINGS, "hydra.sweeper.params": "Values to sweep, as text: `ssr: 0.5,1`."}.items():
        node = whole
        for part in key.split("."):
            node |= {"type": "object", "additionalProperties": False}
            node = node.setdefault("properties", {}).setdefault(part, {})
        node["description"] = about
    node["additionalProperties"] = {"type": ["string", "number", "boolean", "null"]}
    return dict(whole["properties"]["hydra"])


def _docs(source: Any) -> dict[str, _Schema]:
    """Return a mapping from argument to its description in a class's docstring. The key ``""`` is the summary."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", inspect.getdoc(source) or "").replace("``", "`")
    about = {"": text.partition("\n\n")[0]}
    section = re.search(r"^(?:Args|Attributes):\n((?: +.*\n?|\n)+)", text, re.MULTILINE)
    for names, words in re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE):
        about |= dict.fromkeys(names.split(", "), words)
    return {name: {"description": " ".join(words.split())} for name, words in about.items() if words}
