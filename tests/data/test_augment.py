from __future__ import annotations

import pytest
import torch

from ssr_hydra.data import RandomShift
from ssr_hydra.errors import InputError


def test_every_image_is_one_of_its_nine_shifts_and_each_of_them_comes_up() -> None:
    images = torch.rand(900, 2, 5, 4) + 0.5
    shifted = RandomShift(1)(images, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    windows = [padded[:, :, y : y + 5, x : x + 4] for y in range(3) for x in range(3)]
    hits = torch.stack([(window == shifted).flatten(1).all(1) for window in windows])
    assert torch.equal(hits.sum(0), torch.ones(900, dtype=torch.int64))
    assert hits.sum(1).min() > 60  # 100 expected, standard deviation 9.4


def test_the_generator_alone_decides() -> None:
    images, shift = torch.rand(16, 1, 8, 8), RandomShift(2)
    first = shift(images, torch.Generator().manual_seed(1))
    torch.rand(5)
    assert torch.equal(first, shift(images, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, shift(images, torch.Generator().manual_seed(2)))


def test_no_shift_changes_nothing() -> None:
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(RandomShift(0)(images, torch.Generator()), images)


@pytest.mark.parametrize("pixels", [-1, 1.0, True, "1"])
def test_bad_pixels_are_named(pixels: object) -> None:
    with pytest.raises(InputError, match="pixels"):
        RandomShift(pixels)  # type: ignore[arg-type]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[N, C, H, W\]"):
        RandomShift(1)(torch.rand(4, 64), torch.Generator())
