"""The launchers that the study knows, against their presets and their plugins."""

from __future__ import annotations

import importlib

import pytest
from checkout import REPO

from ssr_hydra.configs import LAUNCHERS
from ssr_hydra.launchers.traits import TRAITS, Traits, traits_of

_CLASSES = {
    "processes": ("ssr_hydra.launchers.processes", "ProcessLauncher"),
    "basic": ("hydra._internal.core_plugins.basic_launcher", "BasicLauncher"),
    "joblib": ("hydra_plugins.hydra_joblib_launcher.joblib_launcher", "JoblibLauncher"),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher.submitit_launcher", "LocalLauncher"),
    "submitit_slurm": ("hydra_plugins.hydra_submitit_launcher.submitit_launcher", "SlurmLauncher"),
    "ray": ("hydra_plugins.hydra_ray_launcher.ray_launcher", "RayLauncher"),
}


@pytest.mark.parametrize("name", TRAITS)
def test_each_row_names_a_launcher_that_there_is(name: str) -> None:
    module, launcher = _CLASSES[name]
    if TRAITS[name].library is not None:
        pytest.importorskip(module, reason=f"needs hydra-{TRAITS[name].library}-launcher")
    made = getattr(importlib.import_module(module), launcher)
    assert traits_of(f"{module}.{launcher}") is traits_of(made.__name__) is TRAITS[name]


def test_each_preset_has_a_row() -> None:
    presets = [path.read_text() for path in (REPO / "conf/launcher").glob("*.yaml")]
    chosen = {
        line.rpartition(" ")[2] for text in presets for line in text.splitlines() if "override /hydra/launcher:" in line
    }
    assert chosen == set(TRAITS)
    assert set(LAUNCHERS) <= set(TRAITS)


def test_unknown_launcher_has_the_cautious_traits() -> None:
    assert traits_of("mine.Launcher") == Traits()
