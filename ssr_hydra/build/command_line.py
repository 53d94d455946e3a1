"""What the command line says before Hydra reads it: whom to trust, and where configs are."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ssr_hydra.build.targets import check_trust
from ssr_hydra.errors import InputError

__all__ = ["find_configs", "take_trust"]


def take_trust(overrides: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """``trust`` off the command line. Hydra never sees it, so no file, sweep or saved config can carry it.

    Args:
        overrides: As typed.

    Returns:
        What is trusted, and the other overrides.

    Raises:
        InputError: No list of names; or an override without a key.

    Example:
        >>> take_trust(["ssr=0.5", "trust=[my_package]"])
        (('my_package',), ['ssr=0.5'])
    """
    trust: list[str] = []
    rest: list[str] = []
    for override in overrides:
        if not override.lstrip("+~").partition("=")[0].strip():
            raise InputError("overrides", override, "has no key", "write key=value")
        if not re.match(r"\+{0,2}trust=", override):
            rest.append(override)
            continue
        try:
            value: Any = OverridesParser.create().parse_override(override).value()
        except HydraException as error:
            raise InputError("trust", override.partition("=")[2], "a list of modules", "trust=[my_package]") from error
        trust += check_trust(value if isinstance(value, list) else [value])
    return tuple(trust), rest


def find_configs(args: argparse.Namespace, conf: Path) -> tuple[ConfigSearchPath, frozenset[str]]:
    """Where configs are found, and which of those places come with installed code.

    Args:
        args: With Hydra's ``config_path`` and ``config_dir``.
        conf: Folder of the app's own configs.

    Returns:
        The search path, and the providers of it whose files are trusted.

    Raises:
        InputError: A folder that is not there.
    """
    main = str(conf)
    if args.config_path is not None:
        # Relative to where the person stands, as every path on a command line is.
        main = args.config_path if args.config_path.startswith("pkg://") else str(Path(args.config_path).absolute())
        if not main.startswith("pkg://") and not Path(main).is_dir():
            raise InputError("--config-path", args.config_path, "there is no such folder", "check the path")
    search_path = create_config_search_path(main)
    trusted = {element.provider for element in search_path.get_path() if element.provider is not None}
    trusted.add("ssr_hydra")  # the structured configs, and below the app's own folder beside another main one
    before_schema = SearchPathQuery(provider="schema", path=None)
    if args.config_path is not None:
        trusted.discard("main")
        search_path.prepend("ssr_hydra", str(conf), before_schema)
    if args.config_dir is not None:
        folder = Path(args.config_dir).absolute()
        if not folder.is_dir():
            raise InputError("--config-dir", args.config_dir, "there is no such folder", "check the path")
        search_path.prepend("command-line", f"file://{folder}", before_schema)
    return search_path, frozenset(trusted)
