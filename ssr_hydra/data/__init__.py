"""Built-in data: the digits that every machine has, batches from memory, and seeded loaders for anybody's data set."""

from ssr_hydra.data.augment import Augment, RandomShift
from ssr_hydra.data.digits import Digits
from ssr_hydra.data.loaders import SeededDataset, SeededSampler, TensorLoader, known_length, make_loaders
from ssr_hydra.data.seeding import fold, seed_everything

__all__ = [
    "Augment",
    "Digits",
    "RandomShift",
    "SeededDataset",
    "SeededSampler",
    "TensorLoader",
    "fold",
    "known_length",
    "make_loaders",
    "seed_everything",
]
