"""The settings of the runs in a report."""

import json

import pytest
import yaml
from report_study import write_run
from study_runs import config, record, study_of
from study_runs import write_run as write_config_run

from ssr_hydra.report import build
from ssr_hydra.report.page import page
from ssr_hydra.report.what_was_run import setup
from ssr_hydra.studies import from_csv, load

SGD = {"_target_": "torch.optim.SGD", "params": None, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "nesterov": True}
MODEL = {"_target_": "ssr_hydra.models.ConvNet", "in_channels": 1, "widths": [8, 16]}
DATA = {"train": {"_target_": "ssr_hydra.data.Digits", "split": "train", "seed": "${..seed}"}, "batch_size": 16}


def write(folder, **changes):
    """Two SSRs and two seeds of runs with a complete config."""
    for place, (ssr, seed) in enumerate(((0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1))):
        settings = config(ssr, seed, **{"model": MODEL, "data": DATA, "optimizer": SGD, **changes})
        overrides = [f"ssr={ssr}", "optimizer.lr=0.1", f"seed={seed}", "logger.wandb.key=secret"]
        name = folder / f"{changes.get('run', '')}{place}"
        write_config_run(name, record(ssr, seed, 0.9 + 0.01 * seed), settings, overrides)
    return folder


def test_settings_are_read_from_the_run_folders(tmp_path):
    settings = setup(build(load(write(tmp_path / "s"))))
    assert [fact for fact in settings if fact[0] != "schedule"] == [
        ("model", "ConvNet, in_channels 1, widths 8 16"),
        ("data", "digits train; Digits, split train"),  # a different row shows the seed
        ("batch size", "16"),
        ("optimizer", "SGD, momentum 0.9, nesterov"),
        ("learning rate", "0.1"),
        ("SSR 1", "16ep, 100 steps, 1,600 samples, 10 s of training"),
        ("SSRs", "0.5, 1"),
        ("seeds", "2: 0, 1"),
        ("measured by", "eval/accuracy, higher is better"),
        ("overrides", "ssr=0.5,1 optimizer.lr=0.1 seed=0,1"),  # without the keys of loggers
    ]


def test_different_settings_are_listed_for_each_recipe(tmp_path):
    write(tmp_path / "s")
    write(tmp_path / "s", run="b", optimizer={**SGD, "lr": 0.2})
    settings = dict(setup(build(load(tmp_path / "s"))))
    rates = dict(part.split(": ") for part in settings["learning rate"].split("; "))
    assert sorted(rates.values()) == ["0.1", "0.2"]
    assert settings["model"] == "ConvNet, in_channels 1, widths 8 16"


def test_settings_name_every_optimizer(tmp_path):
    both = {"hidden": {"_target_": "a.Muon", "lr": 0.02}, "rest": {"_target_": "torch.optim.AdamW", "lr": 0.001}}
    settings = dict(setup(build(load(write(tmp_path / "s", optimizer=both)))))
    assert settings["optimizer"] == "hidden: Muon; rest: AdamW"
    assert settings["learning rate"] == "0.02, 0.001"


def test_full_length_is_computed_from_the_longest_run(tmp_path):
    write_run(tmp_path / "s/0", ssr=0.25)
    assert dict(setup(build(load(tmp_path / "s"))))["SSR 1"].startswith("16ep, about 1,200 steps, about 19,200 samples")


def test_settings_of_a_csv_study_are_the_file_name_and_the_columns(resnet50):
    content = build(from_csv(resnet50, ssr="ssr", quality="top1", seconds="seconds"))
    settings = dict(setup(content))
    assert settings["table"] == "resnet50.csv, columns ssr,top1,seconds"
    assert settings["SSR 1"] == "6.83 h of training"
    assert "overrides" not in settings


def test_unknown_settings_are_left_out():
    settings = dict(setup(build(study_of({"a": {1.0: [0.8, 0.9]}}))))
    assert list(settings) == ["SSR 1", "SSRs", "seeds", "measured by"]


@pytest.mark.parametrize("text", ["[1, 2", "&a [*a, *a]", "{a: b}", "\xff", "- {a: b}\n- 7"])
def test_invalid_overrides_are_left_out(tmp_path, text):
    write_run(tmp_path / "s/0")
    (tmp_path / "s/0/.hydra/overrides.yaml").write_text(text, encoding="latin-1")
    assert "overrides" not in dict(setup(build(load(tmp_path / "s"))))


def test_html_in_the_settings_is_shown_as_text(tmp_path):
    evil = "<script>window.pwned=1</script>"
    folder = write(tmp_path / "s", model={"_target_": f"m.{evil}", "kind": evil})
    for path in folder.glob("*/.hydra/overrides.yaml"):
        path.write_text(yaml.safe_dump([f"model={evil}"]), encoding="utf-8")
    for path in folder.glob("*/result.json"):
        run_record = json.loads(path.read_text(encoding="utf-8"))
        run_record["data"]["dataset"]["name"] = evil
        path.write_text(json.dumps(run_record), encoding="utf-8")
    text = page(build(load(folder)))
    assert evil not in text
    assert text.count("&lt;script&gt;window.pwned=1&lt;/script&gt;") >= 3


def test_overrides_are_listed_for_each_study(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "two", model={**MODEL, "widths": [4, 8]})
    for path in (tmp_path / "two").glob("*/.hydra/overrides.yaml"):
        path.write_text(yaml.safe_dump([*yaml.safe_load(path.read_text()), "model.widths=[4,8]"]))
    settings = dict(setup(build(load([tmp_path / "one", tmp_path / "two"]))))
    assert settings["overrides of one"] == "ssr=0.5,1 optimizer.lr=0.1 seed=0,1"
    assert settings["overrides of two"] == "ssr=0.5,1 optimizer.lr=0.1 seed=0,1 model.widths=[4,8]"
    assert "overrides" not in settings
