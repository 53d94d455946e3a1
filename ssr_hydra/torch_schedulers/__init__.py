"""torch's own schedulers as pure functions of training time: the same names, arguments and values, stretched by SSR.

Each describes the class of its name in ``torch.optim.lr_scheduler``, without an optimizer: durations may be times as
well as numbers of steps, and ``pace`` says what a step is. No torch and no Hydra is imported here.
"""

from ssr_hydra.torch_schedulers.base import Course, TorchScheduler
from ssr_hydra.torch_schedulers.combined import ChainedScheduler, SequentialLR
from ssr_hydra.torch_schedulers.cosines import CosineAnnealingLR, CosineAnnealingWarmRestarts
from ssr_hydra.torch_schedulers.cycles import CyclicLR, OneCycleLR
from ssr_hydra.torch_schedulers.factors import (
    ConstantLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from ssr_hydra.torch_schedulers.functions import LambdaLR, MultiplicativeLR
from ssr_hydra.torch_schedulers.plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "Course",
    "CyclicLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "TorchScheduler",
]
