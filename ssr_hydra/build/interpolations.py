"""What an interpolation in somebody else's file may call.

``${oc.env:AWS_SECRET_ACCESS_KEY}`` puts a secret of the reader's machine into a run's name, its folder and its records,
and ``${oc.decode:...}`` makes an interpolation of any text, so that one cannot be found by looking. As with targets,
the list is of what is allowed: references to other values, and the resolvers below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf.errors import GrammarParseError
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from ssr_hydra.errors import InputError

__all__ = ["check_interpolations"]

# They read the config, the clock, Python's version and Hydra's description of the run, and nothing else.
_HARMLESS = frozenset({"hydra", "now", "oc.dict.keys", "oc.dict.values", "oc.select", "python_version", "run_id"})


def check_interpolations(node: Any, trust: Iterable[str], path: str) -> None:
    """Refuse every resolver that is neither harmless nor trusted, wherever it hides.

    Args:
        node: Mappings, lists and scalars, their interpolations not resolved.
        trust: What the person at the command line trusts; a resolver by its name, ``trust=[oc.env]``.
        path: Dotted place of the node, for messages.

    Raises:
        InputError: Naming the place and the resolver.

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
    """Names of the resolvers that a value calls, as they are written: a name may be interpolated itself."""
    if "${" not in text or ":" not in text:
        return []
    try:
        return list(_named_in(parse(text)))
    except GrammarParseError:  # OmegaConf will say so, and calls nothing
        return []


def _named_in(tree: Any) -> Iterator[str]:
    if type(tree) is OmegaConfGrammarParser.InterpolationResolverContext:
        call: Any = tree
        yield call.resolverName().getText()
    for child in getattr(tree, "children", None) or ():
        yield from _named_in(child)
