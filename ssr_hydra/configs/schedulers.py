"""One config for each scheduler of this package and of torch, derived from the scheduler's class.

Durations are strings. An argument without a default has a preset value in the config, so that ``scheduler=<name>``
alone works. Only functions have no preset: ``torch_lambda`` and ``torch_multiplicative`` need
``scheduler.lr_lambda._target_``. The config of ``RexScheduler`` is ``RexSchedulerConfig``.

Some choices need more than one value on the command line:

- ``scheduler=piecewise_linear scheduler.points=[[0dur,0],[0.2dur,1],[1dur,0.1]]``.
- ``scheduler=product``: named factors. Each factor is a choice of the group ``scheduler``. The preset is ``warmup``
  times ``decay``. ``scheduler@scheduler.factors.decay=polynomial`` replaces a factor,
  ``+scheduler@scheduler.factors.third=step`` adds a factor, ``~scheduler@scheduler.factors.warmup`` removes a factor.
- ``scheduler=sequence``: named phases, which follow one another. The preset is ``warmup``, then ``decay``.
  ``scheduler@scheduler.phases.decay.scheduler=rex`` replaces the scheduler of a phase,
  ``scheduler.phases.warmup.until`` sets the end of a phase (the last phase needs no end),
  ``+scheduler@scheduler.phases.<name>.scheduler=<choice>`` adds a phase.
- ``scheduler=torch_sequential``: ``warmup`` for the first 5 % of the run, then ``decay``.
  ``scheduler@scheduler.schedulers.decay=torch_exponential`` replaces a scheduler. ``scheduler.milestones=[5]`` sets
  the start of each scheduler except the first.
"""

from __future__ import annotations

from typing import Any

from ssr_hydra.configs.derive import configs_of
from ssr_hydra.schedulers.registry import ROWS

# The class and the preset arguments of each torch scheduler. torch_plateau has mode=auto, not torch's default min: the
# name of the metric trainer.objective decides whether lower or higher is better.
_TORCH: dict[str, tuple[str, dict[str, Any]]] = {
    "torch_step": ("StepLR", {"step_size": "0.3dur"}),
    "torch_multistep": ("MultiStepLR", {"milestones": ["0.5dur", "0.75dur"]}),
    "torch_constant": ("ConstantLR", {}),
    "torch_linear": ("LinearLR", {}),
    "torch_exponential": ("ExponentialLR", {"gamma": 0.9}),
    "torch_polynomial": ("PolynomialLR", {}),
    "torch_cosine": ("CosineAnnealingLR", {"T_max": "1dur"}),
    "torch_cosine_restarts": ("CosineAnnealingWarmRestarts", {"T_0": "0.25dur"}),
    "torch_cyclic": ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1}),
    "torch_onecycle": ("OneCycleLR", {"max_lr": 0.1}),
    "torch_lambda": ("LambdaLR", {}),
    "torch_multiplicative": ("MultiplicativeLR", {}),
    "torch_sequential": ("SequentialLR", {"schedulers": {}, "milestones": ["0.05dur"]}),
    "torch_chained": ("ChainedScheduler", {"schedulers": {}}),
    "torch_plateau": ("ReduceLROnPlateau", {"mode": "auto"}),
}
SCHEDULERS: dict[str, Any] = configs_of(
    {
        **{row.name: (f"ssr_hydra.schedulers.{row.scheduler.__name__}", row.presets) for row in ROWS},
        **{choice: (f"ssr_hydra.torch_schedulers.{name}", presets) for choice, (name, presets) in _TORCH.items()},
    },
    module=__name__,
)
"""Choices of the group ``scheduler``."""
globals().update((config.__name__, config) for config in SCHEDULERS.values())  # pickle finds the classes by name

# An increase from 0 to 1, the usual first phase of a sequence.
SCHEDULERS["ramp"] = SCHEDULERS["linear"](alpha_i=0.0, alpha_f=1.0)
SCHEDULERS["custom"] = {"_target_": "???"}
