"""Small language models over bytes: a multilayer perceptron over the last bytes, and a decoder transformer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssr_hydra.errors import RangeError, WrongTypeError
from ssr_hydra.models.next_token import next_token_loss
from ssr_hydra.settings.base import count, fraction, number


class ByteMLP(nn.Module):
    """Multilayer perceptron that predicts the next byte from the embeddings of the last ``context`` bytes.

    Position i reads the tokens i - context + 1 to i. A special token replaces positions before the start of the window.
    With the defaults, the model has 138 thousand weights.

    Args:
        vocab_size: Number of different tokens; 256 for bytes.
        context: Number of tokens that a prediction reads, including the current token.
        width: Size of the embedding of a token.
        hidden: Units of the hidden layer.

    Raises:
        InputError: A size is below 1.

    Example:
        >>> ByteMLP()(torch.zeros(8, 16, dtype=torch.int64)).shape
        torch.Size([8, 16, 256])

    Source: Bengio et al. 2003, A Neural Probabilistic Language Model. This class adds GELU and RMSNorm.
    """

    def __init__(self, vocab_size: int = 256, context: int = 6, width: int = 32, hidden: int = 288) -> None:
        super().__init__()
        for field, value in (("vocab_size", vocab_size), ("context", context), ("width", width), ("hidden", hidden)):
            count(value, field)
        self.context, self.nothing = context, vocab_size
        self.embed = nn.Embedding(vocab_size + 1, width)
        self.mix = nn.Linear(context * width, hidden)
        self.norm = nn.RMSNorm(hidden)
        self.unembed = nn.Linear(hidden, vocab_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> Any:
        """Return logits [N, L, vocab_size] of tokens [N, L]; with labels, a mapping of ``loss`` and ``logits``.

        Args:
            input_ids: Tokens.
            attention_mask: [N, L], 0 for padding. A special token replaces padding, and also positions before the start
                of the window.
            labels: The tokens of ``input_ids``, with -100 for positions without a loss. The model predicts each token
                from the tokens before it.
        """
        _check_tokens(input_ids)
        if attention_mask is not None:
            input_ids = input_ids.masked_fill(attention_mask == 0, self.nothing)
        tokens = self.embed(F.pad(input_ids, (self.context - 1, 0), value=self.nothing))
        # unfold() returns a view [N, L, width, context].
        around = tokens.unfold(1, self.context, 1).transpose(2, 3).flatten(2)
        # Under autocast, the values may be bf16 or fp16, but the norm needs the dtype of its weights.
        hidden = F.gelu(self.mix(around)).to(self.norm.weight.dtype)
        return _answer(self.unembed(self.norm(hidden)), labels)


class ByteTransformer(nn.Module):
    """Decoder transformer with causal attention, pre-norm blocks and rotary positions, without biases.

    A block computes ``x + attention(norm(x))``, then ``x + mlp(norm(x))``. Every block is the identity at
    initialization. After the blocks, a norm and a linear layer compute the logits. With the defaults, the model has 115
    thousand weights.

    A window may have any length. But a model that was trained on short windows predicts poorly on longer windows.

    Args:
        vocab_size: Number of different tokens; 256 for bytes.
        width: Size of a token's vector, a multiple of ``2 * num_heads``.
        depth: Number of blocks.
        num_heads: Number of attention heads.
        mlp_width: Units of the hidden layer of a block.
        dropout: Fraction of values set to zero after the embedding, the attention and the linear layers.
        tied: Whether the linear layer for the logits uses the weights of the embedding.
        rope_base: Base of the rotary positions (RoPE). The slowest rotation takes about ``2 pi rope_base``
            positions, which should exceed the length of a window.

    Raises:
        InputError: A size is below 1, ``width`` is not a multiple of ``2 * num_heads``, ``dropout`` is outside of
            [0, 1), or ``rope_base`` is not above 1.

    Example:
        >>> ByteTransformer()(torch.zeros(8, 64, dtype=torch.int64)).shape
        torch.Size([8, 64, 256])

    Source: Vaswani et al. 2017, Attention Is All You Need; pre-norm and scales as in Radford et al. 2019 (GPT-2);
    rotary positions from Su et al. 2021 (RoFormer).
    """

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 64,
        depth: int = 2,
        num_heads: int = 4,
        mlp_width: int = 256,
        dropout: float = 0.0,
        tied: bool = True,
        rope_base: float = 100.0,
    ) -> None:
        super().__init__()
        sizes = {"vocab_size": vocab_size, "depth": depth, "num_heads": num_heads, "mlp_width": mlp_width}
        for field, value in sizes.items():
            count(value, field)
        count(width, "width", multiple=2 * num_heads)  # each head rotates pairs of values, so its width must be even
        fraction(dropout, "dropout", zero=True)
        if not 1 < number(rope_base, "rope_base") < float("inf"):
            raise RangeError("rope_base", rope_base, "must be a finite number above 1", "write e.g. 100")
        self.embed = nn.Embedding(vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([_DecoderBlock(width, num_heads, mlp_width, dropout) for _ in range(depth)])
        self.norm = nn.RMSNorm(width)
        self.unembed = nn.Linear(width, vocab_size, bias=False)
        # With tied weights, the initial logits are about sqrt(width) / 10.
        nn.init.normal_(self.embed.weight, std=0.1)
        nn.init.normal_(self.unembed.weight, std=0.1)
        if tied:
            self.unembed.weight = self.embed.weight
        pairs = width // num_heads // 2
        speeds = rope_base ** -(torch.arange(pairs, dtype=torch.float32) / pairs)
        self.speeds: Tensor
        self.register_buffer("speeds", speeds, persistent=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> Any:
        """Return logits [N, L, vocab_size] of tokens [N, L]; with labels, a mapping of ``loss`` and ``logits``.

        Args:
            input_ids: Tokens.
            attention_mask: [N, L], 0 for padding. No token attends to padding.
            labels: See :meth:`ByteMLP.forward`.
        """
        _check_tokens(input_ids)
        length = input_ids.shape[1]
        angles = torch.outer(torch.arange(length, device=input_ids.device, dtype=torch.float32), self.speeds)
        rotation = (angles.cos(), angles.sin())
        mask = None if attention_mask is None else _seen(attention_mask)
        tokens = self.dropout(self.embed(input_ids))
        for block in self.blocks:
            tokens = block(tokens, rotation, mask)
        return _answer(self.unembed(self.norm(tokens)), labels)


class _DecoderBlock(nn.Module):
    def __init__(self, width: int, num_heads: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.norm_1, self.norm_2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.widen, self.narrow = nn.Linear(width, mlp_width, bias=False), nn.Linear(mlp_width, width, bias=False)
        for linear in (self.qkv, self.widen):
            nn.init.normal_(linear.weight, std=width**-0.5)
        for linear in (self.project, self.narrow):  # with weights of 0, the block is the identity at initialization
            nn.init.zeros_(linear.weight)

    def forward(self, tokens: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        samples, length, width = tokens.shape
        qkv = self.qkv(self.norm_1(tokens)).view(samples, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query, key = _rotated(query, *rotation), _rotated(key, *rotation)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        mixed = self.project(mixed.transpose(1, 2).reshape(samples, length, width))
        tokens = tokens + F.dropout(mixed, self.dropout, self.training)
        return tokens + F.dropout(self.narrow(F.gelu(self.widen(self.norm_2(tokens)))), self.dropout, self.training)


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of values by an angle that is proportional to the position."""
    a, b = heads.chunk(2, -1)
    # Under autocast, the heads are bf16 or fp16, but cos and sin are fp32.
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(heads.dtype)


def _seen(mask: Tensor) -> Tensor:
    """Return the attention mask [N, 1, L, L]. A position attends to itself and to earlier tokens, but not to padding.

    Padding attends to itself, because softmax over an empty row would divide by zero.
    """
    length = mask.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=mask.device)
    return ((causal & (mask != 0)[:, None, :]) | itself)[:, None]


def _answer(logits: Tensor, labels: Tensor | None) -> Any:
    if labels is None:
        return logits
    return {"loss": next_token_loss({"logits": logits}, {"labels": labels}), "logits": logits}


def _check_tokens(tokens: Tensor) -> None:
    if tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32):
        rule = "must be tokens [N, L] as integers"
        raise WrongTypeError(
            "input_ids", f"{list(tokens.shape)} of {tokens.dtype}", rule, "choose e.g. data=stdlib_bytes"
        )
