"""Plain ``hydra.utils.instantiate`` on every choice of scheduler, alone and in containers."""

import dataclasses
import functools

import pytest
import torch
from hydra import compose, initialize, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ssr_hydra.configs import GROUPS, conf_dir, register
from ssr_hydra.schedulers import Scheduler
from ssr_hydra.state import State
from ssr_hydra.torch_schedulers import ReduceLROnPlateau, TorchScheduler

pytestmark = pytest.mark.filterwarnings("ignore:hydra.utils.instantiate")  # Hydra 1.4 wants a whitelist

CONVERT = ("none", "partial", "object", "all")  # the first is Hydra's default
CHOICES = [name for name in GROUPS["scheduler"] if name != "custom"]


# A plain scheduler, compositions by name, and torch schedulers, alone and in a sequence.
KINDS = ("cosine_warmup", "multistep", "product", "sequence", "torch_chained", "torch_plateau", "torch_sequential")


@functools.cache
def composed(name):
    """Compose a choice as an app would that uses only the schedulers of this package."""
    register(["scheduler"])
    with initialize(None, version_base="1.3"):
        return compose(overrides=[f"+scheduler={name}"]).scheduler


@pytest.fixture
def node(request, clean_hydra):
    if request.param in KINDS:
        return composed(request.param)
    node = OmegaConf.structured(GROUPS["scheduler"][request.param])
    if request.param in ("torch_lambda", "torch_multiplicative"):
        node.lr_lambda = {"_target_": "operator.truth", "_partial_": True}
    return node


def check_made(instance, node):
    """Check that the result is the scheduler itself, with plain parts, and can be bound to a run."""
    assert type(instance).__name__ == node._target_.rpartition(".")[2]
    assert "omegaconf" not in repr(
        [(item.name, type(getattr(instance, item.name))) for item in dataclasses.fields(instance)]
    )
    state = State("8ep", dataloader_len=4)
    if isinstance(instance, Scheduler):
        assert 0 <= instance(state, 0.5) <= 1
    elif isinstance(instance, TorchScheduler):
        assert instance.bind(state, 0.5).rates(state.timestamp, [0.1])[0] >= 0
    else:
        assert isinstance(instance, ReduceLROnPlateau)


@pytest.mark.parametrize("node", CHOICES, indirect=True)
def test_every_choice_is_instantiated(node):
    instance = instantiate(node)
    check_made(instance, node)
    if "lr_lambda" not in node:  # functions are created again, so they are never equal
        assert instance == instantiate(node, _convert_="all")


@pytest.mark.parametrize("node", KINDS, indirect=True)
def test_config_keeps_the_type_of_each_argument_in_any_container(node):
    holder = {"lr": 0.1, "default": node, "heads": [node], "optim": {"scheduler": node, "name": "${lr}"}}
    for convert in CONVERT:
        check_made(instantiate(OmegaConf.create([node, node]), _convert_=convert)[1], node)
        whole = instantiate(OmegaConf.create(holder), _convert_=convert)
        for instance in (whole["default"], whole["heads"][0], whole["optim"]["scheduler"]):
            check_made(instance, node)
        assert whole["optim"]["name"] == 0.1


def test_experiment_is_instantiated_as_a_whole(clean_hydra):
    register(GROUPS)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        overrides = ["scheduler=product", "+scheduler@schedules.weight_decay=sequence", "+optimizer._partial_=true"]
        cfg = compose("config", overrides)
    experiment = instantiate(cfg)
    assert isinstance(experiment.model, torch.nn.Module)
    check_made(experiment.scheduler, cfg.scheduler)
    check_made(experiment.schedules.weight_decay, cfg.schedules.weight_decay)
