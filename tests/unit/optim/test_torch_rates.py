"""The rates of torch's schedulers for one optimizer; tests/unit/trainer/test_learning_rates.py tests whole runs."""

import torch
from optim_helpers import parameter
from refusals import refused

from ssr_hydra import torch_schedulers as described
from ssr_hydra.errors import MismatchError
from ssr_hydra.optim.torch_rates import SchedulerEntry, TorchRates
from ssr_hydra.schedulers.run import Run
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp


def rates(optimizer, *schedulers, pace="batch"):
    entries = [SchedulerEntry(f"schedulers[{i}]", item, None, pace) for i, item in enumerate(schedulers)]
    torch_rates = TorchRates(
        optimizer, entries, Run.of(State("8ba", dataloader_len=2)), runs_as_it_is=True, is_new=True
    )
    torch_rates.refresh(pace, Timestamp())
    return torch_rates


def test_alpha_multiplies_the_rates_in_the_optimizer_but_not_the_stored_rates():
    optimizer = torch.optim.SGD([parameter()], lr=0.8)
    torch_rates = rates(optimizer, described.StepLR(2, 0.5))
    torch_rates.refresh("batch", Timestamp(batch=5))
    torch_rates.write(0.5)
    assert (torch_rates.rates(), optimizer.param_groups[0]["lr"]) == ([0.2], 0.1)
    torch_rates.refresh("epoch", Timestamp(batch=7))  # the schedule steps by batches, not by epochs
    assert (torch_rates.rates(), torch_rates.moves_by("epoch"), torch_rates.moves_by("batch")) == ([0.2], False, True)


def test_momentum_is_the_first_beta_if_the_optimizer_has_betas():
    cycle = described.CyclicLR(0.1, 1.0, 2, base_momentum=0.6, max_momentum=0.9)
    adam = torch.optim.AdamW([parameter()], betas=(0.5, 0.999))
    torch_rates = rates(adam, cycle)
    assert adam.param_groups[0]["betas"] == (0.9, 0.999)
    torch_rates.refresh("batch", Timestamp(batch=2))
    assert adam.param_groups[0]["betas"] == (0.6, 0.999)
    beta = torch.tensor(0.5, dtype=torch.float64)
    capturable = torch.optim.AdamW([parameter()], betas=(beta, torch.tensor(0.999, dtype=torch.float64)), foreach=False)
    rates(capturable, cycle)
    assert capturable.param_groups[0]["betas"][0] is beta
    assert float(beta) == 0.9


def test_error_for_a_list_with_fewer_values_than_param_groups_names_the_list():
    optimizer = torch.optim.SGD([parameter()], lr=0.8)
    torch_rates = rates(optimizer, described.LambdaLR([lambda step: 1.0]))
    optimizer.add_param_group({"params": [parameter()], "lr": 0.1})
    with refused("schedulers[0].lr_lambda", MismatchError, match=r"\(2\), but has 1") as caught:
        torch_rates.refresh("batch", Timestamp(batch=1))
    assert caught.value.field == "schedulers[0].lr_lambda"


def test_groups_that_share_a_tensor_lr_have_the_same_initial_rate():
    lr = torch.tensor(0.8, dtype=torch.float64)
    optimizer = torch.optim.SGD([parameter()], lr=lr)
    torch_rates = rates(optimizer, described.ExponentialLR(0.5))
    torch_rates.refresh("batch", Timestamp(batch=1))
    torch_rates.write(1.0)
    optimizer.add_param_group({"params": [parameter()]})  # the tensor of the optimizer's default, not a copy
    torch_rates.refresh("batch", Timestamp(batch=2))
    torch_rates.write(1.0)
    assert float(lr) == 0.2
    assert [float(group["initial_lr"]) for group in optimizer.param_groups] == [0.8, 0.8]


def test_loaded_rates_are_the_scheduled_rates():
    optimizer, other = torch.optim.SGD([parameter()], lr=0.8), torch.optim.SGD([parameter()], lr=0.4)
    torch_rates = rates(optimizer, described.ExponentialLR(0.5))
    rates(other, described.ExponentialLR(0.5))
    optimizer.load_state_dict(other.state_dict())
    torch_rates.refresh("batch", Timestamp(batch=1))
    torch_rates.write(1.0)
    assert optimizer.param_groups[0]["lr"] == 0.2
