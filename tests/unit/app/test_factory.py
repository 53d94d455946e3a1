"""Optimizers and schedulers that are created from a config."""

import json
import math
from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig
from refusals import refused
from torch import nn

from ssr_hydra.app.check import check
from ssr_hydra.app.factory import make_fields, make_optimizers, make_schedulers
from ssr_hydra.app.train import build
from ssr_hydra.errors import ConflictError, MismatchError, MissingValueError, UnknownNameError
from ssr_hydra.models import MLP, ConvNet
from ssr_hydra.schedulers import ConstantScheduler, CosineAnnealingScheduler

CPU = torch.device("cpu")
Compose = Callable[..., DictConfig]


def make(composed, model, *overrides):
    return make_optimizers(check(composed(*overrides)), (), model, CPU)


def groups(optimizers, key):
    return {group["name"]: group[key] for optimizer in optimizers for group in optimizer.param_groups}


def test_optimizer_without_rules_gets_the_trainable_parameters_in_order(composed):
    model = ConvNet()
    model.classifier.bias.requires_grad_(False)
    (optimizer,) = make(composed, model, "optimizer=adamw")
    (group,) = optimizer.param_groups
    assert group["params"] == [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert "name" not in group
    assert group["fused"] is True


@pytest.mark.parametrize(
    ("override", "fused"),
    [
        ("optimizer.fused=null", True), ("optimizer.fused=false", False), ("optimizer.foreach=true", None),
        ("optimizer.foreach=false", None), ("optimizer.differentiable=true", None),
    ],
)  # fmt: skip
def test_fused_kernel_is_used_unless_an_override_chooses_another_implementation(composed, override, fused):
    (optimizer,) = make(composed, MLP(), "optimizer=sgd", override)
    assert optimizer.param_groups[0]["fused"] is fused


def test_fused_kernel_is_chosen_separately_for_each_optimizer(composed):
    # Muon has no fused kernel. AdamW has one, and uses it also in groups that rules select.
    muon, adamw = make(composed, MLP(), "optimizer=muon_adamw", "param_groups=no_decay")
    assert "fused" not in muon.defaults
    assert all(group["fused"] is True for group in adamw.param_groups)
    half = MLP().double()
    half.layers[1].weight = nn.Parameter(torch.zeros(128, 64, dtype=torch.complex64))
    (optimizer,) = make(composed, half, "optimizer=adamw")
    assert optimizer.param_groups[0]["fused"] is None


def test_sparse_adam_needs_a_model_with_sparse_embeddings(composed):
    class Counts(nn.Module):
        def __init__(self, sparse):
            super().__init__()
            self.table = nn.EmbeddingBag(16, 4, sparse=sparse)

    (optimizer,) = make(composed, Counts(sparse=True), "optimizer=sparseadam")
    assert len(optimizer.param_groups[0]["params"]) == 1
    for model in (Counts(sparse=False), MLP()):
        with refused("optimizer.params", MismatchError):
            make(composed, model, "optimizer=sparseadam")


def test_muon_trains_hidden_matrices_and_adamw_trains_other_parameters(composed):
    class Language(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(16, 8)
            self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.lm_head = nn.Linear(8, 16)

    model = Language()
    muon, adamw = make(composed, model, "optimizer=muon_adamw", "optimizer.adamw.lr=1e-3")
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert [names[parameter] for parameter in muon.param_groups[0]["params"]] == [
        "block.self_attn.in_proj_weight",
        "block.self_attn.out_proj.weight",
        "block.linear1.weight",
        "block.linear2.weight",
    ]
    assert len(names) == 4 + len(adamw.param_groups[0]["params"])
    assert groups([muon, adamw], "lr") == {"muon": 1e-2, "adamw": 1e-3}
    assert isinstance(muon, torch.optim.Muon)
    assert isinstance(adamw, torch.optim.AdamW)


def test_rules_apply_within_each_optimizer(composed):
    model = MLP(hidden=(8, 8))
    head = "+param_groups.head={params:{layer:-1},lr_scale:10}"
    optimizers = make(composed, model, "optimizer=muon_adamw", "param_groups=no_decay", head)
    assert groups(optimizers, "lr") == {
        "muon": 1e-2,
        "muon.head": 0.1,
        "adamw.no_decay": 1e-2,
        "adamw.no_decay+head": 0.1,
    }
    decay = {"muon": 0.1, "muon.head": 0.1, "adamw.no_decay": 0.0, "adamw.no_decay+head": 0.0}
    assert groups(optimizers, "weight_decay") == decay


def test_a_scale_multiplies_the_default_of_a_custom_optimizer(composed, tmp_path, monkeypatch):
    (tmp_path / "own_optimizer.py").write_text(
        "import torch\n"
        "class Own(torch.optim.SGD):\n"
        "    def __init__(self, params, lr=0.5, momentum=0.25):\n"
        "        super().__init__(params, lr=lr, momentum=momentum)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    values = check(composed("optimizer=custom", "optimizer._target_=own_optimizer.Own"), "own_optimizer")
    values["param_groups"] = {"head": {"params": {"layer": -1}, "lr_scale": 2, "momentum": 0.5}}
    (optimizer,) = make_optimizers(values, ("own_optimizer",), MLP(), CPU)
    assert groups([optimizer], "lr") == {"default": 0.5, "head": 1.0}
    assert groups([optimizer], "momentum") == {"default": 0.25, "head": 0.5}
    values["param_groups"] = {"head": {"params": {"layer": -1}, "momentun": 0.5}}
    with refused("param_groups.head.momentun", UnknownNameError):
        make_optimizers(values, ("own_optimizer",), MLP(), CPU)


@pytest.mark.parametrize(
    ("overrides", "field", "kind"),
    [
        ("optimizer=muon", "optimizer.params", MismatchError),
        ("optimizer=muon_adamw optimizer.muon.params={ndim:4}", "optimizer.muon.params", MismatchError),
        ("optimizer=muon_adamw optimizer.muon.params={ndim:3}", "optimizer.muon.params", UnknownNameError),
        ("optimizer=muon_adamw optimizer.adamw.params={ndim:1}", "optimizer.adamw.params", MissingValueError),
        ("optimizer=sgd optimizer.params={ndim:2}", "optimizer.params", MissingValueError),
        ("+param_groups.a={params:encoder.*,lr:1}", "param_groups.a.params", UnknownNameError),
        ("optimizer=muon_adamw +param_groups.a={momentum:0.5}", "param_groups.a.momentum", UnknownNameError),
    ],
)
def test_config_that_does_not_fit_the_model_is_refused(composed, overrides, field, kind):
    with refused(field, kind):
        make(composed, ConvNet(), *overrides.split())


def test_schedules_of_optimizer_fields_are_built_by_field_name(composed):
    overrides = ("optimizer=adamw", "+scheduler@schedules.weight_decay=cosine", "schedules.weight_decay.alpha_f=0.1")
    fields = make_fields(check(composed(*overrides)), ())
    assert fields == {"weight_decay": CosineAnnealingScheduler(alpha_f=0.1)}
    several = composed("+schedules.momentum=[{_target_:ssr_hydra.schedulers.CosineAnnealingScheduler}]")
    assert make_fields(check(several), ()) == {"momentum": [CosineAnnealingScheduler()]}
    assert make_fields(check(composed()), ()) == {}


def test_each_param_group_follows_its_schedule(composed):
    cfg = composed(
        "~scheduler",
        "+scheduler@scheduler.default=linear",
        "+scheduler@scheduler.head=linear",
        "scheduler.head.alpha_f=0.5",
        "+param_groups.head={params:{layer:-1},schedule:head,lr_scale:10}",
        "max_duration=10ba",
        "trainer.progress=none",
    )
    trainer = build(cfg)
    trainer.fit()
    (optimizer,) = trainer.state.optimizers
    assert groups([optimizer], "lr") == {"default": 0.0, "head": 0.1 * 10 * 0.5}


def test_run_with_every_kind_of_schedule_resumes_bitwise_equal_and_uses_changed_values(composed, in_tmp):
    def trainer(folder, *overrides):
        schedules = ("+scheduler@schedules.weight_decay=cosine", "+scheduler@schedules.beta1=linear")
        optimizers = ("optimizer=muon_adamw", "model=mlp", "param_groups=[no_decay,layer_decay]")
        more = ("checkpoint.interval=4ba", "trainer.log_interval=1ba", "trainer.progress=none")
        return build(composed(*optimizers, *schedules, *more, *overrides), run_dir=in_tmp / folder)

    def kill(trainer, loss):
        if trainer.state.timestamp.batch.value == 6:
            raise InterruptedError

    whole, killed = (trainer(folder, "max_duration=12ba") for folder in ("whole", "parts"))
    whole.fit()
    killed.on("batch_end", kill)
    with pytest.raises(InterruptedError):
        killed.fit()
    resumed = trainer("parts", "max_duration=12ba")
    resumed.fit()
    pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)

    changed = ("optimizer.adamw.betas=[0.6,0.99]", "optimizer.muon.weight_decay=0.4")
    trainer("parts", "max_duration=24ba", "resume.on_change=extend", *changed).fit()
    lines = map(json.loads, (in_tmp / "parts/metrics.jsonl").read_text().splitlines())
    # Batch 18 was trained with the values at timestamp 17 of 24.
    (line,) = (line for line in lines if line["event"] == "train" and line["batch"] == 18)
    cosine = (1 + math.cos(math.pi * 17 / 24)) / 2
    assert list(line["weight_decay"].values()) == pytest.approx([0.4 * cosine, 0.4 * cosine, 0.0, 0.0])
    assert [name.split(".")[0] for name in line["weight_decay"]] == ["muon", "muon", "adamw", "adamw"]
    assert line["beta1"] == pytest.approx(0.6 * (1 - 17 / 24))


def test_schedulers_may_be_a_single_scheduler_a_list_or_a_mapping(composed):
    assert make_schedulers({"scheduler": None}, (), []) is None
    node = {"_target_": "ssr_hydra.schedulers.ConstantScheduler", "alpha": 0.5}
    other = {"_target_": "ssr_hydra.schedulers.CosineAnnealingScheduler"}
    half, cosine = ConstantScheduler(0.5), CosineAnnealingScheduler()
    assert make_schedulers({"scheduler": node}, (), []) == half
    assert make_schedulers({"scheduler": [node, other]}, (), []) == [half, cosine]
    named = {"default": [node, other], "head": node}
    assert make_schedulers({"scheduler": named}, (), []) == {"default": [half, cosine], "head": half}


MINE = """
from torch.optim.lr_scheduler import LRScheduler

class Mine(LRScheduler):
    def __init__(self, optimizer, rate, last_epoch=-1):
        self.rate = rate
        super().__init__(optimizer, last_epoch)
    def get_lr(self):
        return [self.rate for _ in self.base_lrs]
"""


def test_a_custom_scheduler_class_gets_its_optimizer(composed, tmp_path, monkeypatch):
    (tmp_path / "my_schedulers_for_a_test.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    target = "scheduler._target_=my_schedulers_for_a_test.Mine"
    trust = ("my_schedulers_for_a_test",)
    values = check(composed("scheduler=custom", target, "+scheduler.rate=0.25"), trust)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = make_schedulers(values, trust, [optimizer])
    assert scheduler.optimizer is optimizer
    assert optimizer.param_groups[0]["lr"] == 0.25
    with refused("scheduler._target_", ConflictError):
        make_schedulers(values, trust, [optimizer, optimizer])
