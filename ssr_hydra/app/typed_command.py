"""Build the command that continues a stopped run or sweep, to print it in a message."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssr_hydra.app.command_line import key_of
from ssr_hydra.settings.resume import AUTO

__all__ = ["STUDY_NAME", "TypedCommand", "quoted"]

STUDY_NAME = re.compile(r"[\w./+-]+")
"""Pattern of the allowed study names."""


@dataclass(frozen=True)
class TypedCommand:
    r"""A command as the user typed it. Its methods return the command that continues the run or sweep.

    Args:
        arguments: Flags and overrides.
        program: The words of the program, such as ``("python", "train.py")``.

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
        if script.suffix != ".py":  # a console script, which the shell finds by name or path
            is_found = shutil.which(script.name) == str(script)
            own = [script.name if is_found else str(script)]
        return cls(tuple(sys.argv[1:]), tuple(own))

    def in_study(self, folder: Path) -> str:
        """Return the command that continues a sweep."""
        value = folder.as_posix() if len(folder.parts) > 1 else f"./{folder}"
        study = (
            f"study={value}"
            if STUDY_NAME.fullmatch(value) and value.isascii()
            else f"hydra.sweep.dir={quoted(str(folder))}"
        )
        fixed = [item for item in self._of({"study", "hydra.sweep.dir"}) if "$" not in item]
        return self._with({"study", "hydra.sweep.dir"} - {key_of(item) for item in fixed}, [] if fixed else [study])

    def in_run(self, folder: Path, resume: str) -> str:
        """Return the command that continues a run from its own newest checkpoint."""
        place = f"hydra.run.dir={quoted(str(folder))}"
        added = [] if place in self.arguments else [place]
        changed = {"hydra.run.dir"} if added else set()
        if resume != AUTO:  # the old path named where the run started, but the run now has its own checkpoint
            changed, added = changed | {"resume", "resume.path"}, [*added, f"resume={AUTO}"]
        return self._with(changed, added)

    def _of(self, keys: Collection[str]) -> list[str]:
        return [item for item in self.arguments if key_of(item) in keys]

    def _with(self, without: Collection[str], added: Sequence[str]) -> str:
        kept = [item for item in self.arguments if key_of(item) not in without]
        return shlex.join([*self.program, *kept, *added])


def quoted(value: str) -> str:
    """Return a text in the form in which it can be the value of an override, in quotes if needed.

    Example:
        >>> quoted("runs/a"), quoted("a,b")
        ('runs/a', '"a,b"')
    """
    if re.fullmatch(r"[\w./+@%-]+", value, re.ASCII):
        return value
    # Backslashes are literal unless they precede a quote or a reference.
    return re.sub(r'(\\*)("|\$\{|$)', lambda found: found[1] * 2 + (found[2] and f"\\{found[2]}"), value).join('""')
