"""Vision transformer for images of any size."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssr_hydra.errors import MismatchError
from ssr_hydra.settings.base import count, fraction


class ViT(nn.Module):
    """Vision transformer with a class token and pre-norm blocks.

    The model cuts the image into (image_size / patch_size)^2 patches. Each patch becomes a token of ``width`` values.
    The defaults are for 32x32 images: 64 tokens and 2.7 million weights. The layers and initial distributions equal
    those of torchvision's ``VisionTransformer``, but this model accepts any number of channels.

    Args:
        image_size: Height and width of the images, in pixels, a multiple of ``patch_size``.
        patch_size: Height and width of a patch.
        in_channels: Channels of the images.
        num_classes: Number of classes.
        width: Size of a token's vector, a multiple of ``num_heads``.
        depth: Number of blocks.
        num_heads: Number of attention heads.
        mlp_width: Units of the hidden layer of a block.
        dropout: Fraction of values set to zero after the embedding, the attention and the linear layers.

    Raises:
        InputError: A size is below 1, ``patch_size`` does not divide ``image_size``, ``num_heads`` does not divide
            ``width``, or ``dropout`` is outside of [0, 1).

    Example:
        >>> ViT(image_size=8, patch_size=2, in_channels=1)(torch.zeros(16, 1, 8, 8)).shape
        torch.Size([16, 10])

    Source: Dosovitskiy et al. 2021, An Image is Worth 16x16 Words.
    """

    def __init__(
        self,
        image_size: int = 32,
        patch_size: int = 4,
        in_channels: int = 3,
        num_classes: int = 10,
        width: int = 192,
        depth: int = 6,
        num_heads: int = 3,
        mlp_width: int = 768,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = {"num_heads": num_heads, "patch_size": patch_size, "image_size": image_size, "in_channels": in_channels}
        sizes |= {"num_classes": num_classes, "mlp_width": mlp_width, "depth": depth}
        for field, value in sizes.items():
            count(value, field)
        if image_size % patch_size:
            divisors = [size for size in range(1, image_size + 1) if image_size % size == 0]
            nearest = min(divisors, key=lambda size: abs(size - patch_size))
            raise MismatchError("patch_size", patch_size, f"must divide image_size ({image_size})", f"try {nearest}")
        count(width, "width", multiple=num_heads)
        fraction(dropout, "dropout", zero=True)
        self.image_size, self.in_channels = image_size, in_channels
        self.embed = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        tokens = (image_size // patch_size) ** 2 + 1
        self.position = nn.Parameter(torch.empty(1, tokens, width).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(_EncoderBlock(width, num_heads, mlp_width, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.classifier = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.embed.weight, std=math.sqrt(1 / (in_channels * patch_size**2)))
        assert self.embed.bias is not None
        # All initial logits are equal, so the initial loss is log(num_classes).
        for zero in (self.embed.bias, self.classifier.weight, self.classifier.bias):
            nn.init.zeros_(zero)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, num_classes] of images [N, in_channels, image_size, image_size]."""
        expected = (self.in_channels, self.image_size, self.image_size)
        if tuple(images.shape[1:]) != expected:
            rule = f"must have the shape [N, {', '.join(map(str, expected))}]"
            fix = "set image_size and in_channels to the sizes of the images"
            raise MismatchError("images", tuple(images.shape), rule, fix)
        patches = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        tokens = self.blocks(self.dropout(tokens + self.position))
        logits: Tensor = self.classifier(self.norm(tokens[:, 0]))
        return logits


class _EncoderBlock(nn.Module):
    def __init__(self, width: int, num_heads: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        widen, narrow = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)
        self.mlp = nn.Sequential(widen, nn.GELU(), nn.Dropout(dropout), narrow)
        nn.init.xavier_uniform_(self.qkv.weight)
        for linear in (widen, narrow):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.normal_(linear.bias, std=1e-6)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.project.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        samples, length, width = tokens.shape
        qkv = self.qkv(self.norm_1(tokens)).view(samples, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(samples, length, width)
        tokens = tokens + F.dropout(self.project(mixed), self.dropout, self.training)
        return tokens + F.dropout(self.mlp(self.norm_2(tokens)), self.dropout, self.training)
