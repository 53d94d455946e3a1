"""Built-in data sets (digits, images, tables, text), and seeded loaders for any data set."""

from ssr_hydra.data.arrays import Arrays
from ssr_hydra.data.augment import Augment, RandomCropFlip, RandomShift
from ssr_hydra.data.digits import Digits
from ssr_hydra.data.folders import ImageFolder
from ssr_hydra.data.loaders import TensorLoader, known_length, make_loaders
from ssr_hydra.data.seeded import SeededDataset, SeededSampler
from ssr_hydra.data.seeding import fold, seed_everything
from ssr_hydra.data.text import ByteWindows, StdlibBytes, StdlibDocuments
from ssr_hydra.data.vision import FakeData, SmallImages

__all__ = [
    "Arrays",
    "Augment",
    "ByteWindows",
    "Digits",
    "FakeData",
    "ImageFolder",
    "RandomCropFlip",
    "RandomShift",
    "SeededDataset",
    "SeededSampler",
    "SmallImages",
    "StdlibBytes",
    "StdlibDocuments",
    "TensorLoader",
    "fold",
    "known_length",
    "make_loaders",
    "seed_everything",
]
