"""Write a new project with a custom model, data set and metric: ``ssr-train --new NAME``."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import shutil
import sys
from pathlib import Path

from ssr_hydra.app.schema import write_schemas
from ssr_hydra.errors import ConflictError, FormatError, PathError
from ssr_hydra.files import check_length, write_error

TEMPLATE = Path(__file__).with_name("template")
"""The files of the project. Python files end in ``.txt``, so that tools do not count them as code of this package."""

TEMPLATE_NAME = "my_lab"
"""The template's package name, which the name of the project replaces in paths and texts."""


def new_project(name: str) -> str:
    """Write a project into a new folder in the working directory, and return a message with the first commands.

    ``name`` is the name of the folder and of the package in the folder. If a file cannot be written, no file remains.
    """
    _check_name(name)
    folder = Path(name)
    if folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise PathError("--new", name, "must be a new name, or the name of an empty folder", "choose another name")
    temporary = Path(f".{name}.{os.getpid()}.tmp")
    try:
        for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file()):
            target = source.relative_to(TEMPLATE).as_posix().removesuffix(".txt").replace(TEMPLATE_NAME, name)
            (temporary / target).parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8").replace(TEMPLATE_NAME, name)
            (temporary / target).write_text(text, encoding="utf-8")
        write_schemas(str(temporary / ".schema"), str(temporary / "conf"))
        if folder.is_dir():
            folder.rmdir()
        temporary.rename(folder)
    except OSError as error:
        raise write_error(error, folder, 0) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return f"the project {name} is ready; try\n  cd {name}\n  python train.py experiment=waves"


def _check_name(name: str) -> None:
    example = f"write e.g. --new {TEMPLATE_NAME}"
    check_length(name, "--new")
    if not re.fullmatch(r"[a-z](_?[a-z0-9])*", name) or keyword.iskeyword(name):
        raise FormatError("--new", name, "must be a Python name in lower case: letters, digits and single _", example)
    if name in {path.name.partition(".")[0] for path in TEMPLATE.iterdir()} - {TEMPLATE_NAME}:
        raise ConflictError("--new", name, "is the name of another file or folder of the project", example)
    if name in sys.stdlib_module_names or _is_installed(name):
        raise ConflictError("--new", name, "is the name of an installed package or a standard library module", example)


def _is_installed(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # the module is already loaded, but has no spec
        return True
    if spec is None or spec.origin is not None:
        return spec is not None
    # A spec without an origin is a folder without __init__.py. Ignore the folder of the new project itself.
    return any(Path(place) != Path(name).resolve() for place in spec.submodule_search_locations or ())
