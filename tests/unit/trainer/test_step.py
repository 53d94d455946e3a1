import functools
import math
from collections import namedtuple

import pytest
import torch
from refusals import refused
from torch import nn

from ssr_hydra.data import TensorLoader
from ssr_hydra.errors import MismatchError, MissingValueError
from ssr_hydra.models import next_token_loss
from ssr_hydra.settings import StepSettings
from ssr_hydra.trainer import Trainer

INPUTS = torch.randn(24, 4, generator=torch.Generator().manual_seed(0)) * 3
TARGETS = torch.arange(24) % 3


class Kept:
    """Records the gradients and the loss of every step."""

    def __init__(self):
        self.gradients = []
        self.losses = []

    def batch_end(self, trainer, loss):
        assert not loss.requires_grad
        assert loss.ndim == 0
        self.losses.append(loss.item())
        self.gradients.append([p.grad.clone() for p in trainer.model.parameters() if p.grad is not None])


def trained(batch_size=8, model=None, lr=0.1, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)) if model is None else model
    loader = options.pop("loader", None) or TensorLoader([INPUTS, TARGETS], batch_size, shuffle=False)
    optimizer = options.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    options = {"device": "cpu", "progress": "none", "max_duration": "2ep", **options}
    trainer = Trainer(model, loader, None, optimizer, **options)
    trainer.fit()
    return trainer


def weights(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


# ---- settings


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"precision": "fp64"}, "precision"),
        ({"accumulate": 0}, "accumulate"),
        ({"accumulate": True}, "accumulate"),
        ({"clip_grad_norm": 0}, "clip_grad_norm"),
        ({"clip_grad_value": math.inf}, "clip_grad_value"),
        ({"clip_grad_norm": 1.0, "clip_grad_value": 1.0}, "clip_grad_value"),
        ({"loss_mean_over": "batches"}, "loss_mean_over"),
        ({"compile": 1}, "compile"),
        ({"channels_last": None}, "channels_last"),
        ({"parallel": "tp"}, "parallel"),
    ],
)
def test_invalid_settings_are_refused(options, field):
    with refused(field):
        StepSettings(**options)


# ---- accumulation


@pytest.mark.parametrize("accumulate", [2, 3, 8, 50])
def test_gradients_of_accumulated_parts_equal_those_of_the_batch(accumulate):
    # 24 samples in batches of 7: three full batches and one of 3, which the number of parts does not divide evenly.
    # Only 7 of 50 parts have one of the 7 samples.
    accumulated, whole = Kept(), Kept()
    one = trained(7, callbacks=[whole])
    other = trained(7, callbacks=[accumulated], step={"accumulate": accumulate})
    assert one.state.timestamp.batch == other.state.timestamp.batch == 8
    assert one.state.timestamp.sample == other.state.timestamp.sample == 48
    assert accumulated.losses == pytest.approx(whole.losses, abs=1e-6)
    torch.testing.assert_close(weights(one), weights(other), atol=1e-6, rtol=0)
    for mine, theirs in zip(accumulated.gradients[0], whole.gradients[0], strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def test_batches_of_any_structure_are_split_along_their_samples():
    Pair = namedtuple("Pair", "inputs targets")

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, inputs, scale):
            return self.linear(inputs) * scale

    def batches(make):
        scale = torch.tensor(0.5)  # one value for the batch, not for each sample
        return [make(INPUTS[i : i + 6], scale, TARGETS[i : i + 6]) for i in range(0, 24, 6)]

    kinds = {
        "pairs": batches(lambda x, s, y: ((x, s), y)),
        "named": batches(lambda x, s, y: Pair({"inputs": x, "scale": s}, y)),
        "mappings": batches(lambda x, s, y: {"inputs": x, "scale": s}),
    }
    for kind, loader in kinds.items():
        options = {"loader": loader, "lr": 0.05}
        if kind == "mappings":
            options["loss"] = lambda outputs, batch: (outputs**2).mean() + batch["inputs"].mean() * 0
        one = trained(model=_seeded(Scaled), **options)
        two = trained(model=_seeded(Scaled), step={"accumulate": 4}, **options)
        torch.testing.assert_close(weights(one), weights(two), atol=1e-6, rtol=0, msg=kind)


def _seeded(make):
    torch.manual_seed(1)
    return make()


def test_batches_that_cannot_be_split_are_refused():
    # A batch that reports twice as many samples as its tensors have rows, so each part would count like the full batch.
    with refused("accumulate", MismatchError) as error:
        trained(8, step={"accumulate": 2}, counts={"get_num_samples_in_batch": lambda batch: 16})
    assert "have 32 samples in total, but the whole batch has 16" in error.value.rule
    trained(8, step={"accumulate": 2}, counts={"get_num_samples_in_batch": lambda batch: 2 * len(batch[0])})


def test_accumulated_part_without_tokens_does_not_change_the_gradients():
    """A loss may divide by the number of tokens itself, which gives 0 / 0."""

    class Logits(nn.Embedding):
        def forward(self, input_ids, attention_mask):
            return super().forward(input_ids)

    def loss(logits, batch):
        losses = nn.functional.cross_entropy(logits.mT, batch["input_ids"], reduction="none")
        return (losses * batch["attention_mask"]).sum() / batch["attention_mask"].sum()

    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0]])
    batch = {"input_ids": torch.arange(12).view(4, 3) % 5, "attention_mask": mask}
    weights = []
    for accumulate in (1, 2, 4):
        torch.manual_seed(0)
        model = Logits(5, 5)
        Trainer(
            model, [batch], loss=loss, max_duration="1ba", device="cpu", progress="none",
            step={"loss_mean_over": "tokens", "accumulate": accumulate},
        ).fit()  # fmt: skip
        weights.append(model.weight.detach())
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], rtol=1e-6, atol=1e-7)


def test_mean_over_tokens_needs_a_batch_with_tokens():
    with refused("loss_mean_over", MissingValueError):
        trained(step={"loss_mean_over": "tokens", "accumulate": 2})


class Bigram(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(8, 8)

    def forward(self, inputs):
        return self.table(inputs)


@pytest.mark.parametrize("loss", [next_token_loss, functools.partial(next_token_loss)])
def test_loss_can_define_the_number_of_items_in_its_mean(loss):
    # Only one target of the first three samples counts, and no target of the last sample. A mean over no targets is
    # NaN, which must not change the result.
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 8, (6, 5), generator=draw)
    targets = torch.randint(0, 8, (6, 5), generator=draw)
    targets[:3] = -100
    targets[0, 0] = 4
    targets[5] = -100
    recorders = {}
    for accumulate in (1, 2, 6):
        recorder = recorders[accumulate] = Kept()
        trained(
            model=_seeded(Bigram),
            loader=[(inputs, targets)],
            loss=loss,
            step={"loss_mean_over": "tokens", "accumulate": accumulate},
            callbacks=[recorder],
            max_duration="1ba",
        )
    model = _seeded(Bigram)
    nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).backward()
    for recorder in recorders.values():
        torch.testing.assert_close(recorder.gradients[0][0], model.table.weight.grad, atol=1e-6, rtol=0)
        assert recorder.losses[0] == pytest.approx(recorders[1].losses[0], abs=1e-6)


# ---- clipping, against a calculation by hand


def first_gradients(**step):
    """The gradients of a step of two optimizers, each for one layer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    both = [torch.optim.SGD(model[0].parameters(), lr=0.1), torch.optim.SGD(model[2].parameters(), lr=0.2)]
    recorder = Kept()
    trained(24, model, optimizer=both, callbacks=[recorder], max_duration="1ba", step=step)
    return recorder.gradients[0]


def test_norm_is_computed_over_all_gradients_of_all_optimizers():
    free = first_gradients()
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in free))
    for gradient, expected in zip(first_gradients(clip_grad_norm=norm / 4, accumulate=3), free, strict=True):
        torch.testing.assert_close(gradient, expected / 4, atol=1e-6, rtol=1e-4)  # torch divides by norm + 1e-6
    assert all(map(torch.equal, first_gradients(clip_grad_norm=2 * norm), free))


def test_gradient_values_are_clipped_one_by_one():
    free = first_gradients()
    clipped = [gradient.clamp(-0.05, 0.05) for gradient in free]
    assert all(map(torch.equal, first_gradients(clip_grad_value=0.05), clipped))
    assert not all(map(torch.equal, free, clipped))


# ---- precision


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_forward_passes_use_the_precision_but_weights_stay_in_fp32(precision, dtype):
    dtypes = {True: set(), False: set()}
    model = nn.Linear(4, 3)
    model.register_forward_hook(lambda module, _, outputs: dtypes[module.training].add(outputs.dtype))
    loader = TensorLoader([INPUTS, TARGETS], 8)
    Trainer(model, loader, loader, precision=precision, device="cpu", progress="none").fit()
    assert dtypes == {True: {dtype}, False: {dtype}}  # also in evaluations
    assert model.weight.dtype is torch.float32


def test_fp16_scales_the_loss_and_clips_unscaled_gradients():
    # Gradients of 1e-9 are 0 in fp16. The same gradients times 65,536 are not.
    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, inputs):
            return self.linear(inputs).float() * 1e-3

    def run(**options):
        recorder = Kept()
        trained(24, _seeded(Tiny), callbacks=[recorder], max_duration="1ba", **options)
        return recorder.gradients[0]

    exact, scaled = run(), run(precision="fp16")
    for mine, theirs in zip(scaled, exact, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=5e-3, atol=1e-7)
    clipped = run(precision="fp16", step={"clip_grad_norm": 1e-4})
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in clipped))
    assert norm == pytest.approx(1e-4, rel=2e-2)


# ---- memory format and compiling


def test_channels_last_format_changes_the_layout_but_not_the_result():
    strides = []
    images, classes = torch.randn(12, 3, 8, 8), torch.arange(12) % 10

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 16, 3), nn.Linear(16, 10)

        def forward(self, inputs):
            strides.append(inputs.stride())
            return self.head(self.conv(inputs).mean((2, 3)))

    runs = []
    for channels_last in (False, True):
        strides.clear()
        loader = TensorLoader([images, classes], 6, shuffle=False)
        runs.append(trained(model=_seeded(Net), loader=loader, step={"channels_last": channels_last}))
        assert set(strides) == {(192, 1, 24, 3) if channels_last else (192, 64, 8, 1)}
    conv = runs[1].model.conv
    assert isinstance(conv, nn.Conv2d)
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(weights(runs[0]), weights(runs[1]), atol=1e-5, rtol=0)
