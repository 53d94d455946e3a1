"""Errors of composition in one line; test_cli.py has the errors that Hydra itself raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssr_hydra.app.check import check
from ssr_hydra.app.messages import explain
from ssr_hydra.errors import InputError


def raised(make: Any) -> BaseException:
    with pytest.raises(OmegaConfBaseException) as caught:
        make()
    return caught.value


def test_input_error_is_found_in_the_causes_of_another_error() -> None:
    inner = InputError("a", 1, "b", "c")
    outer = ConfigCompositionException("outside")
    outer.__cause__ = ValueError("between")
    outer.__cause__.__context__ = inner
    assert explain(outer) is inner


def test_error_for_a_misspelt_key_suggests_the_closest_key() -> None:
    node = OmegaConf.create({"warmup": 1, "decay": 2})
    OmegaConf.set_struct(node, True)
    error = explain(raised(lambda: node.warmpu))
    assert (error.field, error.fix) == ("warmpu", "did you mean warmup?")


def test_error_shows_the_value_of_an_interpolation() -> None:
    error = explain(raised(lambda: OmegaConf.create({"a": "${nowhere}"}).a))
    assert (error.field, error.value) == ("a", "${nowhere}")


def test_error_for_a_missing_value_says_how_to_set_it() -> None:
    error = explain(raised(lambda: OmegaConf.create({"a": {"b": "???"}}).a.b))
    assert (error.field, error.fix) == ("a.b", "set a.b=...")


def test_error_says_that_a_mapping_cannot_replace_a_list() -> None:
    error = explain(raised(lambda: OmegaConf.merge({"points": [1]}, {"points": {"a": 1}})))
    assert "a mapping cannot replace a list" in str(error)


@pytest.mark.parametrize("message", ["", "\n\n", "several\nlines\n"])
def test_any_hydra_error_becomes_one_line(message: str) -> None:
    assert "\n" not in str(explain(HydraException(message)))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("lr=0.1", "lr='0.1': unknown key; did you mean optimizer.lr?"),
        ("epochs=5", "epochs='5': unknown key; did you mean max_duration=5ep?"),  # as in other training libraries
        ("max_steps=100", "max_steps='100': unknown key; did you mean max_duration=100ba?"),
        ("learning_rate=0.1", "learning_rate='0.1': unknown key; did you mean optimizer.lr=0.1?"),
        (
            "optimizer=muon_adamw lr=0.1",
            "lr='0.1': unknown key; did you mean optimizer.muon.lr or optimizer.adamw.lr?",
        ),
        ("lrr=0.1", "lrr='0.1': unknown key; choose from name, ssr, "),
        ("~lrr", "lrr='~lrr': not found in the config; remove ~lrr"),
        ("~optimizer.betas=3", "optimizer.betas='~optimizer.betas': not found in the config; remove ~optimizer.betas"),
        ("+foo=1 ~foo=2", "foo='2': is not the value of foo in the config (1); to delete foo, write ~foo"),
        ("+experiment=digits_wsd", "experiment='digits_wsd': already exists; to change it, drop the +: exp"),
        ("+model=conv model=mlp", "model='mlp': already exists; to change it, drop the +: model=mlp"),
        (
            "++scheduler=wsd",
            "scheduler='wsd': cannot be set with ++, because it is a group; write scheduler=wsd to change it, or "
            "+scheduler=wsd to add it",
        ),
        ("callbacks=[emma]", "callbacks='emma': unknown choice; did you mean ema?"),
        ("param_groups=[no_decy]", "param_groups='no_decy': unknown choice; did you mean no_decay?"),
        ("callbacks.ema.decay=.5", "callbacks.ema.decay='.5': unknown key callbacks.ema; choose it: callbacks=[ema]"),
        (
            "schedules.weight_decay=cosine",
            "schedules.weight_decay='cosine': unknown key; choose it: +scheduler@schedules.weight_decay=cosine",
        ),
        (
            "optimizer=muon_adamw optimizer.lr=0.1",
            "optimizer.lr='0.1': unknown key; write optimizer.muon.lr or optimizer.adamw.lr",
        ),
        (
            "callbacks.mine.x=1",
            "callbacks.mine.x='1': unknown key callbacks.mine; to add it, write +callbacks.mine.x=1",
        ),
        (
            "trainer.loss={_target_:a.b,_partial_:true}",
            "trainer.loss._partial_=None: unknown key; to add it, write '+trainer.loss={_target_:a.b,_partial_:true}'",
        ),
        ("~callbacks", "callbacks='~callbacks': has no choice to remove; for none, write callbacks=[]"),
        (
            "optimizer=custom optimizer._target_=torch.optim.SGD",
            "optimizer.lr=None: is missing; set optimizer.lr, or choose the preset with optimizer=sgd (in a YAML file, "
            "with defaults: [sgd, _self_])",
        ),
        (
            "+callbacks.e._target_=ssr_hydra.callbacks.EMA",
            "callbacks.e.decay=None: is missing; set callbacks.e.decay, or choose the preset with callbacks=[ema] (",
        ),
        ("checkpoint.enabled=maybe", "checkpoint.enabled='maybe': must be true or false; e.g. checkpoint.enabled=true"),
        (
            "scheduler=torch_cosine scheduler.T_max=10.5",
            "scheduler.T_max='10.5': must be a whole number or text such as a time; "
            "e.g. scheduler.T_max=10 or scheduler.T_max=0.5dur",
        ),
        (
            "optimizer=adam optimizer.betas=0.9",
            "optimizer.betas='0.9': must be a list; write optimizer.betas=[0.9,0.999]",
        ),
        (
            "~scheduler +scheduler=[{_target_:a},{_target_:b}]",
            "scheduler='[{_target_:a},{_target_:b}]': the command line cannot contain a list of mappings; write the "
            "list in the YAML file of an experiment",
        ),
        ("trust=nowhere_to_be_found.a", "trust='nowhere_to_be_found.a': module nowhere_to_be_found not found; "),
    ],
)
def test_error_names_the_wrong_value_and_a_valid_value(refused: Callable[..., str], typed: str, message: str) -> None:
    assert refused(*typed.split()).startswith(f"error: {message}")


@pytest.mark.parametrize(
    "typed",
    [
        "optimizer=adamw +scheduler@schedules.weight_decay=cosine",
        "optimizer=adam optimizer.betas=[0.9,0.999]",
        "scheduler=torch_cosine scheduler.T_max=0.5dur",
        "+trainer.loss={_target_:torch.nn.CrossEntropyLoss,label_smoothing:0.2}",
        "logger=[] callbacks=[] param_groups=[]",
        "~experiment",
    ],
)
def test_values_that_messages_suggest_are_valid(composed: Callable[..., DictConfig], typed: str) -> None:
    check(composed(*typed.split()))


def test_error_for_an_unknown_choice_in_a_file_names_the_file(
    refused: Callable[..., str], mine: Callable[[str, str], None]
) -> None:
    mine("experiment/x", "# @package _global_\ndefaults:\n  - override /logger: [cvs]\n")
    assert refused("--config-dir", "mine", "experiment=x").startswith("error: logger='cvs': unknown choice")
