"""The setting ``launcher=NAME`` chooses a plugin, changes no job, and has clear errors."""

import dataclasses
import inspect
from functools import reduce
from importlib.util import find_spec
from operator import getitem

import pytest
import yaml
from checkout import REPO
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ssr_hydra.configs import GROUPS, LAUNCHERS, ProcessLauncherConfig, StudySweeperConfig, conf_dir, register
from ssr_hydra.sweeps.launchers.processes import ProcessLauncher
from ssr_hydra.sweeps.launchers.traits import TRAITS, Traits, traits_of

PLUGINS = {
    "joblib": "hydra_joblib_launcher",
    "submitit_local": "hydra_submitit_launcher",
    "slurm": "hydra_submitit_launcher",
    "ray": "hydra_ray_launcher",
}
NAMES = sorted(path.stem for path in (REPO / "conf" / "launcher").glob("*.yaml"))


def is_missing(name):
    return name in PLUGINS and find_spec(f"hydra_plugins.{PLUGINS[name]}") is None


def need(name):
    if is_missing(name):
        pytest.skip(f"needs {PLUGINS[name]}")


def launcher(app, *arguments):
    answer = app(*arguments, "--cfg", "hydra", "-p", "hydra.launcher")
    assert answer.code == 0, answer.err
    return yaml.safe_load(answer.out)


def test_the_config_has_the_arguments_of_the_launcher():
    arguments = {name: item.default for name, item in inspect.signature(ProcessLauncher).parameters.items()}
    fields = {item.name: item.default for item in dataclasses.fields(ProcessLauncherConfig) if item.init}
    assert list(fields.items()) == list(arguments.items())


def test_hydra_finds_the_plugins():
    for node, kind in ((ProcessLauncherConfig(3), Launcher), (StudySweeperConfig(), Sweeper)):
        plugin = Plugins.instance().class_name_to_class[node._target_]
        assert isinstance(instantiate(OmegaConf.structured(node), _target_=plugin), kind)


@pytest.mark.usefixtures("clean_hydra")
def test_default_launcher_is_named_processes_and_presets_keep_the_job_config():
    register(GROUPS)
    assert NAMES == ["basic", "joblib", "processes", "ray", "slurm", "submitit_local"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", return_hydra_config=True)
        assert cfg.hydra.launcher == OmegaConf.structured(LAUNCHERS["processes"])
        assert cfg.hydra.sweeper == OmegaConf.structured(StudySweeperConfig)
        plain = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
        for name in NAMES:
            if not is_missing(name):
                assert compose("config", [f"launcher={name}"]) == plain


@pytest.mark.parametrize("name", TRAITS)
def test_every_launcher_in_the_table_of_traits_exists(name):
    plugins = [each for each in Plugins.instance().discover(Launcher) if each.__name__ == TRAITS[name].launcher]
    if not plugins and TRAITS[name].library is not None:
        pytest.skip(f"needs hydra-{TRAITS[name].library}-launcher")
    (plugin,) = plugins
    assert traits_of(f"{plugin.__module__}.{plugin.__name__}") is TRAITS[name]


def test_each_launcher_preset_is_in_the_table_of_traits():
    presets = [path.read_text() for path in (REPO / "conf/launcher").glob("*.yaml")]
    chosen = {
        line.rpartition(" ")[2] for text in presets for line in text.splitlines() if "override /hydra/launcher:" in line
    }
    assert chosen == set(TRAITS)
    assert set(LAUNCHERS) <= set(TRAITS)
    assert traits_of("mine.Launcher") == Traits()  # the conservative defaults


@pytest.mark.parametrize(
    ("name", "typed", "expected"),
    [
        ("joblib", (), {"n_jobs": "${jobs_at_once:${trainer.threads},${trainer.device}}"}),
        ("joblib", ("n_jobs=3",), {"n_jobs": 3}),
        ("slurm", ("partition=gpu",), {"partition": "gpu", "additional_parameters": {"requeue": True}}),
        # submitit counts a signal as a timeout if the time limit is below ten minutes.
        ("slurm", (), {"timeout_min": 240, "max_num_timeout": 1000}),
        ("ray", (), {"ray.remote.max_retries": 0, "ray.init.include_dashboard": False}),
    ],
)
def test_preset_has_the_settings_that_a_sweep_needs(app, name, typed, expected):
    need(name)
    node = launcher(app, f"launcher={name}", *(f"hydra.launcher.{each}" for each in typed))
    assert {key: reduce(getitem, key.split("."), node) for key in expected} == expected


CLUSTER = """\
# @package _global_
defaults:
  - slurm
hydra:
  launcher:
    partition: gpu
"""


def test_custom_preset_keeps_its_settings(app, in_tmp):
    need("slurm")
    folder = in_tmp / "mine" / "launcher"
    folder.mkdir(parents=True)
    (folder / "cluster.yaml").write_text(CLUSTER)
    node = launcher(app, "--config-dir", "mine", "launcher=cluster")
    assert (node["partition"], node["max_num_timeout"]) == ("gpu", 1000)
    # A launcher file that the user names may set hydra.launcher, but no other key of hydra.
    (folder / "cluster.yaml").write_text(CLUSTER + "  callbacks:\n    x:\n      _target_: os.system\n")
    answer = app("--config-dir", "mine", "launcher=cluster", "--cfg", "hydra")
    assert answer.code == 2
    assert "hydra.callbacks.x._target_='os.system': cannot be set in a file (launcher/cluster.yaml)" in answer.err


def test_an_experiment_cannot_choose_a_launcher(app, in_tmp):
    # An experiment may come from another person, but the user chooses the launcher.
    need("slurm")
    for group in ("experiment", "launcher"):
        (in_tmp / "mine" / group).mkdir(parents=True)
    (in_tmp / "mine/launcher/cluster.yaml").write_text(CLUSTER)
    for override in ("/launcher: cluster", "/launcher: slurm"):
        experiment = f"# @package _global_\ndefaults:\n  - override {override}\n"
        (in_tmp / "mine/experiment/x.yaml").write_text(experiment)
        answer = app("--config-dir", "mine", "experiment=x", "--cfg", "hydra")
        assert answer.code == 2
        assert "cannot be chosen in a file (experiment/x.yaml)" in answer.err


@pytest.mark.parametrize("group", ["launcher", "hydra/launcher"])
def test_launcher_is_refused_for_a_single_run(app, in_tmp, group):
    answer = app(f"{group}=basic", "max_duration=2ba")
    rule = f"works only in a sweep, but this is a single run; add -m, or remove {group}"
    assert (answer.code, answer.err) == (2, f"error: {group}='basic': {rule}\n")
    assert list(in_tmp.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "field", "plugin", "extra"),
    [
        ("launcher=joblib", "launcher='joblib'", "hydra-joblib-launcher", "joblib"),
        ("launcher=slurm", "launcher='slurm'", "hydra-submitit-launcher", "submitit"),
        ("hydra/launcher=submitit_slurm", "hydra/launcher='submitit_slurm'", "hydra-submitit-launcher", "submitit"),
    ],
)
def test_error_for_a_missing_plugin_is_one_line(app, monkeypatch, in_tmp, typed, field, plugin, extra):
    # On a machine without the plugin, Hydra's store has no config of the launcher.
    launchers = ConfigStore.instance().repo["hydra"]["launcher"]
    for name in ("joblib", "submitit_local", "submitit_slurm", "ray"):
        monkeypatch.delitem(launchers, f"{name}.yaml", raising=False)
    answer = app("-m", typed, "ssr=0.5,1", "max_duration=2ba")
    needed = f'needs {plugin}, which is not installed; pip install "ssr-hydra[{extra}]"'
    assert (answer.code, answer.err) == (2, f"error: {field}: {needed}\n")
    assert list(in_tmp.iterdir()) == []
    assert f'\n{extra} = ["{plugin}>=' in (REPO / "pyproject.toml").read_text()
