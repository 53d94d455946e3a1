"""JSON Schemas of config files: valid files, detected mistakes, and the files with the schemas."""

import json
import re
from pathlib import Path

import pytest
from checkout import REPO
from doc_blocks import blocks
from jsonschema import Draft7Validator, Draft202012Validator
from omegaconf import OmegaConf

from ssr_hydra.app.schema import schemas
from ssr_hydra.configs import GROUPS
from ssr_hydra.configs.registry import presets
from ssr_hydra.errors import InputError
from ssr_hydra.schedulers.registry import ROWS
from ssr_hydra.time import Time
from ssr_hydra.time.duration import PATTERN

SHIPPED = sorted(path for path in (REPO / "conf").rglob("*.yaml") if path.parts[-3] != "hydra")


@pytest.fixture(scope="module")
def json_schemas():
    return schemas()


def places(schema, text):
    """Return the places in a YAML text at which a schema finds an error."""
    content = OmegaConf.to_container(OmegaConf.create(text), resolve=False) if text.strip() else None
    return sorted({error.json_path for error in Draft202012Validator(schema).iter_errors(content)})


def test_each_file_is_a_json_schema(json_schemas):
    assert set(json_schemas) == {*GROUPS, "param_groups", "config", "experiment", "debug", "launcher"}
    Draft202012Validator.check_schema(json_schemas["param_groups"])
    # Draft 7 has the same keywords, except for prefixItems, and its check is a hundred times faster.
    definitions = {}
    for schema in json_schemas.values():
        assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
        assert all(definitions.setdefault(name, value) == value for name, value in schema["$defs"].items())
        Draft7Validator.check_schema({**schema, "$defs": {}})
    Draft7Validator.check_schema({"definitions": definitions})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(REPO).as_posix())
def test_shipped_file_names_its_schema_and_is_valid(json_schemas, path):
    text = path.read_text(encoding="utf-8")
    (line,) = re.findall(r"^# yaml-language-server: \$schema=(.*)$", text, re.MULTILINE)
    schema = (path.parent / line).resolve()
    assert schema.parent == REPO / ".schema"  # next to conf, as the guide tells users to do it
    assert schema.stem == (path.parent.name if path.parent.name != "conf" else "config")
    assert places(json_schemas[schema.stem], text) == []


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_is_valid(json_schemas, group):
    for preset in presets([group], is_app=False):
        node = OmegaConf.structured(preset.node)
        assert places(json_schemas[group], OmegaConf.to_yaml(node)) == [], preset.path


def test_yaml_files_of_the_guides_are_valid(tmp_path):
    files = [
        block
        for page in sorted((REPO / "docs").rglob("*.md"))
        for block in blocks(page)
        if block.language == "yaml" and block.path and "compose" not in block.markers
    ]
    for block in files:  # so that their names are choices; pages may use one name for different files
        target = tmp_path / Path(*block.path.parts[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text, encoding="utf-8")
    own = schemas(str(tmp_path))
    groups = [(block, Path(*block.path.parts[1:]).parent.as_posix().replace(".", "config")) for block in files]
    checked = [places(own[group], block.text) for block, group in groups if group in own]
    assert len(checked) > 10
    assert checked == [[]] * len(checked)


VALID = {
    "reference": ("experiment", "{ssr: '${a}', max_duration: '${b}ep', trainer: '${c}', seed: '???'}"),
    "own class": ("experiment", "{model: {_target_: my_lab.Net, width: 3}, trainer: {loss: {_target_: a.b, x: 1}}}"),
    "several optimizers": ("experiment", "optimizer: {a: {lr: 0.1}, b: {_target_: my.Optimizer, rate: 1}}"),
    "list of schedulers": ("experiment", "scheduler: [{_target_: ssr_hydra.torch_schedulers.StepLR, step_size: 3}]"),
    "number as text": ("experiment", "{name: 12}"),  # read as "12"
    "null": (
        "experiment",
        "{name: null, control: null, trainer: {eval_interval: null, metrics: {accuracy: null}}, resume: runs/a}",
    ),
    "choice by a list": ("experiment", "defaults: [{override /logger: [csv, tensorboard]}, {override /debug: null}]"),
    "part by its package": ("experiment", "defaults: [{/scheduler@scheduler.factors.x: rex}]"),
    "sweep": ("experiment", "hydra: {mode: MULTIRUN, sweeper: {params: {ssr: '0.5,1'}}}"),
    "main config": ("config", "defaults: [base_config, {scheduler: rex}, _self_, {override hydra/sweeper: study}]"),
    "rule": ("param_groups", "{params: ['*.bias', {except: {ndim: 2}}], lr_scale: 0.1}"),
    "empty file": ("experiment", ""),
}


@pytest.mark.parametrize(("group", "text"), VALID.values(), ids=VALID)
def test_valid_file_has_no_errors(json_schemas, group, text):
    assert places(json_schemas[group], text) == []


TYPOS = {
    # unknown keys
    "top level": ("experiment", "max_duratoin: 10ep", "$"),
    "chosen scheduler": (
        "experiment",
        "{defaults: [{override /scheduler: wsd}], scheduler: {power: 2}}",
        "$.scheduler",
    ),
    "any scheduler": ("experiment", "scheduler: {t_warmpu: 30ba}", "$.scheduler.t_warmpu"),
    "optimizer": ("experiment", "optimizer: {momentun: 0.9}", "$.optimizer.momentun"),
    "phase": ("experiment", "scheduler: {phases: {warmup: {untl: 3ba}}}", "$.scheduler.phases.warmup"),
    "class of this package": ("model", "{_target_: ssr_hydra.models.MLP, hiden: [3]}", "$"),
    "extended preset": ("trainer", "{defaults: [default, _self_], metric: {a: {_target_: x.y}}}", "$"),
    "selection": ("experiment", "param_groups: {a: {params: {nmae: x}, lr: 1}}", "$.param_groups.a.params"),
    "hydra": ("experiment", "hydra: {moed: MULTIRUN}", "$.hydra"),
    "trust": ("experiment", "trust: [my_lab]", "$"),
    # wrong types
    "text for a number": ("experiment", "optimizer: {lr: fast}", "$.optimizer.lr"),
    "number for a list": (
        "experiment",
        "{defaults: [{override /model: mlp}], model: {hidden: 64}}",
        "$.model.hidden",
    ),
    "too short": ("optimizer", "{defaults: [adamw, _self_], betas: [0.9]}", "$.betas"),
    "name for a node": ("experiment", "scheduler: cosine", "$.scheduler"),
    "name for a metric": ("trainer", "{defaults: [default, _self_], metrics: {a: x.y}}", "$.metrics.a"),
    # wrong durations
    "no unit": ("experiment", "max_duration: 10", "$.max_duration"),
    "in a preset": ("scheduler", "{defaults: [wsd, _self_], t_decay: 0.2}", "$.t_decay"),
    "in a list": ("scheduler", "{defaults: [multistep, _self_], milestones: [0.5dur, 3e]}", "$.milestones"),
    "negative": ("experiment", "checkpoint: {interval: -10m}", "$.checkpoint.interval"),
    # unknown choices
    "preset": ("experiment", "defaults: [{override /scheduler: cosin}]", "$.defaults[0]['override /scheduler']"),
    "preset of a part": ("experiment", "defaults: [{/scheduler@scheduler.factors.a: cosin}]", "$.defaults[0]"),
    "group": ("experiment", "defaults: [{override /schedulr: cosine}]", "$.defaults[0]"),
    "precision": ("experiment", "trainer: {precision: bf61}", "$.trainer.precision"),
    "split": ("data", "{defaults: [digits, _self_], eval: {split: test}}", "$.eval.split"),
    "class": ("experiment", "model: {_target_: ssr_hydra.models.ConvNt}", "$.model['_target_']"),
}


@pytest.mark.parametrize(("group", "text", "place"), TYPOS.values(), ids=TYPOS)
def test_typo_is_reported_at_its_key(json_schemas, group, text, place):
    errors = places(json_schemas[group], text)
    assert errors
    assert all(each.startswith(place) for each in errors)


DURATIONS = "10ep 0ba 1/3dur 0.5dur .5dur 1e3ba 2.ep 90s 1h30m 1d2h3m4s 10sec 10 ep -1ep 1e1000ba s m 1/0ep 1m1h 10e"


@pytest.mark.parametrize("text", [*DURATIONS.split(), "", "10 ep", "1_0ep", "10EP", "10ep\n"])
def test_pattern_in_the_schema_matches_all_valid_durations_and_no_other_text(text):
    try:
        Time(text)
    except InputError:
        assert text == "10ep\n" or not re.search(PATTERN, text)  # in JavaScript, $ does not match before a line end
    else:
        assert re.search(PATTERN, text)


def test_files_of_the_user_are_valid_choices_and_may_have_any_keys(tmp_path):
    for name in ("model/net", "lab/fast", "base"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text("a: 1\n")
    own = schemas(str(tmp_path))
    text = "{defaults: [{override /model: net}, {override /lab: fast}], model: {width: 3}}"
    assert places(own["experiment"], text) == []
    assert places(own["experiment"], text.replace("net", "nett")) == ["$.defaults[0]['override /model']"]
    assert places(own["experiment"], text.replace("fast", "slow")) == ["$.defaults[1]['override /lab']"]
    assert places(own["config"], "defaults: [base, {model: net}]") == []
    assert places(schemas()["experiment"], text) != []


def test_documentation_and_defaults_come_from_the_classes(json_schemas):
    ssr = json_schemas["experiment"]["properties"]["ssr"]
    assert ssr["description"] == "Scale schedule ratio. It stretches the schedule and the length of the run."
    assert ssr["default"] == 1.0
    for row in ROWS:
        schema = json_schemas["scheduler"]["$defs"][f"{row.scheduler.__name__}Config"]
        undocumented = [key for key, value in schema["properties"].items() if "description" not in value]
        assert set(undocumented) <= {"defaults", "_target_", "_partial_", "_args_", "_recursive_", "_convert_"}
    wsd = json_schemas["scheduler"]["$defs"]["WarmupStableDecaySchedulerConfig"]["properties"]
    assert wsd["t_warmup"]["default"] == "0.05dur"  # the value of the preset, not the default of the class
    trainer = json_schemas["trainer"]["$defs"]["TrainerConfig"]["properties"]
    assert trainer["accumulate"]["description"].startswith("Number of parts into which a batch is split.")


def test_schema_files_are_replaced_and_other_files_stay(app, in_tmp):
    folder = in_tmp / "a" / ".schema"
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text("old")
    (folder / "other.json").write_text("{}")
    answer = app("--schema", "a/.schema")
    assert (answer.code, answer.err) == (0, "")
    assert "# yaml-language-server: $schema=../../.schema/experiment.json" in answer.out
    assert {path.stem for path in folder.iterdir()} == {*schemas(), "other"}
    assert json.loads((folder / "experiment.json").read_text()) == schemas()["experiment"]


REFUSED = {
    "file": (["--schema", "file"], "--schema='file': must be a folder; write e.g. --schema .schema"),
    "no folder": (["--schema", ""], "--schema='': must be a folder"),
    "no value": (["--schema"], "needs a value"),
    "override": (["--schema", "a", "ssr=0.5"], "arguments='ssr=0.5': cannot be used with --schema"),
    "other mode": (["--schema", "a", "--cfg", "job"], "flags='--cfg, --schema': cannot be used together"),
    "main config": (["--schema", "a", "--config-name", "b"], "cannot be used with --schema"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_schema_folder_is_refused(refused, in_tmp, arguments, message):
    (in_tmp / "file").write_text("")
    assert message in refused(*arguments)
