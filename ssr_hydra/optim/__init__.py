"""torch schedulers that apply this package's schedules, and functions that create param groups from rules."""

from ssr_hydra.optim.compiled import compile_composer_scheduler
from ssr_hydra.optim.groups import param_groups, split_params
from ssr_hydra.optim.scheduled import ScheduledLR
from ssr_hydra.optim.torch_schedulers import Paced

__all__ = ["Paced", "ScheduledLR", "compile_composer_scheduler", "param_groups", "split_params"]
