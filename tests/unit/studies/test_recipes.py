"""Recipes of runs, and their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_runs import config, write_run

from ssr_hydra.configs import APP_KEYS
from ssr_hydra.studies.recipes import ConfigReader, Recipe, flatten, label_recipes


def recipes(folder: Path, *runs: tuple[dict[str, object], list[str], dict[str, object]]) -> list[str]:
    reader, by_number = ConfigReader(), {}
    for number, (configured, overrides, choices) in enumerate(runs):
        run = write_run(folder / str(number), None, configured, overrides, choices)
        by_number[number] = Recipe.of(run, reader.read(run), "digits")
    return list(label_recipes(by_number).values())  # type: ignore[arg-type]


def test_single_recipe_is_named_by_its_schedule(tmp_path: Path) -> None:
    assert recipes(tmp_path, (config(), ["ssr=1", "optimizer.lr=0.1"], {"scheduler": "wsd"})) == ["wsd"]
    other = tmp_path / "other"
    assert recipes(other, (config(), [], {})) == ["digits"]  # without Hydra's choices, the name of the run is used


def test_recipes_are_named_by_choices_and_overrides_that_differ(tmp_path: Path) -> None:
    labels = recipes(
        tmp_path,
        (config(), ["scheduler=wsd", "+seed=3", "trainer.progress=none"], {"scheduler": "wsd", "model": "conv"}),
        (config(optimizer__lr=0.3), ["optimizer.lr=0.3", "ssr=2"], {"scheduler": "cosine", "model": "conv"}),
    )
    assert labels == ["wsd optimizer.lr=0.1", "cosine optimizer.lr=0.3"]  # lr=0.1 is in the config of the first run


def test_recipes_with_equal_command_lines_are_named_by_their_config(tmp_path: Path) -> None:
    labels = recipes(tmp_path, (config(), [], {}), (config(optimizer__lr=0.5), [], {}))
    assert labels == ["digits optimizer.lr=0.1", "digits optimizer.lr=0.5"]


def test_recipe_names_are_unique() -> None:
    labels = label_recipes(
        {1: Recipe(None, "a"), 2: Recipe(None, "a"), 3: Recipe(None, "a (2)"), 4: Recipe(None, None)}
    )
    assert len(set(labels.values())) == 4
    assert labels[4] == "runs"


def test_recipe_names_are_one_short_line(tmp_path: Path) -> None:
    (label,) = label_recipes({1: Recipe(None, "a\x1b[2J\n" + "b" * 500)}).values()
    assert len(label) == 120
    assert label.isprintable()


def test_runs_of_one_recipe_have_the_same_key(tmp_path: Path) -> None:
    reader = ConfigReader()
    keys = []
    for number, (ssr, seed, lr) in enumerate([(1.0, 0, 0.1), (0.25, 7, 0.1), (1.0, 0, 0.2)]):
        run_config = reader.read(write_run(tmp_path / str(number), None, config(ssr, seed, optimizer__lr=lr)))
        assert run_config is not None
        assert run_config.varied == {"ssr": ssr, "seed": seed, "control": None}
        assert run_config.get("optimizer.lr") == lr
        assert run_config.get("optimizer.lr.deeper") is run_config.get("nothing") is None
        keys.append(run_config.key)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("key", sorted(APP_KEYS))
def test_settings_of_the_app_are_not_part_of_a_recipe(tmp_path: Path, key: str) -> None:
    reader = ConfigReader()
    changed = write_run(tmp_path / "changed", None, config(**{key: "other"}), [f"{key}=other"], {"launcher": "joblib"})
    before = write_run(tmp_path / "before", None, config())  # a record of an older release whose configs lack the key
    one, other = reader.read(before), reader.read(changed)
    assert one is not None
    assert other is not None
    assert one.key == other.key
    recipe = Recipe.of(changed, other, "digits")
    assert (recipe.overrides, recipe.choices) == ({}, {})


@pytest.mark.parametrize(("outer", "inner", "scaled"), [(True, True, True), (False, False, False), (True, False, None)])
def test_warmup_counts_as_scaled_only_if_all_warmups_are_scaled(
    tmp_path: Path, outer: bool, inner: bool, scaled: bool | None
) -> None:
    parts = {"scale_warmup": outer, "phases": {"first": {"scale_warmup": inner}}}
    run_config = ConfigReader().read(write_run(tmp_path / "0", None, config(scheduler=parts)))
    assert run_config is not None
    assert run_config.scaled is scaled


def test_folder_without_a_config_has_no_recipe(tmp_path: Path) -> None:
    assert ConfigReader().read(tmp_path) is None


def test_very_large_config_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "0", None, config())
    (run / ".hydra/config.yaml").write_text("a: b\n" + "#" * 1_000_001)
    with pytest.raises(ValueError, match="more than 1,000,000 bytes"):
        ConfigReader().read(run)
    deep: dict[str, object] = {}
    for _ in range(100):
        deep = {"a": deep or 1}
    with pytest.raises(ValueError, match="too large for a configuration"):
        flatten(deep)


def test_yaml_cannot_create_objects(tmp_path: Path) -> None:
    run = write_run(tmp_path / "0", None, config())
    marker = tmp_path / "made"
    (run / ".hydra/config.yaml").write_text(f"a: !!python/object/apply:os.mkdir ['{marker}']\n")
    with pytest.raises(ValueError, match="incomplete or invalid"):
        ConfigReader().read(run)
    assert not marker.exists()
