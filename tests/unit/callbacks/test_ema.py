import copy
import math

import pytest
import torch
from callback_helpers import StubTrainer
from refusals import refused
from torch import nn

from ssr_hydra.callbacks import EMA
from ssr_hydra.errors import MismatchError, RangeError


def scalar(value=1.0):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def average(ema, name="weight"):
    return float(ema.state_dict()["average"][name])


def started(model, **options):
    """Return an average without warmup at the start of a run, and the run's trainer."""
    ema, trainer = EMA(**{"warmup": False, **options}), StubTrainer(None, model=model)
    ema.fit_start(trainer)
    return ema, trainer


def steps(ema, trainer, first, last):
    """Run batches first..last; after each, the weight is the number of the batch."""
    for batch in range(first, last + 1):
        nn.init.constant_(trainer.model.weight, float(batch))
        ema.batch_end(trainer.at(batch), torch.tensor(0.0))


def test_average_equals_the_explicit_sum_over_all_batches():
    ema, trainer = started(scalar(0.0), decay=0.75)
    steps(ema, trainer, 1, 10)
    # Unrolled: the average is the sum of 0.25 * 0.75 ** (10 - k) times the weight after batch k, which is k, plus
    # 0.75 ** 10 times the first weight, which is 0.
    assert average(ema) == pytest.approx(sum(0.25 * 0.75 ** (10 - k) * k for k in range(1, 11)), rel=1e-6)


def test_first_decays_with_warmup_equal_the_formula():
    ema, trainer = started(scalar(0.0), decay=0.2, warmup=True)
    expected = 0.0
    for batch, decay in enumerate((1 / 10, 2 / 11, 0.2, 0.2), start=1):  # 3 / 12 is above 0.2
        steps(ema, trainer, batch, batch)
        expected = decay * expected + (1 - decay) * batch
        assert average(ema) == pytest.approx(expected, rel=1e-6)


def test_with_interval_k_every_kth_batch_is_averaged():
    ema, trainer = started(scalar(0.0), decay=0.5, interval=3)
    steps(ema, trainer, 1, 7)
    assert (ema.updates, average(ema)) == (2, 0.5 * (0.5 * 3) + 0.5 * 6)


@pytest.mark.parametrize(
    ("half_life", "batches"), [("8ba", 8), ("0.04dur", 4), ("0.5ep", 5), ("80sp", 5), ("0.125dur", 12.5)]
)
def test_half_life_in_any_unit_is_converted_to_a_decay(half_life, batches):
    ema = EMA(half_life=half_life, interval=2)
    ema.fit_start(StubTrainer(None, samples_per_batch=16))
    assert ema.decay == 0.5 ** (2 / batches)


def test_statistics_are_averaged_and_counters_are_copied():
    model = nn.BatchNorm1d(1)
    ema, _ = started(model, decay=0.5)
    model(torch.tensor([[2.0], [4.0]]))  # mean 3: running mean 0.1 * 3
    ema.update()
    assert average(ema, "running_mean") == pytest.approx(0.15)
    assert average(ema, "num_batches_tracked") == 1


def test_tied_weights_are_averaged_once():
    model = nn.Sequential(scalar(), scalar())
    model[1].weight = model[0].weight
    ema, _ = started(model, decay=0.5)
    nn.init.constant_(model[0].weight, 3.0)
    ema.update()
    with ema.swapped():
        assert (model[0].weight.item(), model[1].weight.item()) == (2.0, 2.0)
    assert (model[0].weight.item(), average(ema, "0.weight")) == (3.0, 2.0)


def filled(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in second) and first.keys() == second.keys()


def train(ema, trainer, first, last):
    """Run batches first..last; the weights after a batch depend only on its number."""
    for batch in range(first, last + 1):
        generator = torch.Generator().manual_seed(batch)
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        ema.batch_end(trainer.at(batch), torch.tensor(0.0))


@pytest.mark.parametrize("end", ["eval_end", "fit_end"])  # fit_end after a failed evaluation
def test_evaluation_uses_the_average_and_its_end_restores_the_weights_bitwise(end):
    ema, trainer = started(filled(0), decay=0.9)
    tensors = dict(trainer.model.state_dict(keep_vars=True))
    train(ema, trainer, 1, 1)
    weights, averaged = copy.deepcopy(trainer.model.state_dict()), ema.state_dict()["average"]
    assert not same(weights, averaged)
    ema.eval_start(trainer)
    assert same(trainer.model.state_dict(), averaged)
    assert same(ema.state_dict()["average"], averaged)  # also in a checkpoint during an evaluation
    getattr(ema, end)(trainer, {})
    assert same(trainer.model.state_dict(), weights)
    assert same(ema.state_dict()["average"], averaged)
    assert all(tensor is tensors[name] for name, tensor in trainer.model.state_dict(keep_vars=True).items())


def test_evaluation_can_use_the_raw_weights():
    ema, trainer = started(scalar(), decay=0.5, evaluate=False)
    steps(ema, trainer, 3, 3)
    ema.eval_start(trainer)
    assert trainer.model.weight.item() == 3.0
    ema.eval_end(trainer, {})
    assert average(ema) == 2.0


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_resumed_average_is_bitwise_equal(tmp_path, stop):
    options = {"decay": 0.9, "interval": 2, "warmup": True}
    whole, trainer = started(filled(0), **options)
    train(whole, trainer, 1, 12)
    before, trainer = started(filled(0), **options)
    train(before, trainer, 1, stop)
    torch.save(before.state_dict(), tmp_path / "state.pt")
    after, trainer = EMA(**options), StubTrainer(None, model=filled(1))
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    after.fit_start(trainer)
    train(after, trainer, stop + 1, 12)
    assert same(after.state_dict()["average"], whole.state_dict()["average"])
    assert after.updates == whole.updates == 6


def test_average_can_be_copied_into_a_model_for_export():
    other = filled(1)
    ema, _ = started(filled(0))
    ema.copy_to(other)
    assert same(other.state_dict(), ema.state_dict()["average"])
    with refused("ema", MismatchError, r"0.weight has the shape"):
        ema.copy_to(nn.Sequential(nn.Linear(1, 1)))


def test_average_of_a_different_model_is_refused():
    ema = EMA()
    ema.load_state_dict({"updates": 1, "average": {"weight": torch.zeros(2, 2)}})
    with refused("ema", MismatchError, r"\(2, 2\) in the saved average and \(1, 1\) in the model"):
        ema.fit_start(StubTrainer(None, model=scalar()))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"decay": 1.0}, "decay"),
        ({"decay": -0.1}, "decay"),
        ({"decay": math.nan}, "decay"),
        ({"decay": True}, "decay"),
        ({"decay": 0.9, "half_life": "1ep"}, "half_life"),
        ({"half_life": "0ba"}, "half_life"),
        ({"half_life": "10"}, "half_life"),
        ({"half_life": "10s"}, "half_life"),
        ({"half_life": "10sec"}, "half_life"),
        ({"interval": 0}, "interval"),
        ({"interval": True}, "interval"),
        ({"warmup": 1}, "warmup"),
    ],
)
def test_invalid_arguments_are_refused(arguments, field):
    with refused(field):
        EMA(**arguments)


def test_error_for_a_decay_suggests_a_usual_decay():
    with refused("decay", RangeError, "write e.g. 0.999$"):
        EMA(decay=1.0)
