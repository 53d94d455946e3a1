"""Run the code blocks of the documentation, and compare their output with the pages.

A test runs all blocks of a page, from the first to the last, in one empty folder:

- ``python`` blocks share a namespace. If a block begins with a path (``# mylib.py``), it is also written to this file.
- ``bash`` blocks run unchanged. ``train.py``, ``scripts/`` and the console scripts are those of this checkout. A line
  ``cd folder`` also applies to all later blocks.
- A ``yaml`` block that begins with a path (``# mine/experiment/short.yaml``) is written to this file. The app then
  composes it, or the command of ``<!-- compose: python my_app.py --cfg job -->`` does.
- A ``yaml`` block without a path, and a ``text`` block, is the expected output of the block before it. ``...`` stands
  for any text.
- ``json`` blocks are parsed.

A block in any other language is an error. A comment directly above a block changes how the test treats the block:

- ``<!-- skip: reason -->``: the test does not run the block.
- ``<!-- fails -->``: the command of the block must fail.
- ``<!-- overrides: a=b -->``: the composition of a yaml block gets these overrides.
- ``<!-- needs: a, b -->``: the test is skipped if one of these packages is not installed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest
import yaml
from checkout import REPO
from warm import warm

PAGES = sorted([REPO / "README.md", REPO / "CONTRIBUTING.md", *(REPO / "docs").rglob("*.md")])
MAIN_PAGES = [REPO / "README.md", REPO / "docs/guide/time-and-ssr.md"]
LANGUAGES = ("python", "bash", "yaml", "text", "json")
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_MARKER = re.compile(r"^\s*<!--\s*(?P<key>skip|fails|overrides|compose|needs)\s*(?::\s*(?P<value>.*?))?\s*-->\s*$")
_FILE = re.compile(r"^# (?P<path>[\w./-]+\.(?:py|yaml))\s*$")
_COMMAND_SECONDS = 1200  # limits a command that hangs


def page_param(page: Path) -> object:
    """Return the test parameter of a page, marked ``extra`` if a block needs an optional package."""
    needs_packages = any("needs" in block.markers for block in blocks(page))
    return pytest.param(page, id=page.relative_to(REPO).as_posix(), marks=[pytest.mark.extra] if needs_packages else [])


def check_page(page: Path, folder: Path) -> None:
    """Run all blocks of a page in an empty folder, from which the blocks can import modules that they wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        runner = Runner(folder, REPO)
        for block in blocks(page):
            runner.run(block)


@dataclass
class Block:
    """One fenced block of a page: where it begins, its language, its text and the comments above it."""

    page: Path
    line: int
    language: str
    text: str
    markers: dict[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def path(self) -> PurePosixPath | None:
        """The path on the first line of the block, or on the second line if the first line is ``# @package``."""
        first, second = (*self.text.split("\n", 2), "")[:2]
        match = _FILE.match(second if first.startswith("# @package") else first)
        return PurePosixPath(match["path"]) if match else None


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a Markdown page, in order."""
    page_blocks: list[Block] = []
    markers: dict[str, str] = {}
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if marker := _MARKER.match(line):
            markers[marker["key"]] = marker["value"] or ""
            continue
        opening = _FENCE.match(line)
        if opening is None:
            if line.strip():
                markers = {}
            continue
        body = list(_until(opening["fence"], lines, f"{page.name}:{number}"))
        language = (opening["info"].split() or [""])[0].strip("{.}")
        page_blocks.append(Block(page, number, language, textwrap.dedent("\n".join(body)) + "\n", markers))
        markers = {}
    return page_blocks


def _until(fence: str, lines: Iterator[tuple[int, str]], where: str) -> Iterator[str]:
    for _, line in lines:
        if line.strip() == fence:
            return
        yield line
    raise AssertionError(f"{where}: the block is never closed")


def problems(block: Block) -> list[str]:
    """Return an error if a block is malformed before it runs."""
    reasons = []
    if block.language not in LANGUAGES:
        reasons.append(f"language {block.language!r} is not one of {', '.join(LANGUAGES)}")
    if "skip" in block.markers and len(block.markers["skip"]) < 10:
        reasons.append("a skipped block says why: <!-- skip: reason -->")
    if "fails" in block.markers and block.language != "bash":
        reasons.append("only a command can be expected to fail; in Python, catch the error and print it")
    return [f"{block.where}: {problem}" for problem in reasons]


class Runner:
    """Runs a page's blocks in order in one folder."""

    def __init__(self, folder: Path, repo: Path) -> None:
        self.folder = folder
        self.repo = repo
        self.output: str | None = None  # the output of the previous block
        self.cwd = folder  # the working directory of the next command
        self.module = types.ModuleType("docs_page")
        self.environ = self._environ()

    def _environ(self) -> dict[str, str]:
        """Return an environment whose PATH starts with the commands of this checkout."""
        bin_folder = self.folder / ".bin"
        bin_folder.mkdir()
        commands = {
            "python": f'#!/bin/sh\nexec "{warm.python}" "$@"\n',
            "torchrun": f'#!/bin/sh\nexec "{warm.python}" -m torch.distributed.run "$@"\n',
        }
        (bin_folder / "scripts").mkdir()
        for name, target in console_scripts(self.repo).items():
            module, function = target.split(":")
            lines = ["import sys", f"from {module} import {function}", f"sys.exit({function}())", ""]
            (bin_folder / "scripts" / name).write_text("\n".join(lines), encoding="utf-8")
            commands[name] = f'#!/bin/sh\nexec "{warm.python}" "{bin_folder}/scripts/{name}" "$@"\n'
        for name, text in commands.items():
            (bin_folder / name).write_text(text, encoding="utf-8")
            (bin_folder / name).chmod(0o755)
        for name in ("train.py", "scripts"):
            if (self.repo / name).exists():
                (self.folder / name).symlink_to(self.repo / name)
        environ = dict(os.environ)
        environ["PATH"] = os.pathsep.join([str(bin_folder), environ.get("PATH", "")])
        environ["COLUMNS"] = "120"
        return environ

    def run(self, block: Block) -> None:
        """Run one block.

        Raises:
            AssertionError: The output or the exit code differs from the page.
            Exception: The exception of a python block.
        """
        if "skip" in block.markers:
            self.output = None
            return
        for package in re.findall(r"[\w.]+", block.markers.get("needs", "")):
            pytest.importorskip(package)
        if block.path is not None:
            self._write(block)
        getattr(self, f"_run_{block.language}")(block)

    def _write(self, block: Block) -> None:
        assert block.path is not None
        target = self.cwd / block.path
        assert ".." not in block.path.parts, f"{block.where}: the path leaves the folder"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text, encoding="utf-8")

    def _run_python(self, block: Block) -> None:
        # With empty lines in front, the line numbers in a traceback are the line numbers of the page.
        code = compile("\n" * block.line + block.text, str(block.page), "exec", dont_inherit=True)
        printed = io.StringIO()
        sys.modules[self.module.__name__] = self.module  # dataclasses and pickle look up the module by its name
        try:
            with contextlib.redirect_stdout(printed):
                exec(code, self.module.__dict__)
        finally:
            del sys.modules[self.module.__name__]
        self.output = printed.getvalue()

    def _run_bash(self, block: Block) -> None:
        process = self._shell(block.text)
        failed = process.returncode != 0
        assert failed == ("fails" in block.markers), (
            f"{block.where}: exit status {process.returncode}\n{block.text}\n{process.stdout}\n{process.stderr}"
        )
        self.output = process.stdout + process.stderr if failed else process.stdout

    def _run_yaml(self, block: Block) -> None:
        if block.path is None:
            assert self.output is not None, f"{block.where}: neither a path in its first line nor a command before it"
            assert_contained(yaml.safe_load(block.text), yaml.safe_load(self.output), block.where)
            return
        process = self._shell(" ".join(compose_command(block)))
        assert process.returncode == 0, f"{block.where}: does not compose\n{process.stdout}\n{process.stderr}"
        self.output = None

    def _run_text(self, block: Block) -> None:
        assert self.output is not None, f"{block.where}: a text block is output, but no block before it printed any"
        assert matches(block.text, self.output), (
            f"{block.where}: the page shows\n{block.text}\nthe block before it printed\n{self.output}"
        )

    def _run_json(self, block: Block) -> None:
        json.loads(block.text)

    def _shell(self, text: str) -> subprocess.CompletedProcess[str]:
        process = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.cwd,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
        )
        for folder in re.findall(r"^cd ([\w/]+)$", text, re.MULTILINE):  # later blocks run in this folder
            self.cwd /= folder
        return process


def console_scripts(repo: Path) -> dict[str, str]:
    """Return the name and target of each console script in pyproject.toml."""
    text = (repo / "pyproject.toml").read_text(encoding="utf-8")
    table = text.split("[project.scripts]", 1)[1].split("\n[", 1)[0]
    return dict(re.findall(r'^([\w-]+) = "([\w.]+:\w+)"', table, re.MULTILINE))


def compose_command(block: Block) -> list[str]:
    """The command that composes a yaml block: ``mine/group/name.yaml`` as an option, ``mine/name.yaml`` as the root."""
    assert block.path is not None
    if "compose" in block.markers:
        return [block.markers["compose"]]
    parts = block.path.with_suffix("").parts
    assert len(parts) >= 2, f"{block.where}: put the file into a config folder, as in mine/experiment/{block.path}"
    folder, *group, name = parts
    choice = [f"{'/'.join(group)}={name}"] if group else ["--config-name", name]
    return ["ssr-train", "--config-dir", folder, *choice, block.markers.get("overrides", ""), "--cfg", "job"]


def matches(page_output: str, printed: str) -> bool:
    """Return whether a page shows what was printed, apart from white space and ``...`` for omitted text."""
    parts = [re.escape(" ".join(part.split())) for part in page_output.split("...")]
    pattern = r"\s?.*?\s?".join(part.replace(r"\ ", r"\s+") for part in parts)
    return re.fullmatch(pattern, " ".join(printed.split()), re.DOTALL) is not None


def assert_contained(part: object, whole: object, where: str) -> None:
    """Fail unless every key of ``part`` is in ``whole`` with the same value."""
    if isinstance(part, dict) and isinstance(whole, dict):
        for key, value in part.items():
            assert key in whole, f"{where}: {key!r} is not in the output"
            assert_contained(value, whole[key], f"{where}: {key}")
    else:
        assert part == whole, f"{where}: shown {part!r}, printed {whole!r}"
