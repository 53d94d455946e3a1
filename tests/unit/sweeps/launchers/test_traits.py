"""The launchers that the study knows, against their presets and their plugins."""

from __future__ import annotations

import pytest
from checkout import REPO
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher

from ssr_hydra.configs import LAUNCHERS
from ssr_hydra.sweeps.launchers.traits import TRAITS, Traits, traits_of


@pytest.mark.parametrize("name", TRAITS)
def test_each_row_names_a_launcher_that_there_is(name: str) -> None:
    found = [each for each in Plugins.instance().discover(Launcher) if each.__name__ == TRAITS[name].launcher]
    if not found and TRAITS[name].library is not None:
        pytest.skip(f"needs hydra-{TRAITS[name].library}-launcher")
    (made,) = found
    assert traits_of(f"{made.__module__}.{made.__name__}") is TRAITS[name]


def test_each_preset_has_a_row() -> None:
    presets = [path.read_text() for path in (REPO / "conf/launcher").glob("*.yaml")]
    chosen = {
        line.rpartition(" ")[2] for text in presets for line in text.splitlines() if "override /hydra/launcher:" in line
    }
    assert chosen == set(TRAITS)
    assert set(LAUNCHERS) <= set(TRAITS)


def test_unknown_launcher_has_the_cautious_traits() -> None:
    assert traits_of("mine.Launcher") == Traits()
