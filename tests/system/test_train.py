"""From a composed config to a trained model, in this process."""

import math
import re
import sys

import pytest
import torch
from refusals import refused as refuses

from ssr_hydra.app.train import build, train
from ssr_hydra.models import ConvNet
from ssr_hydra.trainer import RunResult

QUICK = ("max_duration=6ba", "trainer.progress=none")


pytestmark = pytest.mark.usefixtures("keep_threads")


@pytest.fixture
def composed(composed):
    """Compose a short experiment."""
    return lambda *overrides: composed(*QUICK, *overrides)


def test_function_train_returns_the_objective(composed, tmp_path):
    value = train(composed(), run_dir=tmp_path)
    record = RunResult.load(tmp_path)
    assert value == record.metrics["eval/accuracy"]
    assert (record.steps, record.name, record.ssr, record.seed, record.status) == (6, "digits", 1.0, 0, "completed")
    assert record.config_hash is not None
    assert train(composed("trainer.objective=null")) is None
    loss = train(composed("trainer.objective=train/loss"))
    assert loss is not None
    assert 0 < loss < 5


def test_initial_weights_depend_on_the_seed(composed):
    torch.manual_seed(5)
    expected = ConvNet().state_dict()
    weights = build(composed("seed=5")).model.state_dict()
    assert all(torch.equal(expected[key], weights[key].cpu()) for key in expected)


def test_config_sets_the_number_of_torch_threads(composed):
    build(composed("trainer.threads=2"))
    assert torch.get_num_threads() == 2
    build(composed("trainer.threads=null"))
    assert torch.get_num_threads() == 2
    build(composed())
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    "name", "sgd adam adamw adamax adadelta adagrad adafactor asgd nadam radam rmsprop rprop".split()
)
def test_run_with_any_optimizer_trains(composed, name):
    value = train(composed(f"optimizer={name}", "max_duration=2ba"))
    assert value is not None
    assert math.isfinite(value)


def test_several_schedulers_multiply_the_learning_rate(composed):
    cfg = composed("optimizer=sgd", "optimizer.lr=1", "scheduler=constant", "scheduler.alpha=0.5")
    trainer = build({**cfg, "scheduler": [cfg.scheduler, {**cfg.scheduler, "alpha": 0.2}]})
    assert trainer.state.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1)


def test_run_with_a_torch_scheduler_trains(composed):
    target = "scheduler._target_=torch.optim.lr_scheduler.StepLR"
    cfg = composed("scheduler=custom", target, "+scheduler.step_size=1", "optimizer=sgd", "max_duration=76ba")
    trainer = build(cfg)
    trainer.fit()
    assert trainer.state.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4)


def test_error_about_a_torch_scheduler_names_its_config_key(composed):
    node = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 0}
    good = {**node, "step_size": 3}
    for scheduler, place in ((node, "scheduler.step_size"), ([good, node], "scheduler[1].step_size")):
        with refuses(place, match="must be above 0"):
            build({**composed("ssr=0.5"), "scheduler": scheduler})


def test_run_without_a_scheduler_trains(composed):
    assert train({**composed(), "scheduler": None}) is not None


@pytest.mark.parametrize("name", ["digits_wsd", "digits_adamw_sequence", "digits_product"])
def test_every_experiment_can_be_trained(composed, name):
    assert train(composed(f"experiment={name}", "max_duration=160ba", "ssr=0.25")) is not None


def test_default_experiment_reaches_92_percent_accuracy(composed, tmp_path):
    """The accuracy is about 94% at ssr 0.5 and about 84% at ssr 0.125."""
    train(composed("max_duration=16ep", "ssr=0.5"), run_dir=tmp_path / "long")
    train(composed("max_duration=16ep", "ssr=0.125"), run_dir=tmp_path / "short")
    long, short = RunResult.load(tmp_path / "long"), RunResult.load(tmp_path / "short")
    assert (long.steps, short.steps) == (600, 150)
    assert long.metrics["eval/accuracy"] > 0.92
    assert 0.7 < short.metrics["eval/accuracy"] < long.metrics["eval/accuracy"]


# -- the user's own

MY_LAB = """
import torch
from torch.utils.data import Dataset, TensorDataset

class Net(torch.nn.Module):
    def __init__(self, width, parts=()):
        super().__init__()
        self.parts = parts
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.ReLU(), torch.nn.Linear(width, 3))
    def forward(self, x):
        return self.layers(x)

class Waves(Dataset):
    def __init__(self, size):
        self.x, self.y = torch.randn(size, 4), torch.arange(size) % 3
    def __len__(self):
        return len(self.y)
    def __getitem__(self, index):
        return self.x[index], self.y[index]

class Slow(torch.optim.SGD):
    def __init__(self, params, lr=0.5):
        super().__init__(params, lr=lr)

def half(state, ssr=1.0):
    return 0.5

class Steep:
    def __init__(self, power):
        self.power = power
    def __call__(self, state, ssr=1.0):
        return 0.1 ** self.power

def mine(outputs, targets, weight=1.0):
    return weight * torch.nn.functional.cross_entropy(outputs, targets)

def right(outputs, targets):
    return outputs.argmax(1) == targets
"""


@pytest.fixture
def my_lab(in_tmp, monkeypatch, mine):
    (in_tmp / "my_lab.py").write_text(MY_LAB)
    monkeypatch.syspath_prepend(str(in_tmp))
    config = {
        "model/net": "_target_: my_lab.Net\nwidth: 8\nparts: [1, {a: [2]}]\n",
        "data/waves": (
            "defaults: [custom, _self_]\ntrain: {_target_: my_lab.Waves, size: 60}\n"
            "eval: {_target_: my_lab.Waves, size: 30}\nbatch_size: 10\n"
        ),
        "optimizer/slow": "_target_: my_lab.Slow\nlr: 0.2\n",
        "scheduler/half": "_target_: my_lab.half\n_partial_: true\n",
        "scheduler/mixed": (
            "defaults: [product, /scheduler@factors.mine: half, _self_]\nfactors: {decay: {gamma: 0.5}}\n"
        ),
        "experiment/lab": (
            "# @package _global_\ndefaults:\n  - override /model: net\n  - override /data: waves\n"
            "  - override /optimizer: slow\n  - override /scheduler: mixed\nname: lab\n"
            "trainer:\n  loss: {_target_: my_lab.mine, _partial_: true, weight: 2.0}\n"
            "  metrics: {right: {_target_: my_lab.right, _partial_: true}}\n  objective: eval/right\n"
        ),
    }
    for name, text in config.items():
        mine(name, text)
    yield in_tmp
    sys.modules.pop("my_lab", None)


@pytest.fixture
def lab(my_lab, app):
    """Run the experiment ``lab`` of the user's config folder, and check that an error has one line."""

    def run(*more):
        answer = app("--config-dir", "mine", "experiment=lab", "trust=[my_lab]", *QUICK, *more)
        assert (answer.code == 0) == (answer.err == "")
        assert answer.err.count("\n") == (answer.code != 0)
        return answer

    return run


def results(folder):
    return [RunResult.load(path) for path in sorted(folder.rglob("result.json"))]


def test_run_with_custom_data_and_model_and_scheduler_trains(my_lab, lab):
    assert lab("ssr=0.5").code == 0
    (record,) = results(my_lab)
    assert record.name == "lab"
    assert set(record.metrics) >= {"eval/right", "eval/accuracy", "eval/loss"}


def test_custom_classes_can_be_set_on_the_command_line(my_lab, app):
    answer = app(
        "--config-dir=mine", "data=waves", "model=custom", "model._target_=my_lab.Net", "+model.width=4",
        "scheduler=custom", "scheduler._target_=my_lab.Steep", "+scheduler.power=2", "trust=my_lab", *QUICK,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert len(results(my_lab)) == 1


def test_untrusted_module_is_not_imported(my_lab, refused):
    assert "trust=[my_lab]" in refused("--config-dir", "mine", "experiment=lab", *QUICK)
    assert "my_lab" not in sys.modules


@pytest.mark.parametrize(
    ("typed", "error", "logged"),
    [
        ("model.width=wide", r"model \(my_lab\.Net\): TypeError: .* \(my_lab\.py, line \d+\)", 'my_lab.py", line'),
        (
            "model=mlp model.in_features=5",
            r"train_dataloader, first batch \(inputs float32 \[10, 4\], targets int64 \[10\]\): .*",
            "in forward",
        ),
    ],
)
def test_error_of_custom_code_is_one_line_and_the_record_and_the_log_explain_it(my_lab, lab, typed, error, logged):
    answer = lab("hydra.run.dir=run", "ssr=0.5", "seed=3", *typed.split())
    assert answer.code == 1
    assert re.fullmatch(rf"error: {error} \(train\.log has its traceback\)\n", answer.err)
    log = (my_lab / "run/train.log").read_text()
    assert re.search("started: .*ssr=0.5", log)
    assert logged in log
    record = RunResult.load(my_lab / "run")
    assert (record.status, record.ssr, record.seed, record.max_duration, record.steps) == ("failed", 0.5, 3, "6ba", 0)
    assert (record.error or "").partition(": ")[2] in answer.err
    assert record.config_hash is not None


def test_custom_model_can_compute_its_loss(my_lab, app):
    with (my_lab / "my_lab.py").open("a") as file:
        file.write(
            "class Own(Net):\n    def forward(self, x, y):\n"
            "        return {'loss': torch.nn.functional.cross_entropy(self.layers(x), y)}\n"
            "class Named(Waves):\n    def __getitem__(self, index):\n"
            "        return {'x': self.x[index], 'y': self.y[index]}\n"
        )
    answer = app(
        "--config-dir", "mine", "data=waves", "data.train._target_=my_lab.Named", "data.eval._target_=my_lab.Named",
        "model=net", "model._target_=my_lab.Own", "trainer=regression", "trainer.loss=null", "trust=[my_lab]", *QUICK,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    (record,) = results(my_lab)
    assert set(record.metrics) == {"eval/loss", "train/loss"}


# With a warmup of 100 batches and 6 batches an epoch. The model is invalid, too, but the times are checked first.
LONG_WARMUP = (
    "scheduler@scheduler.factors.warmup=cosine_warmup scheduler.factors.warmup.t_warmup=100ba max_duration=2ep "
    "model.width=wide"
)


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        (LONG_WARMUP, "scheduler.factors.warmup.t_warmup="),
        (
            "scheduler=custom scheduler._target_=my_lab.Net +scheduler.width=4",
            "scheduler._target_='my_lab.Net': is not a scheduler; e.g. scheduler=cosine_warmup\n",
        ),
        ("data.train.size=0", "data.train=0: "),
    ],
)
def test_error_that_needs_the_data_leaves_no_folder(my_lab, lab, typed, error):
    answer = lab(*typed.split())
    assert answer.code == 2
    assert answer.err.startswith(f"error: {error}")
    assert not (my_lab / "outputs").exists()


@pytest.mark.parametrize("typed", ["optimizer=muon", "trainer.device=cuda:99", "data.num_workers=2"])
def test_error_raised_by_torch_or_by_the_data_is_one_line(refused, typed):
    assert refused(typed, *QUICK).startswith(f"error: {typed.partition('=')[0]}")


def test_refused_run_deletes_no_file_of_the_user(app, in_tmp):
    (in_tmp / "outputs").mkdir()
    (in_tmp / "run").mkdir()
    (in_tmp / "run/notes").touch()
    assert app("optimizer=muon", *QUICK).code == app("optimizer=muon", "hydra.run.dir=run", *QUICK).code == 2
    assert list(in_tmp.glob("outputs/*")) == []
    assert (in_tmp / "outputs").is_dir()
    assert (in_tmp / "run/notes").exists()


def test_divergence_gives_a_one_line_error_and_is_recorded(app, in_tmp):
    answer = app("optimizer=sgd", "optimizer.lr=1e12", "scheduler=constant", *QUICK)
    assert answer.code == 1
    assert re.fullmatch("error: train/loss.*\n", answer.err)
    (record,) = results(in_tmp)
    assert record.status == "diverged"


def test_experiment_can_define_a_sweep(app, in_tmp, mine):
    mine("experiment/s", "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {ssr: '0.5,1'}}}\n")
    answer = app("--config-dir", "mine", "experiment=s", "launcher=basic", "study_report=false", *QUICK)
    assert answer.code == 0, answer.err
    assert [record.steps for record in results(in_tmp)] == [3, 6]
