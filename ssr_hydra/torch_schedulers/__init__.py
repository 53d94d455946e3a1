"""torch's schedulers as functions of training time that SSR can stretch.

Each class has the name, the arguments (without the optimizer) and the learning rates of a class in
``torch.optim.lr_scheduler``. A duration may be a time or a number of steps. ``pace`` sets whether a step is a batch or
an epoch. This package imports neither torch nor Hydra.
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
