"""Imports load only what they need, and each module lists its public names correctly."""

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter
from contextlib import suppress

import pytest
from checkout import REPO

import ssr_hydra

MODULES = sorted(
    ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")
    for path in (REPO / "ssr_hydra").rglob("*.py")
    if path.name != "__main__.py"
)


SCHEDULES = "; ".join(
    f"import ssr_hydra.{name}"
    for name in ("errors", "metrics", "time", "state", "schedulers", "torch_schedulers", "settings")
)
CHECKS = """
from hydra import compose, initialize_config_dir
from ssr_hydra.app.check import check
from ssr_hydra.configs import GROUPS, conf_dir, register
register(GROUPS)
with initialize_config_dir(str(conf_dir()), version_base="1.3"):
    for overrides in (
        ["scheduler=product"],
        ["scheduler=torch_sequential", "ssr=0.5"],
        ["experiment=byte_lm"],
        ["experiment=resnet50_imagenet", "data.train.root=x"],
        ["experiment=cifar10_resnet18"],
    ):
        check(compose("config", overrides))
"""
CHECKPOINTS = """
from pathlib import Path
from ssr_hydra.checkpoints import CheckpointStore, TimeMap, check_change, differences, find
assert find("auto", Path("missing")) is None and not CheckpointStore(Path("missing")).all()
"""
PREVIEW = """
import ssr_hydra
from ssr_hydra.schedulers import LinearScheduler
shown = ssr_hydra.preview(LinearScheduler(), max_duration="10ep")
shown.table()
"""
READING = """
import json
from pathlib import Path
from ssr_hydra.studies import load, summary
Path("s/0").mkdir(parents=True)
Path("s/0/result.json").write_text(json.dumps({"ssr": 1, "status": "completed", "metrics": {"eval/loss": 1.0}}))
summary(load("s"))
"""


# Each process runs its parts in order, because later parts may load more.
PROCESSES = [
    [
        (SCHEDULES, "torch hydra omegaconf numpy matplotlib sklearn rich"),
        ("import ssr_hydra.configs as c; c.register()", "torch numpy"),
        (CHECKS, "torch torchvision numpy PIL"),
        ("from ssr_hydra.app.schema import schemas; schemas()", "torch torchvision numpy PIL"),
        ("from ssr_hydra.app.project import new_project; new_project('new_lab')", "torch torchvision numpy PIL"),
        ("from ssr_hydra.previews import main; main(['scheduler=rex', '--out', 'b.svg'])", "torch"),
    ],
    [
        ("import ssr_hydra.records, ssr_hydra.metrics_log", "torch"),
        (READING, "torch hydra omegaconf matplotlib"),
        (PREVIEW, "torch hydra matplotlib sklearn"),
        ("shown.save('a.svg')", "torch hydra matplotlib.pyplot"),
        (CHECKPOINTS, "torch"),
        ("import ssr_hydra.models, ssr_hydra.data, ssr_hydra.trainer", "torchvision"),
    ],
]


@pytest.mark.parametrize("parts", PROCESSES)
def test_modules_that_do_not_need_torch_do_not_load_torch(tmp_path, parts):
    code = "import sys\n" + "".join(
        f"{part}\nif loaded := set({heavy.split()}) & set(sys.modules): sys.exit(f'part {number}: {{loaded}}')\n"
        for number, (part, heavy) in enumerate(parts)
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (process.returncode, process.stderr) == (0, "")


def test_package_imports_public_names_on_first_use():
    assert ssr_hydra.Time is importlib.import_module("ssr_hydra.time").Time
    assert set(ssr_hydra.__all__) <= set(dir(ssr_hydra))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ssr_hydra.nothing  # noqa: B018


def problems(name):
    """Return the problems of a module's ``__all__``."""
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    # Constants, classes, then the rest: the linter's order. One list combines the lists of its modules.
    order = sorted(exported, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    checks = {
        "sorted": exported == order or name == "ssr_hydra.configs",
        "unique": len(set(exported)) == len(exported),
        "there": all(hasattr(module, each) for each in exported),
    }
    return [f"{name}: not {check}" for check, holds in checks.items() if not holds]


def test_each_list_of_public_names_is_sorted_and_correct():
    assert [problem for name in MODULES for problem in problems(name)] == []


TREES = {
    path.relative_to(REPO).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((REPO / "ssr_hydra").rglob("*.py"))
}


def test_class_names_are_unique_and_at_most_two_functions_have_the_same_name():
    classes = [node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef)]
    assert [name for name, count in Counter(classes).items() if count > 1] == []
    functions = [node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.FunctionDef)]
    # Every command has these functions, with the same purpose.
    of_commands = {"main", "run", "_parser", "__getattr__"}
    assert {name for name, count in Counter(functions).items() if count > 2} <= of_commands


def test_no_local_variable_has_a_name_such_as_found_or_given():
    acts = set("found made given told shown known kept taken said asked wanted seen held drawn heard done".split())
    functions = [
        (path, node) for path, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    ]
    stored = {
        (path, function.name, node.id)
        for path, function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert [place for place in stored if place[2] in acts] == []


# What each part of the package may import, apart from itself and errors.
_ARROWS = {
    "errors": "",
    "drawing": "",
    "machine": "",
    "metrics": "",
    "output": "",
    "rules": "settings",
    "versions": "",
    "conf": "",
    "files": "",
    "records": "files",
    "metrics_log": "files records",
    "time": "",
    "state": "time",
    "schedulers": "settings state time",
    "torch_schedulers": "schedulers settings time",
    "optim": "rules schedulers settings state time torch_schedulers",
    "settings": "metrics time",
    "configs": "schedulers settings time",
    "data": "settings",
    "models": "data settings",
    "checkpoints": "files settings state time",
    "callbacks": "files records schedulers settings time",
    "trainer": (
        "callbacks checkpoints data files machine metrics metrics_log optim output records rules schedulers settings "
        "state time torch_schedulers"
    ),
    "sweeps": (
        "checkpoints configs files machine metrics_log output records schedulers settings time torch_schedulers "
        "trainer versions"
    ),
    "studies": "files metrics metrics_log records settings sweeps time",
    "report": "drawing files output records schedulers settings state studies time",
    "app": (
        "callbacks checkpoints configs data files metrics metrics_log optim output records report rules schedulers "
        "settings state sweeps time torch_schedulers trainer versions"
    ),
    "previews": "app drawing files output schedulers state sweeps time torch_schedulers versions",
    "train": "app",
    "evaluate": "app",
    "__main__": "app",
    "__init__": "optim previews schedulers state time trainer",
}
ARROWS = {part: set(below.split()) for part, below in _ARROWS.items()}

PAGE = (REPO / "docs/architecture.md").read_text(encoding="utf-8")
LAYERS = {
    part: int(row[1])
    for row in re.finditer(r"^\| (\d+) \| ([^|]+) \|", PAGE, re.MULTILINE)
    for part in re.findall(r"`(\w+)`", row[2])
}
HOPS = re.findall(r"^\d+\. `([\w.]+)`", PAGE, re.MULTILINE)


def imported(tree):
    """Return every module that a file imports, also inside functions."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0  # only absolute imports, because this test would miss relative ones
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules


def test_architecture_page_has_every_module_with_its_layer():
    paths = [path for path in (REPO / "ssr_hydra").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert sorted(ARROWS) == sorted(path.stem for path in paths) == sorted(LAYERS)


def test_arrows_of_the_architecture_page_point_to_lower_layers():
    upward = [(part, other) for part in ARROWS for other in ARROWS[part] if LAYERS[other] >= LAYERS[part]]
    assert upward == []  # so the graph has no cycle


@pytest.mark.parametrize("hop", HOPS)
def test_functions_of_the_architecture_page_exist(hop):
    parts = ["ssr_hydra", *hop.split(".")]
    target = None
    for length in range(len(parts), 0, -1):
        with suppress(ModuleNotFoundError):
            target = importlib.import_module(".".join(parts[:length]))
            break
    for name in parts[length:]:
        target = getattr(target, name)
    assert callable(target)
    assert target.__module__ == ".".join(parts[:length])  # the module that defines it, not one that only imports it


def test_architecture_page_traces_a_run_in_at_most_twelve_steps():
    trace = PAGE.partition("## From the command line")[2]
    assert 2 <= len(re.findall(r"^\d+\. `", trace, re.MULTILINE)) <= 12


@pytest.mark.parametrize("part", ARROWS)
def test_modules_import_only_modules_of_lower_layers(part):
    home = REPO / "ssr_hydra" / part
    files = home.rglob("*.py") if home.is_dir() else [home.with_suffix(".py")]
    names = {name for file in files for name in imported(ast.parse(file.read_text(encoding="utf-8")))}
    below = {name.split(".")[1] for name in names if name.startswith("ssr_hydra.")} - {part, "errors"}
    assert below <= ARROWS[part]
    if part == "configs":
        outside = {name.split(".")[0] for name in names} - {"ssr_hydra", *sys.stdlib_module_names}
        assert outside <= {"hydra", "omegaconf"}
        used = {name for name in names if name.startswith("hydra.")}
        assert used <= {"hydra.core.config_store.ConfigStore", "hydra.plugins.config_source.ConfigLoadError"}
