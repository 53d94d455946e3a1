"""Models: small networks for images and bytes, and the models of torchvision and timm."""

from ssr_hydra.models.language import ByteMLP, ByteTransformer
from ssr_hydra.models.nets import MLP, ConvNet
from ssr_hydra.models.next_token import bits_per_byte, next_token_loss
from ssr_hydra.models.vision import torchvision_model
from ssr_hydra.models.vision_timm import timm_model
from ssr_hydra.models.vit import ViT

__all__ = [
    "MLP",
    "ByteMLP",
    "ByteTransformer",
    "ConvNet",
    "ViT",
    "bits_per_byte",
    "next_token_loss",
    "timm_model",
    "torchvision_model",
]
