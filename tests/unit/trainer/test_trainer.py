import functools
import json
import math
import shutil

import pytest
import torch
from refusals import refused
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import StepLR

from ssr_hydra.callbacks import CSVLogger
from ssr_hydra.checkpoints import CheckpointStore
from ssr_hydra.data import Digits, RandomShift, TensorLoader, make_loaders, seed_everything
from ssr_hydra.errors import ConflictError, MismatchError, MissingValueError, RunError
from ssr_hydra.machine import cores
from ssr_hydra.models import MLP, ConvNet
from ssr_hydra.optim import Paced
from ssr_hydra.schedulers import LinearWithWarmupScheduler
from ssr_hydra.torch_schedulers import ReduceLROnPlateau
from ssr_hydra.trainer import DivergedError, RunResult, Trainer

KEYS = set(RunResult.__dataclass_fields__)


def digits(seed=0, ssr=0.05, **options):
    """The default task."""
    seed_everything(seed)
    train, held_out = make_loaders(Digits("train"), Digits("eval"), augment=RandomShift(1), seed=seed)
    model = ConvNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True)
    schedule = LinearWithWarmupScheduler("30ba")
    options = {"device": "cpu", "progress": "none", "max_duration": "16ep", **options}
    return Trainer(model, train, held_out, optimizer, schedule, ssr=ssr, seed=seed, **options)


def log_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_times(records):
    return [{key: value for key, value in record.items() if "seconds" not in key} for record in records]


def small(**options):
    torch.manual_seed(0)
    loader = TensorLoader([torch.randn(12, 4), torch.arange(12) % 3], 2)
    options = {"device": "cpu", "progress": "none", **options}
    return Trainer(options.pop("model", None) or nn.Linear(4, 3), loader, options.pop("eval", None), **options)


# ---- the default task


def test_runs_with_the_same_seed_are_bitwise_equal(tmp_path):
    runs = []
    for name in ("a", "b"):
        torch.rand(7)  # earlier random numbers do not matter
        trainer = digits(3, run_dir=tmp_path / name, log_interval="1ba")
        runs.append((trainer, trainer.fit(), without_times(log_of(tmp_path / name))))
    (one, first, log), (two, second, again) = runs
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert first.metrics == second.metrics
    assert log == again
    # The rate of batch k is the schedule at k, with a warmup of 30 of 60 batches.
    lrs = [record["lr"] for record in log if record["event"] == "train"]
    assert first.steps == 60 == len(lrs)
    assert lrs == pytest.approx([0.1 * min(k / 30, 1 - max(0, k - 30) / 30) for k in range(60)], rel=1e-12, abs=1e-15)
    other = digits(4)
    other.fit()
    assert not torch.equal(next(one.model.parameters()), next(other.model.parameters()))


def test_ssr_with_a_rounding_error_has_as_many_steps_as_the_exact_ssr():
    # The float 0.1 + 0.2 is 0.30000000000000004, and 10 times this number, rounded up, is 4.
    result = small(ssr=0.1 + 0.2, max_duration="10ba").fit()
    assert (result.ssr, result.steps) == (0.3, 3)


def test_trainer_trains_with_all_defaults():
    seed_everything(0)
    train, held_out = make_loaders(Digits("train"), Digits("eval"))
    result = Trainer(MLP(), train, held_out, progress="none", device="cpu").fit()
    assert (result.steps, result.status, result.seed) == (75, "completed", None)
    assert result.metrics["eval/accuracy"] is not None
    assert result.metrics["eval/accuracy"] > 0.8


# ---- records


def test_run_writes_its_records(tmp_path, capsys):
    options = {"name": "d", "config": {"ssr": 0.05}, "objective": "eval/accuracy", "progress": "plain"}
    result = digits(run_dir=tmp_path / "run", **options).fit()
    content = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(content) == KEYS
    assert RunResult.load(tmp_path / "run") == result
    fields = (result.status, result.error, result.name, result.ssr, result.max_duration, result.seed)
    assert fields == ("completed", None, "d", 0.05, "16ep", 0)
    assert (result.steps, result.samples) == (60, 960)
    assert 0 < result.train_seconds < result.total_seconds
    assert len(result.config_hash or "") == 64
    assert result.hardware["threads"] == torch.get_num_threads()
    assert list(result.versions) == ["python", "torch", "numpy", "ssr_hydra"]
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["checkpoints", "metrics.jsonl", "result.json"]
    events = [record["event"] for record in log_of(tmp_path / "run")]
    assert events == ["train"] * 6 + ["eval"]
    step, head, *summary = capsys.readouterr().out.splitlines()
    assert step.startswith("step 60/60  epoch 0  lr 0.0033  loss ")
    assert "eval/accuracy" in step
    assert head == "d: completed"
    rows = "ssr length steps samples training eval/accuracy eval/loss train/loss files"
    assert [line.split()[0] for line in summary] == rows.split()


def test_a_finished_run_is_not_overwritten(tmp_path, capsys):
    first = small(run_dir=tmp_path).fit()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert small(run_dir=tmp_path).fit() == first  # the folder has the record of this run, so fit() does not train
    assert "nothing to train" in capsys.readouterr().out
    with refused("resume", MismatchError, match="run.max_duration was '1ep' and is '2ep'"):
        small(run_dir=tmp_path, max_duration="2ep")
    with refused("run_dir", ConflictError):
        small(run_dir=tmp_path, resume="never")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_trainer_of_a_finished_run_loads_its_weights(tmp_path):
    eval = [(torch.randn(6, 4), torch.arange(6) % 3)]
    first = small(run_dir=tmp_path, eval=eval)
    result = first.fit()
    again = small(run_dir=tmp_path, eval=eval)
    assert again.evaluate() == {key: result.metrics[key] for key in ("eval/accuracy", "eval/loss")}
    assert again.fit() == result
    for one, other in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_finished_run_whose_last_checkpoint_is_damaged_is_trained_to_its_end_again(tmp_path, capsys):
    first = small(run_dir=tmp_path, checkpoint={"interval": "4ba"})
    result = first.fit()
    state = tmp_path / "checkpoints" / "ba6" / "state.pt"
    state.write_bytes(state.read_bytes()[:-1])
    again = small(run_dir=tmp_path, checkpoint={"interval": "4ba"}, progress="plain")
    assert again.state.timestamp.batch == 4
    assert (again.fit().metrics, again.state.timestamp.batch) == (result.metrics, 6)
    assert "ba6" in capsys.readouterr().out
    for one, other in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("saves", [True, False])
def test_run_with_records_but_no_checkpoint_restarts_with_a_message(tmp_path, saves, capsys):
    (tmp_path / "metrics.jsonl").write_text('{"event":"train","batch":1000}\n')
    with refused("run_dir", ConflictError):
        small(run_dir=tmp_path, resume="never", checkpoint={"enabled": saves})
    assert small(run_dir=tmp_path, checkpoint={"enabled": saves}, progress="plain").fit().steps == 6
    assert "has a run that was stopped" in capsys.readouterr().out


@pytest.mark.parametrize("saves", [True, False])
def test_files_of_a_run_started_in_the_meantime_are_not_overwritten(tmp_path, saves):
    checkpoint = {"enabled": saves}
    one = small(run_dir=tmp_path, checkpoint=checkpoint)
    other = small(run_dir=tmp_path, checkpoint=checkpoint, max_duration="2ep")
    one.fit()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with refused("run_dir", ConflictError):
        other.fit()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("rate", ["samples_per_batch", "tokens_per_batch"])
def test_resume_with_changed_samples_or_tokens_per_batch_is_refused(tmp_path, rate):
    small(run_dir=tmp_path, counts={rate: 2}).fit()
    with refused("resume", MismatchError, match=f"run.{rate} was '2' and is '3'"):
        small(run_dir=tmp_path, counts={rate: 3})
    assert small(run_dir=tmp_path, counts={rate: 2.0}).fit().steps == 6


def test_second_call_of_fit_is_refused():
    trainer = small()
    trainer.fit()
    with pytest.raises(RuntimeError, match="create a new Trainer"):
        trainer.fit()


def test_record_of_a_diverged_run_has_the_status_and_the_error(tmp_path):
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e38)
    loader = TensorLoader([torch.randn(12, 4), torch.arange(12) % 3], 2)
    trainer = Trainer(model, loader, None, optimizer, None, "9ep", device="cpu", progress="none", run_dir=tmp_path)
    with pytest.raises(DivergedError):
        trainer.fit()
    result = RunResult.load(tmp_path)
    assert result.status == "diverged"
    assert result.error is not None
    assert result.error.startswith("DivergedError: train/loss is ")
    assert 0 < result.steps < 54


@pytest.mark.parametrize("error", [ZeroDivisionError("in the model"), KeyboardInterrupt(), SystemExit(3)])
def test_any_exception_is_recorded_and_raised_again(tmp_path, error):
    class Broken(nn.Linear):
        calls = 0

        def forward(self, inputs):
            self.calls += 1
            if self.calls == 4:
                raise error
            return super().forward(inputs)

    with pytest.raises(type(error)) as caught:
        small(model=Broken(4, 3), run_dir=tmp_path).fit()
    assert caught.value is error
    result = RunResult.load(tmp_path)
    status = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
    assert (result.status, result.steps, result.samples) == (status, 3, 6)
    assert (result.error or "").startswith(type(error).__name__)


# ---- errors


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_duration": "10"}, "max_duration"),
        ({"max_duration": "0ba"}, "max_duration"),
        ({"max_duration": "2iter"}, "max_duration"),
        ({"max_duration": "1.5iter", "counts": {"iteration_length": "2ba"}}, "max_duration"),
        ({"ssr": 0}, "ssr"),
        ({"eval_interval": "0ep"}, "eval_interval"),
        ({"eval_interval": "1iter"}, "eval_interval"),
        ({"log_interval": "-1ba"}, "log_interval"),
        ({"counts": {"iteration_length": "1iter"}}, "counts.iteration_length"),
        ({"device": "abacus"}, "device"),
        ({"seed": -1}, "seed"),
        ({"progress": "rich"}, "progress"),
        ({"objective": "eval/accuracy"}, "objective"),  # no evaluation data
        ({"objective": "accuracy"}, "objective"),
        ({"loss": 3}, "loss"),
        ({"metrics": ["accuracy"]}, "metrics"),
        ({"use_stepwise_scheduler": "yes"}, "use_stepwise_scheduler"),
        ({"config": {"x": object()}}, "config"),
        ({"optimizers": []}, "optimizers"),
        ({"optimizers": torch.optim.LBFGS([nn.Parameter(torch.ones(1))])}, "optimizers"),
        ({"model": nn.ReLU()}, "model"),
        ({"counts": {"samples_per_batch": 0}}, "counts.samples_per_batch"),
        ({"counts": {"get_num_tokens_in_batch": 5}}, "counts.get_num_tokens_in_batch"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_happens(tmp_path, options, field):
    with refused(field):
        small(run_dir=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


class Sized(list[int]):
    """A loader that reports the number of samples of its batches."""

    def __init__(self, batch_size):
        super().__init__([1])
        self.batch_size = batch_size


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("model", [1]), "model"),
        ((nn.Linear(1, 1), 3), "train_dataloader"),
        ((nn.Linear(1, 1), []), "train_dataloader"),
        ((nn.Linear(1, 1), [1], []), "eval_dataloader"),
        ((nn.Linear(1, 1), Sized(0)), "train_dataloader.batch_size"),
        ((nn.Linear(1, 1), [1], Sized(-2)), "eval_dataloader.batch_size"),
    ],
)
def test_models_and_loaders_are_validated(arguments, field):
    with refused(field):
        Trainer(*arguments, device="cpu")


def test_trainer_uses_the_optimizer_of_a_torch_scheduler():
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = TensorLoader([torch.randn(4, 4), torch.arange(4) % 3], 2)
    # An ssr of 0.5 halves the run from two epochs to one, and the rate still decays twice.
    schedulers = Paced(StepLR(optimizer, 1), "epoch")
    result = Trainer(model, loader, None, None, schedulers, "2ep", ssr=0.5, device="cpu", progress="none").fit()
    assert result.steps == 2
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


def test_plateau_without_evaluations_is_refused():
    model = nn.Linear(4, 3)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(torch.optim.SGD(model.parameters(), lr=0.1))
    with refused("schedulers", MissingValueError):
        Trainer(model, [(torch.zeros(1, 4), torch.zeros(1))], schedulers=plateau, device="cpu")


def test_rates_are_logged_by_the_names_of_their_groups(tmp_path):
    for folder, names in (("named", ("body", "heads")), ("bare", (None, None))):
        model = nn.Linear(4, 3)
        groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.2}]
        groups = [{**group, "name": name} if name else group for group, name in zip(groups, names, strict=True)]
        optimizer = torch.optim.SGD(groups, lr=0.1)
        logger = CSVLogger()
        small(model=model, optimizers=optimizer, run_dir=tmp_path / folder, log_interval="6ba", loggers=[logger]).fit()
    (named,) = (record for record in log_of(tmp_path / "named") if record["event"] == "train")
    assert (named["lr"], named["lrs"]) == (0.1, {"body": 0.1, "heads": 0.2})
    assert {"lr", "lr/body", "lr/heads"} <= set((tmp_path / "named/metrics.csv").read_text().split("\n")[0].split(","))
    (bare,) = (record for record in log_of(tmp_path / "bare") if record["event"] == "train")
    assert bare["lrs"] == [0.1, 0.2]


def halves_by_zero(state, ssr=1.0, *, batch=2):
    return 1 / (batch - state.timestamp.batch.value)


def test_record_names_the_scheduler_that_raised_the_error(tmp_path):
    scheduler = functools.partial(halves_by_zero, batch=3)
    with pytest.raises(ZeroDivisionError):
        small(schedulers=scheduler, run_dir=tmp_path).fit()
    error = RunResult.load(tmp_path).error
    assert error == "ZeroDivisionError: division by zero (raised by the scheduler halves_by_zero)"


class Scripted:
    """Replaces a metric of each evaluation by the next of the given values."""

    def __init__(self, name, values):
        self.name, self.values = name, iter(values)

    def eval_end(self, trainer, metrics):
        metrics[self.name] = next(self.values)


def scripted(metric, values, **options):
    """Run one epoch per value, with an evaluation after each."""
    loader = TensorLoader([torch.randn(4, 4), torch.arange(4) % 3], 2)
    callbacks = [Scripted(f"eval/{metric}", values)]
    metrics = {metric: lambda outputs, targets: torch.zeros(len(targets))}
    return small(eval=loader, metrics=metrics, max_duration=f"{len(values)}ep", callbacks=callbacks, **options)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("bits_per_byte", [3.0, 2.0, 4.0, 5.0], 2),  # the smallest
        ("perplexity", [9.0, 8.0, 7.0, 7.5], 3),
        ("accuracy", [0.2, 0.9, 0.4, 0.3], 2),  # the largest
        ("accuracy", [NAN, 0.3, 0.6, 0.5], 3),  # NaN cannot be compared, so it would stay the best
        ("wer", [NAN, NAN, 0.6, 0.7], 3),
        ("wer", [-INF, 0.7, 0.6, 0.8], 3),
    ],
)
def test_best_checkpoint_has_the_best_finite_value(tmp_path, metric, values, best):
    scripted(metric, values, run_dir=tmp_path, checkpoint={"interval": None, "best": f"eval/{metric}"}).fit()
    mode = "max" if metric == "accuracy" else "min"
    assert CheckpointStore(tmp_path / "checkpoints", best_mode=mode).best() == tmp_path / f"checkpoints/ba{best * 6}"
    saved = {path.name for path in (tmp_path / "checkpoints").glob("ba*")}
    assert saved == {f"ba{best * 6}", "ba24"}


def test_summary_reports_a_best_metric_that_is_nan_at_the_end(tmp_path, capsys):
    checkpoint = {"interval": None, "best": "eval/f1"}
    result = scripted("f1", [0.5, NAN], run_dir=tmp_path, checkpoint=checkpoint, progress="plain").fit()
    assert result.status == "completed"
    assert "run: completed, but eval/f1 is not finite at the end" in capsys.readouterr().out
    assert CheckpointStore(tmp_path / "checkpoints", best_mode="max").best() == tmp_path / "checkpoints/ba6"


def plateau_rates(plateau, metric, values, **options):
    run = scripted(metric, values, schedulers=plateau, objective=f"eval/{metric}", **options)
    run.fit()
    return float(run.state.optimizers[0].param_groups[0]["lr"])


def test_plateau_scheduler_knows_whether_higher_or_lower_is_better():
    """Patience 0 halves the rate after each evaluation that is not better than the best before."""
    auto = {"mode": "auto", "factor": 0.5, "patience": 0}
    rising = [0.1, 0.2, 0.3, 0.4]
    assert plateau_rates(ReduceLROnPlateau(**auto), "accuracy", rising) == pytest.approx(0.1)
    assert plateau_rates([ReduceLROnPlateau(**auto)], "error", rising) == pytest.approx(0.1 / 8)
    assert plateau_rates(ReduceLROnPlateau(**auto), "error", rising[::-1]) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["ours", "torchs"])
def test_plateau_with_the_wrong_direction_is_refused(kind):
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    default = ReduceLROnPlateau() if kind == "ours" else lr_scheduler.ReduceLROnPlateau(optimizer)
    wrong = r"mode='min': must be max, because a higher eval/accuracy is better; write max, or auto"
    for schedulers, field in ((default, "schedulers"), ([default], r"schedulers\[0\]")):
        with pytest.raises(ConflictError, match=rf"^{field}\.{wrong}"):
            small(model=model, optimizers=optimizer, eval=[1], schedulers=schedulers, objective="eval/accuracy")
    small(model=model, optimizers=optimizer, eval=[1], schedulers=default)  # it follows eval/loss
    with refused("schedulers.mode", MissingValueError):
        plateau_rates(ReduceLROnPlateau(mode="auto"), "thing", [1.0])
    assert plateau_rates(ReduceLROnPlateau(mode="max", patience=0), "thing", [1.0, 2.0]) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["one", "second", "schedulers"])
def test_optimizer_without_a_parameter_of_the_model_is_refused(kind):
    model, other = nn.Linear(4, 3), nn.Linear(4, 3)
    own, foreign = (torch.optim.SGD(each.parameters(), lr=0.1) for each in (model, other))
    options = {"one": {"optimizers": foreign}, "second": {"optimizers": [own, foreign]}}.get(
        kind, {"schedulers": StepLR(foreign, 1)}
    )
    with refused("optimizers", MismatchError):
        small(model=model, **options)


def test_optimizers_without_a_parameter_that_requires_gradients_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    model[0].requires_grad_(False)
    body, head = (torch.optim.SGD(part.parameters(), lr=0.1) for part in model)
    with refused("optimizers", MismatchError):  # the run would change no weight
        small(model=model, optimizers=body)
    small(model=model, optimizers=[body, head])  # a callback may unfreeze the body later
    model.requires_grad_(False)
    with refused("optimizers", MismatchError, match="requires_grad"):
        small(model=model, optimizers=[body, head])


def test_optimizer_may_train_parameters_of_the_loss():
    class Centres(nn.Module):
        def __init__(self):
            super().__init__()
            self.centres = nn.Parameter(torch.zeros(3))

        def forward(self, outputs, targets):
            return (outputs - self.centres).square().mean()

    model, loss = nn.Linear(4, 3), Centres()
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (model, loss)]
    small(model=model, optimizers=optimizers, loss=loss, max_duration="2ba").fit()
    assert loss.centres.abs().sum() > 0


@pytest.mark.parametrize("evaluates", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nan_gradient_of_the_last_batch_makes_the_run_diverged(tmp_path, evaluates, precision):
    """The square root of 0 is 0, but its infinite slope times 0 is NaN: the loss is finite, but every weight is NaN."""
    needs_grad = []

    def loss(outputs, targets):
        needs_grad.append(outputs.requires_grad)
        rest = torch.sqrt((outputs * 0).sum()) if sum(needs_grad) == 6 else torch.zeros(())
        return outputs.square().mean() + rest

    eval = [(torch.ones(2, 4), torch.tensor([0, 1]))] if evaluates else None
    trainer = small(eval=eval, loss=loss, metrics={}, run_dir=tmp_path, eval_interval=None, precision=precision)
    if evaluates:  # evaluations replace the NaN weights by finite weights, as weight averaging might
        trainer.on("eval_start", lambda trainer: trainer.model.weight.data.nan_to_num_())
        trainer.on("eval_start", lambda trainer: trainer.model.bias.data.nan_to_num_())
        trainer.on("eval_end", lambda trainer, metrics: trainer.model.bias.data.fill_(NAN) if metrics else None)
    with pytest.raises(DivergedError, match=r"^the weight (weight|bias) is nan at batch 6; lower the learning rate"):
        trainer.fit()
    assert RunResult.load(tmp_path).status == "diverged"
    assert not list(tmp_path.glob("checkpoints/ba*"))  # a diverged run writes no last checkpoint


# ---- controls of studies


def test_a_truncated_run_has_the_schedule_of_the_full_run_and_ends_early(tmp_path):
    lrs = []
    for control, ssr, steps in ((None, 1.0, 60), ("truncate", 0.5, 30)):
        folder = tmp_path / str(control)
        assert (
            digits(ssr=ssr, run_dir=folder, log_interval="1ba", max_duration="60ba", control=control).fit().steps
            == steps
        )
        assert RunResult.load(folder).control == control
        lrs.append([record["lr"] for record in log_of(folder) if record["event"] == "train"])
    assert lrs[0][:30] == lrs[1]  # equal floats: one run is the beginning of the other


@pytest.mark.parametrize(("control", "ssr"), [("cut", 0.5), ("truncate", 2.0)])
def test_unknown_control_is_refused(control, ssr):
    with refused("control"):
        small(control=control, ssr=ssr)


def test_record_has_the_conditions_of_the_machine(tmp_path):
    alone = small(run_dir=tmp_path / "alone").fit().conditions
    assert (alone["jobs_beside"], alone["cpus"]) == (0.0, cores())
    assert 0 <= alone["load"] < 10_000
    beside = small(run_dir=tmp_path / "beside")
    beside.jobs_beside = lambda: 1.5
    beside.fit()
    assert RunResult.load(tmp_path / "beside").conditions["jobs_beside"] == 1.5


def test_attribute_frac_done_is_the_completed_fraction_after_each_batch():
    trainer = small()
    fractions = []
    trainer.on("batch_end", lambda trainer, loss: fractions.append(trainer.frac_done))
    steps = trainer.fit().steps
    assert fractions == [pytest.approx(batch / steps) for batch in range(1, steps + 1)]


@pytest.mark.parametrize("when", [3, 12], ids=["in the middle", "after the last record"])
def test_run_whose_folder_is_removed_fails_and_its_error_names_the_records(tmp_path, when):
    """A run of 6 batches per epoch; its last record before the end is that of batch 12."""
    trainer = small(run_dir=tmp_path / "run", max_duration="2ep", log_interval="2ba", checkpoint={"enabled": False})
    trainer.on("batch_end", lambda t, loss: shutil.rmtree(t.run_dir) if t.state.timestamp.batch == when else None)
    with pytest.raises(RunError, match=r"run/metrics.jsonl: was moved or removed"):
        trainer.fit()
    assert trainer.state.timestamp.batch <= when + 1  # the run fails at its next record at the latest
    assert not (tmp_path / "run").exists()
