"""Every test file on disk is collected: no file is skipped because of its name."""

import re

import pytest
from cases import each
from checkout import REPO

TESTS = REPO / "tests"
TIERS = ("unit", "system", "chaos")
FILES = sorted(TESTS.rglob("test_*.py"))


def ignored(config, path):
    """Return whether pytest ignores a file or folder during collection."""
    return bool(config.hook.pytest_ignore_collect(collection_path=path, config=config))


def test_every_test_file_on_disk_is_collected(request):
    config = request.config
    assert config.getini("python_files") == ["test_*.py", "*_test.py"]
    missed = [
        path.relative_to(TESTS).as_posix()
        for path in FILES
        if any(ignored(config, each) for each in (path, *path.parents) if each.is_relative_to(TESTS))
    ]
    assert missed == []


def test_pytest_collects_folders_of_its_default_ignore_list(request, tmp_path):
    # pytest ignores build, dist and venv by name; a folder of tests was once lost that way.
    folder = tmp_path / "build"
    folder.mkdir()
    assert not ignored(request.config, folder)


def test_every_test_file_belongs_to_unit_or_system_or_chaos():
    outside = [path.relative_to(TESTS).parts for path in FILES if path.relative_to(TESTS).parts[0] not in TIERS]
    assert outside == []


def test_the_command_of_the_readme_runs_unit_and_system_tests(request):
    assert request.config.getini("testpaths") == ["tests/unit", "tests/system"]


def test_ci_runs_every_test():
    """CI runs the command of the README, and then the tests that this command leaves out.

    These are tests in other folders, and tests that were skipped because a package was not installed.
    """
    script = (REPO / ".ci" / "run").read_text(encoding="utf-8")
    assert 'options=(tests -m "chaos or extra or hypothesis" --hypothesis-profile=thorough)' in script
    assert 'python -m pytest "${options[@]}" -n 3 || alone "${options[@]}"' in script
    text = (REPO / "pyproject.toml").read_text(encoding="utf-8")
    (names,) = re.findall(r'^ci = \["ssr-hydra\[([\w,]+)\]"[],]', text, re.MULTILINE)
    assert {"loggers", "launchers", "metrics", "export", "docs", "peers"} <= set(names.split(","))


# Import names of packages. The other packages of the extra ci need no separate test, or are also in the extra dev.
EXTRA = "accelerate|lightning|mlflow|ray|safetensors|timm|torchmetrics|trackio|transformers|wandb"


def test_tests_that_need_the_extra_ci_are_marked():
    # After CI has installed the packages, it selects tests by the marker. A plain importorskip would never run there.
    plain = re.compile(rf"importorskip\(\"(?:{EXTRA})\b")
    assert [path for path in FILES if plain.search(path.read_text(encoding="utf-8"))] == []


def test_tests_named_in_the_docs_and_in_ci_exist():
    pages = [path.read_text(encoding="utf-8") for path in (REPO / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", page)}
    script = (REPO / ".ci/run").read_text(encoding="utf-8")
    for start, choices, end in re.findall(r"(tests/[\w/]+)(?:\{([\w,]+)\})?(\.py)", script):
        named |= {f"{start}{choice}{end}" for choice in choices.split(",")}
    assert "tests/unit/app/test_preflight.py" in named
    assert [name for name in named if not (REPO / name).exists()] == []


def test_failure_in_a_table_of_cases_names_the_failing_case():
    tried = []

    @each("one,other", [(1, 1), (2, 3), (4, 4)])
    def equal(one, other):
        tried.append(one)
        assert one == other

    with pytest.raises(AssertionError, match=r"^equal fails for \{'one': 2, 'other': 3\}: ") as caught:
        equal()
    assert isinstance(caught.value.__cause__, AssertionError)
    assert tried == [1, 2]
