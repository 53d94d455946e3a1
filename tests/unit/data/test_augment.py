import torch
from refusals import refused

from ssr_hydra.data import RandomCropFlip, RandomShift
from ssr_hydra.errors import MismatchError, RangeError


def test_error_for_invalid_pixels_or_shape_names_the_argument():
    for cls, field in ((RandomShift, "pixels"), (RandomCropFlip, "padding")):
        with refused(field, RangeError):
            cls(-1)
        with refused("augment", MismatchError):
            cls(1)(torch.rand(4, 64), torch.Generator())


def test_crops_are_shifts_and_every_second_image_is_mirrored():
    images = torch.rand(1800, 2, 5, 4) + 0.5
    augmented = RandomCropFlip(padding=1)(images, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    windows = [padded[:, :, y : y + 5, x : x + 4] for y in range(3) for x in range(3)]
    plain = torch.stack([(window == augmented).flatten(1).all(1) for window in windows])
    mirrored = torch.stack([(window.flip(3) == augmented).flatten(1).all(1) for window in windows])
    assert torch.equal(plain.sum(0) + mirrored.sum(0), torch.ones(1800, dtype=torch.int64))
    assert 820 < mirrored.sum() < 980  # 900 expected, standard deviation 21
    assert (plain.sum(1) + mirrored.sum(1)).min() > 145  # 200 expected, standard deviation 13.3


def test_crop_and_flip_are_optional():
    images, seed = torch.rand(32, 1, 8, 8), torch.Generator().manual_seed
    assert torch.equal(RandomCropFlip(2, flip=False)(images, seed(3)), RandomShift(2)(images, seed(3)))
    assert torch.equal(RandomShift(0)(images, seed(3)), images)
    flipped = RandomCropFlip(0)(images, seed(3))
    same, mirrored = ((flipped == other).flatten(1).all(1) for other in (images, images.flip(3)))
    assert torch.equal(same, ~mirrored)
    assert same.any()
    assert mirrored.any()


def test_crops_depend_only_on_the_generator():
    images, augment = torch.rand(16, 3, 8, 8), RandomCropFlip(2)
    first = augment(images, torch.Generator().manual_seed(1))
    torch.rand(5)
    assert torch.equal(first, augment(images, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, augment(images, torch.Generator().manual_seed(2)))
    assert repr(augment) == "RandomCropFlip(padding=2, flip=True)"
