"""Models of the built-in tasks: small nets, a vision transformer, and torchvision's models by name."""

from ssr_hydra.models.nets import MLP, ConvNet
from ssr_hydra.models.vision import torchvision_model
from ssr_hydra.models.vit import ViT

__all__ = ["MLP", "ConvNet", "ViT", "torchvision_model"]
