"""Configs of the language models and data sets."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from ssr_hydra.configs.tasks import as_train, data_config
from ssr_hydra.settings.data import SPLITS

__all__ = [
    "LANGUAGE_DATA",
    "LANGUAGE_MODELS",
    "ByteMLPConfig",
    "ByteTransformerConfig",
    "StdlibBytesConfig",
    "StdlibBytesDataConfig",
    "StdlibDocumentsConfig",
    "StdlibDocumentsDataConfig",
]


@dataclass
class ByteMLPConfig:
    """Config of ``model=byte_mlp``."""

    vocab_size: int = 256
    context: int = 6
    width: int = 32
    hidden: int = 288
    _target_: str = field(default="ssr_hydra.models.ByteMLP", init=False)


@dataclass
class ByteTransformerConfig:
    """Config of ``model=byte_transformer``."""

    vocab_size: int = 256
    width: int = 64
    depth: int = 2
    num_heads: int = 4
    mlp_width: int = 256
    dropout: float = 0.0
    tied: bool = True
    rope_base: float = 100.0
    _target_: str = field(default="ssr_hydra.models.ByteTransformer", init=False)


@dataclass
class StdlibBytesConfig:
    """One split of the source code of Python's standard library, as windows of bytes."""

    split: Annotated[str, SPLITS] = "train"
    length: int = 64
    eval_fraction: float = 0.1
    split_seed: int = 0
    limit: int | None = None
    _target_: str = field(default="ssr_hydra.data.StdlibBytes", init=False)


@dataclass
class StdlibDocumentsConfig:
    """One split of the source code of Python's standard library, as documents of different lengths."""

    split: Annotated[str, SPLITS] = "train"
    max_length: int = 256
    eval_fraction: float = 0.1
    split_seed: int = 0
    limit: int | None = None
    _target_: str = field(default="ssr_hydra.data.StdlibDocuments", init=False)


StdlibBytesDataConfig: Any = data_config(
    "StdlibBytesDataConfig",
    "``data=stdlib_bytes``: windows of bytes. Evaluation uses 1,024 windows, spread over all held-out files.",
    StdlibBytesConfig(),
    as_train(StdlibBytesConfig, split="eval", limit=1024),
    eval_batch_size=64,
)
StdlibDocumentsDataConfig: Any = data_config(
    "StdlibDocumentsDataConfig",
    "``data=stdlib_documents``: documents of different lengths. Each batch is padded to its longest document.",
    StdlibDocumentsConfig(),
    as_train(StdlibDocumentsConfig, split="eval", limit=512),
    eval_batch_size=64,
)

LANGUAGE_MODELS: dict[str, Any] = {"byte_mlp": ByteMLPConfig, "byte_transformer": ByteTransformerConfig}
"""Choices of the group ``model``."""

LANGUAGE_DATA: dict[str, Any] = {"stdlib_bytes": StdlibBytesDataConfig, "stdlib_documents": StdlibDocumentsDataConfig}
"""Choices of the group ``data``."""
