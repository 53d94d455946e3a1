"""Models of the built-in tasks: small nets, transformers for images and for bytes, and torchvision's models."""

from ssr_hydra.models.language import ByteMLP, ByteTransformer
from ssr_hydra.models.nets import MLP, ConvNet
from ssr_hydra.models.next_token import bits_per_byte, next_token_loss
from ssr_hydra.models.vision import torchvision_model
from ssr_hydra.models.vit import ViT

__all__ = [
    "MLP",
    "ByteMLP",
    "ByteTransformer",
    "ConvNet",
    "ViT",
    "bits_per_byte",
    "next_token_loss",
    "torchvision_model",
]
