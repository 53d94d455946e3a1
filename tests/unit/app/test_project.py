"""A new project has the files of the guide, and a refused project writes no file."""

import json
import re

import pytest
from checkout import REPO
from doc_blocks import blocks
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf

from ssr_hydra.app import project
from ssr_hydra.app.main import main
from ssr_hydra.app.project import TEMPLATE, new_project
from ssr_hydra.app.schema import schemas

FILES = {path.relative_to(TEMPLATE).as_posix().removesuffix(".txt") for path in TEMPLATE.rglob("*.*")}


@pytest.fixture(scope="module")
def new_lab(tmp_path_factory):
    """A new project in an empty folder."""
    folder = tmp_path_factory.mktemp("new") / "new_lab"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        assert "cd new_lab\n" in new_project("new_lab")
    return folder


def test_guide_shows_the_files_of_the_project(new_lab):
    texts = {str(block.path): block.text for block in blocks(REPO / "docs/guide/bring-your-own.md") if block.path}
    explained = {name for name in FILES if name.startswith(("conf", "my_lab", "train"))} - {"my_lab/__init__.py"}
    assert explained <= set(texts)
    for name in explained:
        text = (new_lab / name.replace("my_lab", "new_lab")).read_text().replace("new_lab", "my_lab")
        written = re.sub(r"^# yaml-language-server.*\n", "", text, flags=re.MULTILINE)
        assert re.sub(rf"^# {name}\n", "", texts[name], flags=re.MULTILINE) == written


def test_new_name_replaces_the_template_name_everywhere(new_lab):
    files = [path for path in new_lab.rglob("*.*") if path.is_file()]
    paths = {path.relative_to(new_lab).as_posix() for path in files}
    assert paths - {f".schema/{name}.json" for name in schemas()} == {
        name.replace("my_lab", "new_lab") for name in FILES
    }
    assert not any("my_lab" in path.read_text() for path in files)


def test_configs_of_the_project_match_the_schemas_of_the_project(new_lab):
    own = schemas(str(new_lab / "conf"))
    files = list((new_lab / "conf").rglob("*.yaml"))
    assert {path.parent.name for path in files} == {"model", "data", "trainer", "experiment"}
    for path in files:
        (line,) = re.findall(r"^# yaml-language-server: \$schema=(.*)$", path.read_text(), re.MULTILINE)
        assert json.loads((path.parent / line).read_text()) == own[path.parent.name]
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        Draft202012Validator(own[path.parent.name]).validate(content)


def test_command_line_overrides_fixed_arguments(capsys, in_tmp, clean_hydra):
    main(["ssr=0.5", "--cfg", "job"], fixed=["ssr=2", "seed=3"])
    assert {"ssr: 0.5", "seed: 3"} <= set(capsys.readouterr().out.splitlines())


NAMES = {
    "two words": ("my lab", "must be a Python name in lower case"),
    "path": ("a/b", "must be a Python name in lower case"),
    "capital": ("MyLab", "must be a Python name in lower case"),  # the same folder as mylab on some file systems
    "letter outside of ASCII": ("labör", "must be a Python name in lower case"),
    "flag": ("-m", "needs a value"),
    "too long": ("a" * 256, "each name in the path must have at most 255 bytes"),
    "standard library": ("json", "is the name of an installed package or a standard library module"),
    "this package": ("ssr_hydra", "is the name of an installed package or a standard library module"),
    "folder of the project": ("conf", "is the name of another file or folder of the project"),
    "file": ("file", "must be a new name, or the name of an empty folder"),
    "folder with files": ("full", "must be a new name, or the name of an empty folder"),
}


@pytest.mark.parametrize(("name", "message"), NAMES.values(), ids=NAMES)
def test_bad_name_is_refused(refused, in_tmp, name, message):
    (in_tmp / "file").write_text("")
    (in_tmp / "full").mkdir()
    (in_tmp / "full/a").write_text("")
    assert message in refused("--new", name)


@pytest.mark.parametrize("argument", ["ssr=0.5", "--config-dir=full", "-m"])
def test_command_for_a_new_project_refuses_other_arguments(refused, in_tmp, argument):
    (in_tmp / "full").mkdir()
    assert "cannot be used" in refused("--new", "new_lab", argument)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["disk", "ctrl-C"])
def test_failed_project_leaves_no_file(app, in_tmp, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(project, "write_schemas", fails)
    answer = app("--new", "new_lab")
    assert answer.code in (1, 130)
    assert answer.err.count("\n") == 1
    assert list(in_tmp.iterdir()) == []
