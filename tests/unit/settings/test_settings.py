"""Settings as arguments: the setting itself, a mapping, or None; and the ways to name a checkpoint."""

from pathlib import Path

import pytest
import torch
from refusals import refused

from ssr_hydra.errors import MismatchError, RangeError, UnknownNameError
from ssr_hydra.settings import ResumeSettings, StepSettings, setting_of
from ssr_hydra.trainer import Trainer


@pytest.mark.parametrize(
    "setting", ["run", Path("run"), {"path": "run"}, {"path": Path("run")}, ResumeSettings("run")], ids=repr
)
def test_resume_may_be_a_path_or_a_mapping_or_a_settings_object(setting):
    resume = ResumeSettings.of(setting)
    assert (str(resume.path), resume.on_change) == ("run", "refuse")


def test_resume_defaults_to_auto():
    assert ResumeSettings.of(None) == ResumeSettings("auto", "refuse") == ResumeSettings.of({})


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ("", "resume.path"),
        ({"path": 3}, "resume.path"),
        ({"on_change": "extends"}, "resume.on_change"),
        ({"onchange": "extend"}, "resume.onchange"),
        (3, "resume"),
    ],
)
def test_error_for_an_invalid_resume_names_the_field(setting, field):
    with refused(field):
        ResumeSettings.of(setting)


def test_error_for_an_unknown_key_of_a_mapping_suggests_the_closest_key():
    with refused(
        "step.acumulate", UnknownNameError, match=r"^step\.acumulate=2: is unknown; did you mean accumulate\?$"
    ):
        setting_of(StepSettings, {"acumulate": 2}, "step")


def test_precision_and_step_precision_must_be_equal():
    model = torch.nn.Linear(4, 3)
    batch = [(torch.randn(2, 4), torch.tensor([0, 1]))]
    options = {"device": "cpu", "progress": "none", "max_duration": "1ba"}
    with refused("precision", MismatchError):
        Trainer(model, batch, precision="fp32", step={"precision": "bf16"}, **options)
    with refused("step.accumulate", RangeError):
        Trainer(model, batch, step={"accumulate": 0}, **options)
    Trainer(model, batch, precision="bf16", step={"precision": "bf16", "accumulate": 2}, **options).fit()
