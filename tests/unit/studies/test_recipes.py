"""Recipes of runs, and their names."""

import pytest
from study_runs import config, write_run

from ssr_hydra.configs import APP_KEYS
from ssr_hydra.studies.recipes import ConfigReader, Recipe, label_recipes


def recipes(folder, *runs):
    reader, by_number = ConfigReader(), {}
    for number, (configured, overrides, choices) in enumerate(runs):
        run = write_run(folder / str(number), None, configured, overrides, choices)
        by_number[number] = Recipe.of(run, reader.read(run), "digits")
    return list(label_recipes(by_number).values())


def test_single_recipe_is_named_by_its_schedule(tmp_path):
    assert recipes(tmp_path, (config(), ["ssr=1", "optimizer.lr=0.1"], {"scheduler": "wsd"})) == ["wsd"]
    other = tmp_path / "other"
    assert recipes(other, (config(), [], {})) == ["digits"]  # without Hydra's choices, the name of the run is used


def test_recipes_are_named_by_choices_and_overrides_that_differ(tmp_path):
    labels = recipes(
        tmp_path,
        (config(), ["scheduler=wsd", "+seed=3", "trainer.progress=none"], {"scheduler": "wsd", "model": "conv"}),
        (config(optimizer__lr=0.3), ["optimizer.lr=0.3", "ssr=2"], {"scheduler": "cosine", "model": "conv"}),
    )
    assert labels == ["wsd optimizer.lr=0.1", "cosine optimizer.lr=0.3"]  # lr=0.1 is in the config of the first run

    equal = recipes(tmp_path / "equal", (config(), [], {}), (config(optimizer__lr=0.5), [], {}))
    assert equal == ["digits optimizer.lr=0.1", "digits optimizer.lr=0.5"]  # the command lines do not differ


def test_recipe_names_are_unique_short_lines():
    names = ["a", "a", "a (2)", None, "a\x1b[2J\n" + "b" * 500]
    labels = list(label_recipes({place: Recipe(None, name) for place, name in enumerate(names)}).values())
    assert len(set(labels)) == 5
    assert labels[3] == "runs"
    assert len(labels[4]) == 120
    assert labels[4].isprintable()


def test_runs_of_one_recipe_have_the_same_key(tmp_path):
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


def test_settings_without_effect_on_results_are_not_part_of_a_recipe(tmp_path):
    before = ConfigReader().read(write_run(tmp_path / "before", None, config()))  # older configs lack some keys
    assert before is not None
    for key in (*APP_KEYS, "checkpoint__mode", "trainer__progress"):
        overrides = [f"{key.replace('__', '.')}=other"]
        run = write_run(tmp_path / key, None, config(**{key: "other"}), overrides, {"launcher": "joblib"})
        changed = ConfigReader().read(run)
        assert changed is not None
        assert changed.key == before.key
        recipe = Recipe.of(run, changed, "digits")
        assert (recipe.overrides, recipe.choices) == ({}, {})


@pytest.mark.parametrize(("outer", "inner", "scaled"), [(True, True, True), (False, False, False), (True, False, None)])
def test_warmup_counts_as_scaled_only_if_all_warmups_are_scaled(tmp_path, outer, inner, scaled):
    parts = {"scale_warmup": outer, "phases": {"first": {"scale_warmup": inner}}}
    run_config = ConfigReader().read(write_run(tmp_path / "0", None, config(scheduler=parts)))
    assert run_config is not None
    assert run_config.scaled is scaled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b\n" + "#" * 1_000_001, "more than 1,000,000 bytes"),
        ("{a: " * 100 + "1" + "}" * 100, "too large for a configuration"),
        ("a: !!python/object/apply:os.mkdir ['made']\n", "incomplete or invalid"),
    ],
    ids=["large", "deep", "an object"],
)
def test_hostile_config_is_refused(in_tmp, text, message):
    run = write_run(in_tmp / "0", None, config())
    (run / ".hydra/config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        ConfigReader().read(run)
    assert not (in_tmp / "made").exists()
    assert ConfigReader().read(in_tmp) is None  # a folder without a config
