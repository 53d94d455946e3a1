"""Loggers and callbacks, such as an average of the weights or a profiler.

A callback is any object with one or more of the methods in :data:`~ssr_hydra.callbacks.events.EVENTS`. It needs no base
class. The callbacks in this package are dataclasses. Each class is also the schema of its node in the config, and
checks the node's values. torch and the loggers' packages are imported when a run starts.
"""

from ssr_hydra.callbacks.csv import CSVLogger
from ssr_hydra.callbacks.ema import EMA
from ssr_hydra.callbacks.events import EVENTS, Events
from ssr_hydra.callbacks.mlflow import MLflowLogger
from ssr_hydra.callbacks.profiler import Profiler
from ssr_hydra.callbacks.tensorboard import TensorBoardLogger
from ssr_hydra.callbacks.throughput import Throughput
from ssr_hydra.callbacks.trackio import TrackioLogger
from ssr_hydra.callbacks.wandb import WandbLogger

__all__ = [
    "EMA",
    "EVENTS",
    "CSVLogger",
    "Events",
    "MLflowLogger",
    "Profiler",
    "TensorBoardLogger",
    "Throughput",
    "TrackioLogger",
    "WandbLogger",
]
