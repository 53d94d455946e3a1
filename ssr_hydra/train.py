"""The functions :func:`train` and :func:`build`; see :mod:`ssr_hydra.app.train`."""

from ssr_hydra.app.train import build, train

__all__ = ["build", "train"]
