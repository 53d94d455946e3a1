"""The resolvers that interpolations in someone else's file may call.

``${oc.env:AWS_SECRET_ACCESS_KEY}`` would put a secret of the user's machine into a run's name, folder and records.
``${oc.decode:...}`` evaluates a text, and this text can call any resolver. So a file may use only references to other
values and the resolvers listed in this module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf.errors import GrammarParseError
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from ssr_hydra.app.targets import walk
from ssr_hydra.errors import FormatError, RangeError, UntrustedError

# These resolvers read only the config, the clock, Python's version and Hydra's description of the run.
_HARMLESS = frozenset({"hydra", "now", "oc.dict.keys", "oc.dict.values", "oc.select", "python_version", "run_id"})
_CALL: Any = OmegaConfGrammarParser.InterpolationResolverContext


def check_interpolations(node: Any, trust: Collection[str], path: str = "") -> None:
    """Refuse a config (plain data) if it calls a resolver that is neither harmless nor trusted.

    Example:
        >>> check_interpolations({"name": "${optimizer.lr}"}, ())
        >>> check_interpolations({"name": "${oc.env:HOME}"}, ())
        Traceback (most recent call last):
        ssr_hydra.errors.UntrustedError: name='${oc.env:HOME}': a file must not call the resolver oc.env; ...
    """
    for place, text in walk(node, path):
        for name in _resolvers(text):
            if name not in _HARMLESS and name not in trust:
                fix = f"write the value on the command line, or add trust=[{name}] if you know what the resolver reads"
                raise UntrustedError(place, text, f"a file must not call the resolver {name}", fix)


def _resolvers(text: Any) -> Iterator[str]:
    """Yield the names of the resolvers that a value calls. A name may itself contain an interpolation."""
    if not isinstance(text, str) or "${" not in text or ":" not in text:
        return
    try:
        nodes: list[Any] = [parse(text)]
    except GrammarParseError:  # OmegaConf will report the error and call no resolver
        return
    while nodes:
        node = nodes.pop()
        if isinstance(node, _CALL):
            yield node.resolverName().getText()
        nodes += getattr(node, "children", None) or ()


_MOST_RESOLVED = 1_000_000
_OF_A_VALUE = 50  # the size of a value is the length of its text plus this number


def check_growth(content: Mapping[str, Any]) -> None:
    """Refuse a config whose references expand to too much text.

    For example, 40 values that each contain the previous value twice expand to a terabyte.

    Also refuse a reference such as ``${${name}}``, whose target is unknown before the inner reference is resolved.
    """
    sizes: dict[str, int] = {}

    def size(node: Any, path: str) -> int:
        if path not in sizes:
            sizes[path] = _OF_A_VALUE  # this ends the recursion if the value refers to itself
            if isinstance(node, Mapping):
                inner = sum(size(value, f"{path}.{key}") for key, value in node.items())
            elif isinstance(node, list):
                inner = sum(size(value, f"{path}.{index}") for index, value in enumerate(node))
            else:
                inner = len(node) if isinstance(node, str) else 0
                inner += sum(size(*_node_at(content, key, path)) for key in _references(node, path))
            sizes[path] = min(inner, _MOST_RESOLVED) + _OF_A_VALUE
            if sizes[path] > _MOST_RESOLVED:
                rule = f"resolves to more than {_MOST_RESOLVED:,} characters"
                raise RangeError(path.lstrip(".") or "config", "${...}", rule, "use fewer references")
        return sizes[path]

    try:
        size(content, "")
    except RecursionError:
        raise RangeError(
            "config", "${...}", "has too many levels of references", "remove the cycle, or use fewer levels"
        ) from None


def _references(text: Any, path: str) -> Iterator[str]:
    """Yield the keys that ``text`` refers to. For ``${table.${name}}``, yield ``name`` and ``table``."""
    starts: list[int] = []
    for mark in re.finditer(r"\$\{|\}", text if isinstance(text, str) else ""):
        if mark[0] == "${":
            starts.append(mark.end())
        elif starts:
            name, colon, arguments = text[starts.pop() : mark.start()].partition(":")
            key = name if not colon else arguments.partition(",")[0] if name.strip().startswith("oc.") else ""
            prefix, nested, _ = key.strip(" \t'\"").partition("${")
            if nested and not prefix.strip("."):
                rule = "must not have a reference whose name starts with a reference"
                raise FormatError(path.lstrip("."), text, rule, "start the name with a key, as in ${table.${name}}")
            if prefix:
                yield prefix.rpartition(".")[0] if nested else prefix


def _node_at(content: Mapping[str, Any], key: str, path: str) -> tuple[Any, str]:
    """Return the value of a key, and the value's dotted path. If a parent node is text, return the parent instead."""
    up = len(key) - len(key.lstrip("."))
    parts = path.split(".")[1:-up] if up else []  # a relative reference: .key is in the same mapping
    parts += [part for part in key.replace("[", ".").replace("]", "").split(".") if part]
    node: Any = content
    place = ""
    for part in parts:
        if isinstance(node, str):
            break
        try:
            node = node[part] if isinstance(node, Mapping) else node[int(part)]
        except (KeyError, TypeError, ValueError, IndexError):
            return None, f"?{key}"
        place = f"{place}.{part}"
    return node, place
