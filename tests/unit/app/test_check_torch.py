"""torch's schedulers in a config: errors before torch is imported, and the created schedulers."""

from cases import each
from refusals import refused

from ssr_hydra.app.check import check, check_schedule
from ssr_hydra.app.factory import make_schedulers
from ssr_hydra.errors import ConflictError, RangeError, UntrustedError
from ssr_hydra.torch_schedulers import CosineAnnealingLR, LinearLR, SequentialLR, StepLR


def test_function_in_a_torch_scheduler_must_be_trusted(composed):
    function = "scheduler.lr_lambda={_target_:mine.decay,_partial_:true}"
    for name in ("torch_lambda", "torch_multiplicative"):
        with refused("scheduler.lr_lambda._target_", UntrustedError, match=r"trust=\[mine\]"):
            check(composed(f"scheduler={name}", function))
        check(composed(f"scheduler={name}", function), trust="mine")


SEQUENCE = SequentialLR(
    {"warmup": LinearLR(0.01, total_iters="1dur"), "decay": CosineAnnealingLR("1dur", 1e-4)}, ["500ba"], pace="batch"
)
CREATED = {
    "torch_step scheduler.step_size=30 scheduler.pace=batch": StepLR(30, 0.1, pace="batch"),
    "torch_step scheduler.step_size=30ba": StepLR("30ba", 0.1),
    "custom scheduler._target_=torch.optim.lr_scheduler.StepLR +scheduler.step_size=3ep ssr=0.5": StepLR("3ep"),
    "torch_sequential scheduler.schedulers.warmup.start_factor=0.01 scheduler.milestones=[500ba] "
    "scheduler.schedulers.decay.eta_min=1e-4 scheduler.pace=batch": SEQUENCE,
}


@each("overrides,scheduler", CREATED.items())
def test_torch_scheduler_of_a_config_has_the_arguments_of_the_config(composed, overrides, scheduler):
    assert make_schedulers(check(composed(*f"scheduler={overrides}".split())), (), []) == scheduler


def test_epoch_length_of_text_is_known_in_tokens(composed):
    values = check(composed("experiment=byte_lm", "scheduler=torch_cosine"))  # the text has not been read
    # A batch is 8 windows of 16 bytes, so 204,800 tokens are 1,600 batches.
    with refused("scheduler.pace", RangeError):
        check_schedule(values, dataloader_len=1600)
    check_schedule(values, dataloader_len=1599)


def test_torch_schedulers_in_a_list_are_chained_and_multiply_other_schedules(composed):
    def listed(*names):
        values = dict(composed())
        values["scheduler"] = [composed(f"scheduler={name}").scheduler for name in names]
        return values

    check(listed("torch_step", "torch_exponential", "cosine"))
    check(listed("torch_cosine_restarts", "cosine"))
    with refused("scheduler[2]", ConflictError):
        check(listed("cosine", "torch_step", "torch_cosine_restarts"))
