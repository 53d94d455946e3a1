"""Tests of the metadata of the package, and of the commands that README and ``.ci/run`` share."""

import re
from importlib import metadata

from checkout import REPO

PYPROJECT = (REPO / "pyproject.toml").read_text(encoding="utf-8")


def test_every_package_is_listed_in_pyproject():
    listed = re.findall(
        r'^  "(ssr_hydra[\w.]*)",$', PYPROJECT.split("packages = [", 1)[1].split("]", 1)[0], re.MULTILINE
    )
    tree = {".".join(path.parent.relative_to(REPO).parts) for path in (REPO / "ssr_hydra").rglob("__init__.py")} | {
        "ssr_hydra.conf"
    }
    assert listed == sorted(tree)


def test_version_is_the_same_everywhere():
    import ssr_hydra

    (declared,) = re.findall(r'^version = "(.+)"$', PYPROJECT, re.MULTILINE)
    assert ssr_hydra.__version__ == declared
    assert f"\nversion: {declared}\n" in (REPO / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(declared)}\b", changelog, re.MULTILINE)
    try:
        installed = metadata.version("ssr-hydra")
    except metadata.PackageNotFoundError:
        return  # run from a checkout that is not installed
    assert installed == declared


def test_the_readme_and_the_checks_run_the_same_test_command():
    (command,) = re.findall(r'^(python -m pip install -e "\.\[dev\]" && python -m pytest.*)$', _read("README.md"), re.M)
    assert command in [line.strip() for line in _read(".ci/run").splitlines()]


def test_the_readme_installs_and_runs_the_main_job_in_one_line():
    assert re.search(
        r"^python -m pip install -e \. && python train\.py scheduler=cosine_warmup ssr=0\.5$", _read("README.md"), re.M
    )


def _read(name):
    return (REPO / name).read_text(encoding="utf-8")


def test_class_variables_have_a_type():
    # Python 3.10 cannot read the hints of a dataclass with a bare ClassVar, and the app reads them when it starts.
    sources = [path.read_text(encoding="utf-8") for path in (REPO / "ssr_hydra").rglob("*.py")]
    assert [line for text in sources for line in re.findall(r".*: ClassVar(?!\[).*", text)] == []
