import pickle

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from omegaconf import OmegaConf
from refusals import refused

from ssr_hydra import configs
from ssr_hydra.app.presets import PresetSource
from ssr_hydra.configs import GROUPS, register
from ssr_hydra.errors import ConflictError, UnknownNameError, WrongTypeError


@pytest.fixture
def empty_store(monkeypatch):
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", {"hydra": store.repo["hydra"]})
    return store


def names(store, group):
    return {name.removesuffix(".yaml") for name in store.list(group)}


def test_register_adds_every_choice_of_every_group(empty_store):
    register(GROUPS)
    for group, choices in GROUPS.items():
        assert names(empty_store, group) == set(choices)
    assert "base_config.yaml" in empty_store.repo


def test_configs_and_their_classes_can_be_pickled():
    """Launchers send configs to other processes."""
    choices = [config for group in GROUPS.values() for config in group.values()]
    classes = [getattr(configs, name) for name in configs.__all__ if name.endswith("Config")]  # also of nested nodes
    for config in (*choices, *(choice() for choice in choices if isinstance(choice, type)), *classes):
        assert pickle.loads(pickle.dumps(config)) == config
    assert configs.PhaseConfig in classes


def test_choices_for_images_and_text_have_their_own_names():
    for group, parts in (("model", ("VISION_MODELS", "LANGUAGE_MODELS")), ("data", ("VISION_DATA", "LANGUAGE_DATA"))):
        choices = [name for part in parts for name in getattr(configs, part)]
        assert choices == list(GROUPS[group])[-len(choices) :]
        assert {*parts} <= {*configs.__all__}


def test_config_of_data_can_be_defined_in_a_module_of_the_user():
    train = configs.DigitsConfig()
    assert configs.data_config("OwnConfig", "Own.", train, train, __name__, batch_size=3)().batch_size == 3
    assert configs.data_config("OwnConfig", "Own.", train, train, __name__).__module__ == __name__


def test_registering_twice_changes_nothing(empty_store):
    register(GROUPS)
    before = {(g, n): id(empty_store.repo[g][n]) for g in GROUPS for n in empty_store.list(g)}
    register(GROUPS)
    assert before == {(g, n): id(empty_store.repo[g][n]) for g in GROUPS for n in empty_store.list(g)}


def test_register_accepts_a_list_of_groups(empty_store):
    register(["scheduler"])
    assert set(empty_store.repo) == {"hydra", "scheduler"}


def test_unknown_group_is_refused(empty_store):
    with refused("groups", UnknownNameError):
        register(["schedulers"])
    with refused("groups", WrongTypeError, match=r"write \['scheduler'\]"):
        register("scheduler")


def test_register_does_not_replace_configs_of_a_different_app(empty_store):
    empty_store.store(group="optimizer", name="adam", node={"mine": 1}, provider="me")
    with refused("optimizer/adam", ConflictError):
        register(GROUPS)
    assert empty_store.repo["optimizer"]["adam.yaml"].node.mine == 1


def test_a_prefix_avoids_conflicts_with_groups_of_the_app(empty_store, clean_hydra, tmp_path):
    empty_store.store(group="scheduler", name="step", node={"mine": 1}, provider="me")
    register(GROUPS, prefix="ssr")
    (tmp_path / "config.yaml").write_text("defaults:\n  - ssr/scheduler@scheduler: product\n  - _self_\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        cfg = compose("config", ["ssr/scheduler@scheduler.factors.decay=polynomial"])
    assert cfg.scheduler.factors.decay._target_ == "ssr_hydra.schedulers.PolynomialScheduler"
    assert cfg.scheduler.factors.warmup.t_warmup == "0.05dur"


def test_configs_of_a_sequence_and_its_phases_have_typed_classes(empty_store):
    register(GROUPS)
    node = empty_store.load("scheduler/sequence.yaml").node
    assert OmegaConf.get_type(node).__name__ == "SequentialSchedulerConfig"
    assert OmegaConf.get_type(node.phases.warmup).__name__ == "PhaseConfig"


def test_app_presets_equal_the_configs_that_register_stores(empty_store):
    """The app has its own config source; an app of a user finds the same presets in the ConfigStore."""
    source = PresetSource("ssr_hydra", "presets://")
    names = [(group, name) for group in ("", *GROUPS) for name in source.list(group, ObjectType.CONFIG)]
    results = {(group, name): source.load_config(f"{group}/{name}".lstrip("/")) for group, name in names}
    register(GROUPS)
    assert {name for group, name in names if group == "scheduler"} == set(GROUPS["scheduler"])
    for (group, name), result in results.items():
        stored = empty_store.load(f"{group}/{name}.yaml".lstrip("/"))
        assert result.config == stored.node
        assert result.header == {"package": stored.package}
        assert not source.is_config(f"{group}/{name}".lstrip("/"))
