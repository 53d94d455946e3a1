"""The wheel and the editable install are complete, and their commands work in any folder."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkout import REPO
from doc_blocks import console_scripts


def python(*arguments, cwd, **environ):
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, f"{arguments}\n{process.stdout}\n{process.stderr}"
    return process


def run(command, *arguments, cwd):
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    process = subprocess.run(
        [str(command), *arguments],
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, f"{command} {arguments}\n{process.stdout}\n{process.stderr}"
    return process.stdout


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Return a copy of the packaged files, so that the build does not use or write other files of the checkout."""
    copy = tmp_path_factory.mktemp("sources") / "ssr_hydra"  # the folder of a clone may have this name too
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, copy / name)
    for name in ("ssr_hydra", "hydra_plugins", "conf"):
        shutil.copytree(REPO / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="session")
def wheel(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    arguments = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder]
    python(*arguments, sources, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def fresh_venv(folder):
    """Create an environment that uses the dependencies of this environment. Return its bin folder.

    Python ignores .pth files in the folders that a .pth file adds. So the new environment does not find an editable
    install of this package in the current environment.
    """
    python("-m", "venv", "--without-pip", folder, cwd=folder.parent)
    borrowed = {entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))}
    (packages,) = [*folder.glob("lib/python*/site-packages"), *folder.glob("Lib/site-packages")]
    (packages / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n", encoding="utf-8")
    return folder / ("Scripts" if sys.platform == "win32" else "bin")


def install(target, bin_folder, *options, cwd):
    arguments = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed"]
    python("-m", "pip", "--python", bin_folder / "python", *arguments, *options, target, cwd=cwd)


@pytest.mark.parametrize("how", ["wheel", "editable"])
def test_installed_commands_find_their_configs(how, sources, request, tmp_path):
    bin_folder = fresh_venv(tmp_path / "venv")
    if how == "wheel":
        install(request.getfixturevalue("wheel"), bin_folder, cwd=tmp_path)
    else:
        install(sources, bin_folder, "--editable", cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    where = run(bin_folder / "python", "-c", "import ssr_hydra; print(ssr_hydra.__file__)", cwd=elsewhere)
    assert Path(where.strip()).is_relative_to(tmp_path / "venv" if how == "wheel" else sources)
    # Next to a checkout with the name of the package, Python could import the checkout instead of the package.
    assert run(bin_folder / "python", "-c", "import ssr_hydra; print(ssr_hydra.Time('1ep'))", cwd=sources.parent)
    assert run(bin_folder / "python", "-m", "ssr_hydra", "--cfg", "job", cwd=sources.parent)

    printed = run(bin_folder / "ssr-train", "scheduler=cosine_warmup", "ssr=0.5", "--cfg", "job", cwd=elsewhere)
    assert "ssr: 0.5" in printed
    if how == "editable":
        return
    assert "ssr" in run(bin_folder / "ssr-preview", "--help", cwd=elsewhere).lower()
    assert [path for path in elsewhere.iterdir() if path.name != "outputs"] == []

    sweep = ("-m", "max_duration=5ba", "seed=0", "hydra.sweep.dir=sweep", "study_report=false")
    run(bin_folder / "ssr-train", *sweep, cwd=elsewhere)  # the sweep uses the plugins of the package
    assert json.loads((elsewhere / "sweep/0/result.json").read_text(encoding="utf-8"))["steps"] == 5


def test_wheel_contains_only_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        entry_points = archive.read(next(n for n in archive.namelist() if n.endswith("entry_points.txt"))).decode()
    expected = {
        path.relative_to(REPO).as_posix()
        for package in ("ssr_hydra", "hydra_plugins")
        for path in (REPO / package).rglob("*")
        if path.suffix in (".py", ".pyi") or path.name == "py.typed" or ("template" in path.parts and path.is_file())
    } | {
        f"ssr_hydra/{path.relative_to(REPO).as_posix()}"
        for path in (REPO / "conf").rglob("*")
        if path.suffix in (".py", ".yaml")
    }
    assert names == expected
    for script, target in console_scripts(REPO).items():
        assert f"{script} = {target}" in entry_points
