"""Start in the middle of an epoch of a loader without ``seek``. test_resuming.py tests whole runs."""

import pytest
import torch
from refusals import refused
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from ssr_hydra.checkpoints.format import check_state
from ssr_hydra.errors import UserCodeError, WrongTypeError
from ssr_hydra.trainer import Trainer
from ssr_hydra.trainer.rereading import Rereading

DATA = TensorDataset(torch.arange(20))


def numbers(batches):
    """Return the batches. Draw random numbers between them, as training does."""
    rows = []
    for (batch,) in batches:
        torch.rand(3)
        rows.append(batch.tolist())
    return rows


def generator():
    return torch.Generator().manual_seed(4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(DATA, 3, shuffle=True),
        lambda: DataLoader(DATA, 3, shuffle=True, generator=generator()),
        lambda: DataLoader(DATA, 3, sampler=RandomSampler(DATA, replacement=True, generator=generator())),
        lambda: DataLoader(DATA, 3, sampler=WeightedRandomSampler(torch.ones(20).tolist(), 20, generator=generator())),
    ],
)
@pytest.mark.parametrize("start", [0, 1, 4])
def test_resumed_epoch_has_the_remaining_batches_in_the_same_order(make, start):
    """Read the second epoch, from a given batch on, in a new loader."""
    torch.manual_seed(1)
    first = Rereading(make())
    numbers(first.batches(0, 0))
    before = first.state_dict(within=False)  # the start of the second epoch
    whole = numbers(first.batches(1, 0))
    within = first.state_dict(within=True)
    check_state(within)
    torch.manual_seed(2)  # as if a new process resumes the run
    again = Rereading(make())
    again.load_state_dict(within if start else before)
    assert numbers(again.batches(1, start)) == whole[start:]


def test_skipped_batches_do_not_change_the_random_state_of_training():
    loader = DataLoader(DATA, 3, shuffle=True)
    first = Rereading(loader)
    batches = first.batches(0, 0)
    for _ in range(3):
        next(batches)
    state = first.state_dict(within=True)
    torch.manual_seed(9)
    expected = torch.rand(2).tolist()
    torch.manual_seed(9)
    again = Rereading(loader)
    again.load_state_dict(state)
    again.batches(0, 3)
    assert torch.rand(2).tolist() == expected


def test_uninterrupted_run_has_the_order_of_the_plain_loader():
    torch.manual_seed(5)
    plain = [batch.tolist() for (batch,) in DataLoader(DATA, 3, shuffle=True)]
    torch.manual_seed(5)
    assert [batch.tolist() for (batch,) in Rereading(DataLoader(DATA, 3, shuffle=True)).batches(0, 0)] == plain


# ---- loaders with their own state


class Walk:
    """Five batches in each epoch, from a number that the loader itself keeps between epochs."""

    def __init__(self):
        self.number, self.position = 1, 0

    def __iter__(self):
        while self.position < 5:
            self.number, self.position = self.number * 3 % 31, self.position + 1  # 3 has order 30 modulo 31
            yield torch.full((2, 4), self.number / 31), torch.tensor([self.number % 3, 0])
        self.position = 0

    def state_dict(self):
        return {"number": self.number, "position": self.position}

    def load_state_dict(self, state):
        self.number, self.position = state["number"], state["position"]


class KnownLength(Walk):
    def __len__(self):
        return 5


class Eager(KnownLength):
    """A loader that moves to the next epoch when it returns the last batch of an epoch."""

    def __iter__(self):
        for _ in range(5 - self.position):
            self.number, self.position = self.number * 3 % 31, (self.position + 1) % 5
            yield torch.full((2, 4), self.number / 31), torch.tensor([self.number % 3, 0])


def train(run_dir, loader, fails_at=-1):
    """Train for 13 batches, or fail after a checkpoint. Return the first number of each batch, and the weights."""
    torch.manual_seed(0)
    model, first_numbers = nn.Linear(4, 3), []

    def loss(outputs, targets):
        if trainer.state.timestamp.batches == fails_at:
            raise LookupError("stop")
        return nn.functional.cross_entropy(outputs, targets)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    options = {"eval_interval": None, "log_interval": None, "device": "cpu", "progress": "none"}
    checkpoint = {"interval": None if fails_at < 0 else f"{fails_at}ba"}
    trainer = Trainer(
        model, loader, None, optimizer, None, "13ba", loss=loss, metrics={}, seed=0, run_dir=run_dir,
        checkpoint=checkpoint, **options
    )  # fmt: skip
    model.register_forward_pre_hook(lambda _, inputs: first_numbers.append(float(inputs[0].flatten()[0])))
    if fails_at < 0:
        trainer.fit()
    else:
        with pytest.raises(UserCodeError):
            trainer.fit()
        first_numbers.pop()
    return first_numbers, list(model.state_dict().values())


@pytest.mark.parametrize("make", [Walk, Eager])
def test_resumed_run_restores_the_state_of_its_loader(tmp_path, make):
    whole, weights = train(tmp_path / "whole", make())
    # 3 ** k modulo 31: 3, 9, 27, 81 - 62 = 19 ...
    assert [round(31 * number) for number in whole[:4]] == [3, 9, 27, 19]
    assert len(set(whole)) == 13
    for stop in (5, 7):  # at the end of an epoch, and in the middle of an epoch
        run_dir = tmp_path / str(stop)
        before, _ = train(run_dir, make(), stop)
        after, resumed = train(run_dir, make())
        assert before + after == whole, stop
        assert all(map(torch.equal, resumed, weights)), stop


def test_checkpoint_without_the_state_of_the_loader_skips_batches():
    """Checkpoints of release 0.2 have no state of the loader."""
    first = Rereading(Walk())
    batches = first.batches(0, 0)
    next(batches), next(batches)
    state = first.state_dict(within=True)
    del state["loader"]
    again = Rereading(Walk())
    again.load_state_dict(state)
    assert torch.equal(next(again.batches(0, 2))[0], next(batches)[0])


def test_loaded_state_is_saved_again_if_no_batch_was_read():
    """A resumed run that stops in its pending evaluation has read no batch."""
    first = Rereading(Walk())
    next(first.batches(0, 0))
    state = first.state_dict(within=True)
    again = Rereading(Walk())
    again.load_state_dict(state)
    assert again.state_dict(within=True) == state


def test_state_that_no_checkpoint_can_hold_is_refused_before_training(tmp_path):
    class Odd(Walk):
        def state_dict(self):
            return {"seen": {1, 2}}

    loader = Odd()
    with refused("train_dataloader.Odd.state_dict.seen", WrongTypeError):
        train(tmp_path, loader)
    assert loader.position == 1
    next(Rereading(loader).batches(0, 0))  # a run without checkpoints needs no state


def test_batches_are_skipped_if_the_wrapped_loader_of_accelerate_has_no_state():
    """Accelerate's loaders have the methods, but these fail if the wrapped loader lacks them."""

    class Wrapper(Walk):
        base_dataloader = DataLoader(DATA, 3)

        def state_dict(self):
            raise AttributeError("state_dict")

    loader = Rereading(Wrapper(), saves=True)
    next(loader.batches(0, 0))
    assert "loader" not in loader.state_dict(within=True)


def test_state_of_a_loader_that_is_also_used_for_evaluation_is_not_saved():
    loader = Rereading(Walk(), is_shared=True)
    next(loader.batches(0, 0))
    assert "loader" not in loader.state_dict(within=True)


@pytest.mark.filterwarnings("ignore")  # torchdata calls deprecated functions of torch
@pytest.mark.parametrize("stop", [5, 7])
def test_stateful_loader_of_torchdata_resumes_at_its_batch(tmp_path, stop):
    stateful = pytest.importorskip("torchdata.stateful_dataloader")
    data = TensorDataset(torch.arange(40.0).reshape(10, 4), torch.arange(10) % 3)

    def make(seed=1):
        torch.manual_seed(seed)  # its sampler draws a seed when it is created
        return stateful.StatefulDataLoader(data, 2, shuffle=True)

    whole, weights = train(tmp_path / "whole", make())
    before, _ = train(tmp_path / "run", make(), stop)
    after, resumed = train(tmp_path / "run", make(2))
    assert before + after == whole
    assert all(map(torch.equal, resumed, weights))
