"""Tests of the documentation: the main pages' code blocks and the docstring examples run, links lead to files.

``tests/chaos/test_docs.py`` runs the code blocks of the other pages.
"""

import doctest
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from enum import Enum
from pathlib import Path

import pytest
from checkout import REPO
from doc_blocks import MAIN_PAGES, PAGES, Runner, blocks, check_page, matches, page_param, problems

import ssr_hydra
import ssr_hydra.schedulers
from ssr_hydra.configs import GROUPS

MODULES = sorted(
    [
        "ssr_hydra",
        *(
            module.name
            for module in pkgutil.walk_packages(ssr_hydra.__path__, "ssr_hydra.")
            if not module.name.endswith("__main__")
            and not module.name.startswith("ssr_hydra.conf.")
            and ">>>" in Path(str(module.module_finder.find_spec(module.name, None).origin)).read_text(encoding="utf-8")
        ),
    ]
)


@pytest.mark.parametrize("page", [page_param(page) for page in MAIN_PAGES])
def test_every_code_block_of_the_main_pages_runs(page, in_tmp, clean_hydra):
    check_page(page, in_tmp)


def test_every_code_block_is_well_formed():
    assert [problem for page in PAGES for block in blocks(page) for problem in problems(block)] == []


def test_every_relative_link_points_to_a_file():
    missing = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'(?:src|href)="([^"#]+)"', text)
        missing += [page.parent / target for target in targets if "://" not in target]
    assert [path for path in missing if not path.exists()] == []


def module_param(name):
    extra = {
        "ssr_hydra.callbacks.mlflow": ["mlflow", "sqlalchemy", "alembic"],
        "ssr_hydra.callbacks.trackio": ["trackio"],
        "ssr_hydra.callbacks.wandb": ["wandb"],
    }
    return pytest.param(name, marks=[pytest.mark.extra(*extra[name])] if name in extra else [])


@pytest.mark.parametrize("name", [module_param(name) for name in MODULES])
def test_docstring_examples_are_correct(name, in_tmp):
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    report = []
    runner = doctest.DocTestRunner(optionflags=flags)
    for case in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(case, out=report.append)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("package", ["ssr_hydra", "ssr_hydra.schedulers"])
def test_every_public_name_has_an_example(package):
    module = importlib.import_module(package)
    without = []
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value):
            if (
                inspect.isabstract(value)
                or issubclass(value, (Enum, Exception))
                or getattr(value, "_is_protocol", False)
            ):
                continue  # used only through the objects that they create
            example = value.__doc__
        elif inspect.isfunction(value):  # one example is enough for a module of small functions
            example = (value.__doc__ or "") + (sys.modules[value.__module__].__doc__ or "")
        else:
            continue
        if ">>>" not in (example or ""):
            without.append(name)
    assert without == []


def test_page_lists_every_scheduler_with_its_picture():
    page = (REPO / "docs/guide/schedulers.md").read_text(encoding="utf-8")
    base_classes = ("Scheduler", "ComposerScheduler")
    for name in ssr_hydra.schedulers.__all__:
        if name.endswith("Scheduler") and name not in base_classes:
            stem = re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Scheduler")).lower()
            assert f"`{name}" in page
            assert f"(../images/gallery/{stem}.svg)" in page


def test_the_page_on_configs_lists_every_choice():
    page = (REPO / "docs/guide/configs.md").read_text(encoding="utf-8")
    for group, choices in GROUPS.items():
        (row,) = re.findall(rf"^\| `{group}` \|(.*)\|$", page, re.MULTILINE)
        shipped = {path.stem for path in (REPO / "conf" / group).glob("*.yaml")}
        assert set(re.findall(r"`(\w+)`", row)) == set(choices) | shipped


# The harness must report errors: a test that passes for any page is useless.


def page_of(folder, text):
    page = folder / "page.md"
    page.write_text(textwrap.dedent(text), encoding="utf-8")
    return blocks(page)


def test_a_code_block_without_a_language_is_an_error(tmp_path):
    (block,) = page_of(tmp_path, "```\nprint(1)\n```\n")
    assert "language ''" in problems(block)[0]


def test_marker_that_skips_a_block_must_give_a_reason(tmp_path):
    (block,) = page_of(tmp_path, "<!-- skip -->\n```bash\nfalse\n```\n")
    assert "says why" in problems(block)[0]


def test_a_code_block_that_is_not_closed_is_an_error(tmp_path):
    with pytest.raises(AssertionError, match="never closed"):
        page_of(tmp_path, "```python\nprint(1)\n")


def test_marker_applies_only_to_the_next_code_block(tmp_path):
    first, second = page_of(tmp_path, "<!-- skip: it would install -->\n\n```bash\na\n```\n\n```bash\nb\n```\n")
    assert first.markers == {"skip": "it would install"}
    assert second.markers == {}
    (third,) = page_of(tmp_path, "<!-- skip: it would install -->\nwords\n```bash\na\n```\n")
    assert third.markers == {}


def test_indented_code_blocks_are_found(tmp_path):
    (block,) = page_of(tmp_path, "!!! note\n    ```python\n    if True:\n        x = 1\n    ```\n")
    assert block.text == "if True:\n    x = 1\n"


def test_python_code_blocks_use_one_namespace_and_their_output_is_compared(tmp_path):
    runner = Runner(tmp_path, REPO)
    shared, printing, wrong = page_of(
        tmp_path, "```python\nx = 3\n```\n```python\nprint('x is', x)\n```\n```text\nx is 4\n```\n"
    )
    runner.run(shared)
    runner.run(printing)
    with pytest.raises(AssertionError, match="x is 3"):
        runner.run(wrong)


def test_python_error_names_the_line_of_the_page(tmp_path):
    (block,) = page_of(tmp_path, "words\n\n```python\nx = 1\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        Runner(tmp_path, REPO).run(block)
    assert caught.traceback[-1].lineno + 1 == 5


def test_failing_command_is_an_error_unless_the_page_announces_the_failure(tmp_path):
    silent, announced, wrong = page_of(
        tmp_path,
        """
        ```bash
        false
        true
        ```
        <!-- fails -->
        ```bash
        exit 3
        ```
        <!-- fails -->
        ```bash
        true
        ```
        """,
    )
    runner = Runner(tmp_path, REPO)
    with pytest.raises(AssertionError, match="exit status 1"):
        runner.run(silent)
    runner.run(announced)
    with pytest.raises(AssertionError, match="exit status 0"):
        runner.run(wrong)


@pytest.mark.parametrize(
    ("page_output", "printed", "same"),
    [
        ("a b", "a  b\n", True),
        ("a b", "a b c", False),
        ("a ... c", "a b b c", True),
        ("a\n...", "a\nb\nc", True),
        ("a (1.5)", "a (1.5)", True),
        ("a (1.5)", "a (125)", False),
        ("... lr 0.1", "step 3 lr 0.1", True),
    ],
)
def test_printed_output_matches_the_output_on_the_page(page_output, printed, same):
    assert matches(page_output, printed) is same
