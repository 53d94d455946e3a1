"""Small models of the built-in tasks."""

from ssr_hydra.models.nets import MLP, ConvNet

__all__ = ["MLP", "ConvNet"]
