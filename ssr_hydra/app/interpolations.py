"""The resolvers that interpolations in someone else's file may call.

``${oc.env:AWS_SECRET_ACCESS_KEY}`` would put a secret of the user's machine into a run's name, folder and records, and
``${oc.decode:...}`` makes an interpolation of any text, so dangerous ones cannot be found by searching. As with
targets, only listed ones are allowed: references to other values, and the resolvers below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf.errors import GrammarParseError
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from ssr_hydra.errors import InputError

__all__ = ["check_growth", "check_interpolations"]

# They read only the config, the clock, Python's version and Hydra's description of the run.
_HARMLESS = frozenset({"hydra", "now", "oc.dict.keys", "oc.dict.values", "oc.select", "python_version", "run_id"})


def check_interpolations(node: Any, trust: Iterable[str], path: str) -> None:
    """Refuse every resolver that is neither harmless nor trusted, at any depth.

    Args:
        node: Mappings, lists and scalars, with unresolved interpolations.
        trust: What the command line trusts; a resolver by its name, ``trust=[oc.env]``.
        path: Dotted path of the node, for messages.

    Raises:
        InputError: Names the path and the resolver.

    Example:
        >>> check_interpolations({"name": "${optimizer.lr}"}, (), "")
        >>> check_interpolations({"name": "${oc.env:HOME}"}, (), "")
        Traceback (most recent call last):
        ssr_hydra.errors.InputError: name='${oc.env:HOME}': a file may not call the resolver oc.env; ...
    """
    if isinstance(node, Mapping):
        for key, value in node.items():
            check_interpolations(value, trust, f"{path}.{key}" if path else str(key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            check_interpolations(value, trust, f"{path}[{index}]")
    elif isinstance(node, str):
        for name in _resolvers(node):
            if name not in _HARMLESS and name not in trust:
                fix = f"give the value on the command line, or say trust=[{name}] if you know what it reads"
                raise InputError(path, node, f"a file may not call the resolver {name}", fix)


def _resolvers(text: str) -> list[str]:
    """Yield the names of the resolvers that a value calls, as written: a name may contain interpolations."""
    if "${" not in text or ":" not in text:
        return []
    try:
        return list(_named_in(parse(text)))
    except GrammarParseError:  # OmegaConf will report it, and calls nothing
        return []


def _named_in(tree: Any) -> Iterator[str]:
    if type(tree) is OmegaConfGrammarParser.InterpolationResolverContext:
        call: Any = tree
        yield call.resolverName().getText()
    for child in getattr(tree, "children", None) or ():
        yield from _named_in(child)


_MOST_RESOLVED = 1_000_000
_OF_A_VALUE = 50  # characters that a value costs in addition to its text


def check_growth(content: Mapping[str, Any]) -> None:
    """Refuse references that double repeatedly: 40 lines of them can expand to a terabyte.

    Args:
        content: A composed config, plain, with unresolved references.

    Raises:
        InputError: It would be too large when resolved; or the name of a reference starts with a reference, so that its
            target cannot be known.
    """
    sizes: dict[str, int] = {}

    def size(node: Any, path: str) -> int:
        if path not in sizes:
            sizes[path] = _OF_A_VALUE  # while its own parts are counted; OmegaConf refuses a cycle
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
                raise InputError(path.lstrip(".") or "config", "${...}", rule, "refer to less")
        return sizes[path]

    try:
        size(content, "")
    except RecursionError:
        raise InputError("config", "${...}", "refers too deeply", "look for a cycle") from None


def _references(text: Any, path: str) -> Iterator[str]:
    """Yield the keys that a value refers to; if the end of a key is a reference, the part before it."""
    starts: list[int] = []
    position = 0
    while isinstance(text, str) and (position := _next(text, position)) >= 0:
        if text[position] == "$":
            starts.append(position + 2)
        elif starts:
            name, colon, arguments = text[starts.pop() : position].partition(":")
            key = name if not colon else arguments.partition(",")[0] if name.strip().startswith("oc.") else ""
            known, nested, _ = key.strip(" \t'\"").partition("${")
            if nested and not known.strip("."):
                rule = "must not begin the name of a reference with a reference"
                raise InputError(path.lstrip("."), text, rule, "begin it with a key, as in ${table.${name}}")
            if known:
                yield known.rpartition(".")[0] if nested else known
        position += 1


def _next(text: str, position: int) -> int:
    """Return where the next reference starts or ends."""
    found = [place for place in (text.find("${", position), text.find("}", position)) if place >= 0]
    return min(found, default=-1)


def _node_at(content: Mapping[str, Any], key: str, path: str) -> tuple[Any, str]:
    """Return the value of a key with its path; or a value on the way that is a reference; or None."""
    up = len(key) - len(key.lstrip("."))
    parts = path.split(".")[1:-up] if up else []  # relative: one dot is a key next to this one
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
