"""The weights that a completed run writes: ``checkpoint.export``."""

import importlib.util

import pytest
import torch
from omegaconf import OmegaConf
from refusals import refused
from torch import nn

from ssr_hydra.app.check import check
from ssr_hydra.app.evaluate import evaluate
from ssr_hydra.app.train import train
from ssr_hydra.callbacks import EMA
from ssr_hydra.data import TensorLoader
from ssr_hydra.errors import FormatError, MissingValueError, NotInstalledError, WrongTypeError
from ssr_hydra.records import RunResult
from ssr_hydra.settings import CheckpointSettings
from ssr_hydra.trainer import Trainer

NEEDS_SAFETENSORS = pytest.mark.extra("safetensors")
NAME = "model.safetensors"


class Tied(nn.Module):
    """A model in which ``a`` and ``b`` share a weight. The weight of the head is not contiguous."""

    def __init__(self):
        super().__init__()
        self.b, self.a = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.b.weight = self.a.weight
        self.head = nn.Linear(4, 3)
        self.head.weight = nn.Parameter(torch.randn(4, 3).T)  # not contiguous

    def forward(self, inputs):
        return self.head(self.b(self.a(inputs)))


def small(run_dir, model=None, export=NAME, **options):
    torch.manual_seed(0)
    loaders = [TensorLoader([torch.randn(12, 4), torch.arange(12) % 3], 2) for _ in range(2)]
    model = nn.Linear(4, 3) if model is None else model
    options = {"device": "cpu", "progress": "none", "max_duration": "6ep", "ssr": 0.5, **options}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Trainer(model, *loaders, optimizer, run_dir=run_dir, checkpoint={"export": export}, **options)


def read(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@NEEDS_SAFETENSORS
def test_tied_weights_are_stored_once_and_can_be_loaded(tmp_path):
    from safetensors.torch import load_model

    model = Tied()
    result = small(tmp_path, model, name="tied").fit()
    tensors, metadata = read(tmp_path / NAME)
    assert sorted(tensors) == ["a.weight", "head.bias", "head.weight"]
    # An SSR of 0.5 halves 6 epochs of 6 batches.
    assert metadata == {"format": "pt", "name": "tied", "ssr": "0.5", "steps": "18", "b.weight": "a.weight"}
    assert (result.status, result.steps) == ("completed", 18)
    other = Tied()
    assert load_model(other, tmp_path / NAME) == (set(), [])
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert [path.name for path in tmp_path.iterdir() if "safetensors" in path.name] == [NAME]


@NEEDS_SAFETENSORS
@pytest.mark.parametrize("evaluates", [True, False])
def test_averaged_weights_are_exported_if_evaluations_use_them(tmp_path, evaluates):
    ema = EMA(decay=0.9, evaluate=evaluates)
    trainer = small(tmp_path, callbacks={"ema": ema})
    trainer.fit()
    average, trained = ema.state_dict()["average"], trainer.model.state_dict()
    assert not torch.equal(average["weight"], trained["weight"])
    expected = average if evaluates else trained
    tensors, _ = read(tmp_path / NAME)
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


@NEEDS_SAFETENSORS
def test_finished_run_is_exported_without_training(tmp_path, capsys):
    ema = EMA(decay=0.9)
    small(tmp_path, export=None, callbacks={"ema": ema}).fit()
    assert not (tmp_path / NAME).exists()
    record = (tmp_path / "result.json").read_bytes()
    trainer = small(tmp_path, callbacks={"ema": EMA(decay=0.9)})
    trainer.fit()
    assert "nothing to train" in capsys.readouterr().out
    assert torch.equal(read(tmp_path / NAME)[0]["weight"], ema.state_dict()["average"]["weight"])
    assert (tmp_path / "result.json").read_bytes() == record


@NEEDS_SAFETENSORS
def test_failed_run_exports_nothing(tmp_path):
    trainer = small(tmp_path)

    def fail(*_):
        raise LookupError("no")

    trainer.on("epoch_end", fail)
    with pytest.raises(LookupError):
        trainer.fit()
    assert not (tmp_path / NAME).exists()


@NEEDS_SAFETENSORS
def test_run_fails_if_its_export_cannot_be_written(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(OSError, match="cannot write"):
        small(tmp_path).fit()
    assert RunResult.load(tmp_path).status == "failed"


class Noted(nn.Linear):
    """Its state dict has text, which safetensors cannot hold."""

    def get_extra_state(self):
        return "note"

    def set_extra_state(self, state):
        pass


@NEEDS_SAFETENSORS
def test_state_that_safetensors_cannot_hold_is_refused_before_training(tmp_path):
    with refused("checkpoint.export", WrongTypeError):
        small(tmp_path, Noted(4, 3))
    model = nn.Linear(4, 3)
    model.register_buffer("phases", torch.zeros(2, dtype=torch.complex64))
    with refused("checkpoint.export", WrongTypeError, match=r"phases is of type torch\.complex64"):
        small(tmp_path, model)
    with refused("checkpoint.export", MissingValueError):
        small(None)


@pytest.mark.parametrize(
    "name", ["model.pt", ".safetensors", "", "a/model.safetensors", "../model.safetensors", "/model.safetensors",
             "c:model.safetensors", "a\\model.safetensors", "model.safetensors\n", 1]
)  # fmt: skip
def test_export_must_be_a_file_name(name):
    with refused("export", FormatError):
        CheckpointSettings(export=name)


def test_error_for_missing_safetensors_is_one_line(monkeypatch, composed):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "safetensors" else find_spec(name, *rest)
    )
    with refused("checkpoint.export", NotInstalledError) as caught:
        check(composed(f"checkpoint.export={NAME}"))
    needs = "needs safetensors, which is not installed"
    assert str(caught.value) == f"checkpoint.export='{NAME}': {needs}; pip install \"ssr-hydra[export]\""


@NEEDS_SAFETENSORS
def test_app_and_evaluation_export_the_same_file(composed, in_tmp):
    overrides = ("max_duration=5ba", "callbacks=[ema]", "trainer.progress=none", f"checkpoint.export={NAME}", "ssr=2")
    cfg = composed(*overrides)
    (in_tmp / "run/.hydra").mkdir(parents=True)
    experiment = {key: cfg[key] for key in cfg if key != "hydra"}
    OmegaConf.save(OmegaConf.create(experiment), in_tmp / "run/.hydra/config.yaml")
    train(cfg, run_dir="run")
    written = (in_tmp / "run" / NAME).read_bytes()
    evaluation = evaluate("run", export=f"again.{NAME}")
    assert evaluation.is_as_recorded(0)
    tensors, metadata = read(in_tmp / "run" / NAME)
    again, metadata_again = read(in_tmp / f"again.{NAME}")
    assert metadata == metadata_again == {"format": "pt", "name": "digits", "ssr": "2.0", "steps": "10"}
    assert tensors.keys() == again.keys()
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)
    assert (in_tmp / "run" / NAME).read_bytes() == written
