"""Parse the command line, and build the command that continues a stopped run."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import shutil
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import hydra

from ssr_hydra.errors import ConflictError, FormatError, MissingValueError, PathError, UntrustedError
from ssr_hydra.files import check_length
from ssr_hydra.output import Parser
from ssr_hydra.settings.resume import AUTO

VERSION_BASE: dict[str, Any] = {} if hydra.__version__.split(".")[:2] >= ["1", "4"] else {"version_base": "1.3"}
"""Keyword arguments for Hydra: ``version_base`` for Hydra 1.3, none for Hydra 1.4, which deprecates this argument."""

_MODES = ("run", "cfg", "multirun", "shell_completion", "info", "help", "hydra_help", "schema", "new")
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
NO_DASHES = "write overrides without dashes, for example ssr=0.5"


@dataclass(frozen=True)
class CommandLine:
    """A parsed command line."""

    overrides: tuple[str, ...] = ()  # resume=PATH is stored as resume.path=PATH, and share.keep as share_keep
    mode: str = "run"  # run, multirun, or the name of a flag with its own mode, such as cfg
    show: tuple[str, ...] = ()  # flags for Hydra, such as --cfg job; empty in the modes run and multirun
    config_name: str = "config"
    config_path: str | None = None  # absolute path of the folder of the main config; None for this package's folder
    config_dir: str | None = None  # absolute path of a folder with additional configs
    target: str = ""  # the value of --schema or --new

    @property
    def main_config(self) -> list[str]:
        """The arguments that pass the name of the main config to Hydra; empty for the default name."""
        return [] if self.config_name == "config" else ["--config-name", self.config_name]

    @property
    def package(self) -> str | None:
        """The value of ``--package``; None if this flag is not used."""
        return self.show[self.show.index("--package") + 1] if "--package" in self.show else None

    def is_typed(self, *keys: str) -> bool:
        """Return whether an override sets one of the keys."""
        return self.typed(*keys) is not None

    def typed(self, *keys: str) -> str | None:
        """Return the value of the last override that sets one of the keys; None without such an override."""
        values = [each.partition("=")[2] for each in self.overrides if key_of(each) in keys]
        return values[-1] if values else None


def split_override(override: str) -> tuple[str, str | None]:
    """Return the key and the value of an override.

    The returned key has no leading ``+``, ``++`` or ``~``. The returned value is None if the override has no ``=``.

    Example:
        >>> split_override("++trainer.threads=2"), split_override("~optimizer")
        (('trainer.threads', '2'), ('optimizer', None))
    """
    key, equals, value = override.lstrip("+~").partition("=")
    return key, value if equals else None


def key_of(override: str) -> str:
    """Return the key of an override; see :func:`split_override`."""
    return split_override(override)[0]


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from ssr_hydra.versions import version_line

        print(version_line())
        parser.exit()


def _parser() -> Parser:
    """Return a parser that accepts Hydra's documented flags at any position, as Hydra's parser does since Hydra 1.4."""
    parser = Parser(add_help=False, unknown=NO_DASHES)
    for flags in ("--help -h", "--hydra-help", "--run -r", "--multirun -m", "--shell-completion -sc", "--resolve"):
        parser.add_argument(*flags.split(), action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--info", "-i", const="all", nargs="?", choices=_INFO)
    for flags in ("--package -p", "--config-path -cp", "--config-name -cn", "--config-dir -cd"):
        parser.add_argument(*flags.split())
    for flag in ("--experimental-rerun", "--schema", "--new"):
        parser.add_argument(flag)
    parser.add_argument("--version", action=_Version, nargs=0)
    parser.add_argument("overrides", nargs="*")
    return parser


def parse_command_line(argv: Sequence[str]) -> CommandLine:
    """Parse the arguments of ``ssr-train``.

    Example:
        >>> parse_command_line(["ssr=0.5", "--cfg", "job", "resume=auto"])
        CommandLine(overrides=('ssr=0.5', 'resume.path=auto'), mode='cfg', show=('--cfg', 'job'), ...)
    """
    args = _parser().parse(argv)
    if args.experimental_rerun is not None:
        rule, fix = (
            "is not supported, because a pickle can run code",
            "use --config-path RUN/.hydra --config-name config",
        )
        raise UntrustedError("--experimental-rerun", args.experimental_rerun, rule, fix)
    modes = [mode for mode in _MODES if getattr(args, mode) not in (None, False)]
    if len(modes) > 1:
        flags = ", ".join(f"--{mode.replace('_', '-')}" for mode in modes)
        raise ConflictError("flags", flags, "cannot be used together", "use only one of these flags")
    mode = modes[0] if modes else "run"
    if args.resolve and mode not in ("cfg", "help"):
        raise ConflictError("--resolve", True, "works only with --cfg and --help", "remove --resolve, or add --cfg job")
    for flag in ("--package", "--config-path", "--config-name", "--config-dir"):
        if (value := getattr(args, flag[2:].replace("-", "_"))) is not None:
            if not value:
                raise MissingValueError(flag, value, "needs a value", f"leave out {flag}, or write a value")
            check_length(value, flag)
    if args.package is not None and mode not in ("cfg", "schema", "new"):
        raise ConflictError("--package", args.package, "works only with --cfg", "remove --package, or add --cfg job")
    for override in args.overrides:
        if not key_of(override).strip():
            raise MissingValueError("overrides", override, "has no key", "write key=value")
    others = [each for each in args.overrides if key_of(each) != "trust"]  # a custom script may always add trust
    if mode in ("schema", "new"):
        unused = ("config_path", "config_name", "package", *(["config_dir"] if mode == "new" else []))
        others += [f"--{flag.replace('_', '-')}" for flag in unused if getattr(args, flag) is not None]
        if others:
            rule = f"cannot be used with --{mode}"
            raise ConflictError("arguments", " ".join(others), rule, f"write ssr-train --{mode} {getattr(args, mode)}")
    if mode == "shell_completion":
        typed = " ".join(others)
        if not re.fullmatch(r"(install|uninstall|query)=(bash|fish|zsh)", typed):
            rule = "must be followed by install, uninstall or query, and by bash, fish or zsh"
            raise FormatError("--shell-completion", typed, rule, "e.g. --shell-completion install=bash")
    name, path = (args.config_name or "config").removesuffix(".yaml"), folder_of("--config-path", args.config_path)
    if path is not None and not Path(path, f"{name}.yaml").is_file():  # Hydra would silently use the package's config
        fix = "to repeat a run, use the folder .hydra inside the run's folder; for your own configs, use --config-dir"
        raise PathError("--config-path", args.config_path, f"has no {name}.yaml", fix)
    return CommandLine(
        overrides=tuple(
            re.sub(r"^share\.keep=", "share_keep=", re.sub(r"^resume=(?!\s*\{)", "resume.path=", each))
            for each in args.overrides
        ),
        mode=mode,
        show=_show_flags(args, mode),
        config_name=name,
        config_path=path,
        config_dir=folder_of("--config-dir", args.config_dir),
        target=args.schema or args.new or "",
    )


def _show_flags(args: argparse.Namespace, mode: str) -> tuple[str, ...]:
    if mode in ("run", "multirun"):
        return ()
    flags = [f"--{mode.replace('_', '-')}"]
    if mode in ("cfg", "info"):
        flags.append(getattr(args, mode))
    if args.package is not None:
        flags += ["--package", args.package]
    return (*flags, "--resolve") if args.resolve else tuple(flags)


def folder_of(flag: str, value: str | None) -> str | None:
    """Return the folder that a flag sets, as an absolute path; None if the flag is not used."""
    if value is None:
        return None
    if value.startswith("pkg://"):
        try:
            spec = importlib.util.find_spec(value.removeprefix("pkg://").strip("/").replace("/", "."))
        except ImportError:  # the parent package does not exist
            spec = None
        value = next(iter((spec and spec.submodule_search_locations) or ()), value)
    if not value or not Path(value).is_dir():
        rule = "must be a folder, not a file" if Path(value).is_file() else "folder not found"
        raise PathError(flag, value, rule, "check the path")
    return str(Path(value).absolute())


STUDY_NAME = re.compile(r"[\w./+-]+")
"""Pattern of the allowed study names."""


@dataclass(frozen=True)
class TypedCommand:
    r"""The command that the user typed. The methods return the command that continues the run or sweep.

    Example:
        >>> TypedCommand(("-m", "ssr=0.5,1")).in_study(Path("multirun/a"))
        'ssr-train -m ssr=0.5,1 study=multirun/a'
        >>> TypedCommand(("ssr=0.5", "resume=never"), ("python", "train.py")).in_run(Path("runs/my run"), "never")
        'python train.py ssr=0.5 \'hydra.run.dir="runs/my run"\' resume=auto'
    """

    arguments: tuple[str, ...]
    program: tuple[str, ...] = ("ssr-train",)

    @classmethod
    def here(cls) -> TypedCommand:
        """Return the command that started this process."""
        own = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
        script = Path(sys.argv[0])
        if script.suffix != ".py":  # the user started a console script by its name or path
            is_found = shutil.which(script.name) == str(script)
            own = [script.name if is_found else str(script)]
        return cls(tuple(sys.argv[1:]), tuple(own))

    def in_study(self, folder: Path) -> str:
        """Return the command that continues a sweep."""
        value = folder.as_posix() if len(folder.parts) > 1 else f"./{folder}"
        is_name = STUDY_NAME.fullmatch(value) and value.isascii()
        study = f"study={value}" if is_name else f"hydra.sweep.dir={quoted(str(folder))}"
        keys = {"study", "hydra.sweep.dir"}
        fixed = [item for item in self.arguments if key_of(item) in keys and "$" not in item]
        return self._with(keys - {key_of(item) for item in fixed}, [] if fixed else [study])

    def in_run(self, folder: Path, resume: str) -> str:
        """Return the command that continues a run from the run's newest checkpoint."""
        place = f"hydra.run.dir={quoted(str(folder))}"
        added = [] if place in self.arguments else [place]
        changed = {"hydra.run.dir"} if added else set()
        if resume != AUTO:  # resume from the run's newest checkpoint, not from the checkpoint of the first command
            changed, added = changed | {"resume", "resume.path"}, [*added, f"resume={AUTO}"]
        return self._with(changed, added)

    def _with(self, without: Collection[str], added: Sequence[str]) -> str:
        remaining = [item for item in self.arguments if key_of(item) not in without]
        return shlex.join([*self.program, *remaining, *added])


def quoted(value: str) -> str:
    """Return a text as the value of an override, in quotes if needed.

    Example:
        >>> quoted("runs/a"), quoted("a,b")
        ('runs/a', '"a,b"')
    """
    if re.fullmatch(r"[\w./+@%-]+", value, re.ASCII):
        return value
    # A backslash is literal, except directly before a quote or before ${.
    return re.sub(r'(\\*)("|\$\{|$)', lambda match: match[1] * 2 + (match[2] and f"\\{match[2]}"), value).join('""')
