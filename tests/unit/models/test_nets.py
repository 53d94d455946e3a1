import pytest
import torch
from refusals import refused

from ssr_hydra.models import MLP, ConvNet


@pytest.mark.parametrize("size", [8, 9, 28])
def test_convnet_accepts_images_of_any_size_and_channels(size):
    assert ConvNet(3, 7, (8, 16, 4))(torch.rand(5, 3, size, size)).shape == (5, 7)


def test_default_convnet_has_1922_parameters():
    assert sum(p.numel() for p in ConvNet().parameters()) == 72 + 16 + 1152 + 32 + 650


def test_outputs_of_a_sample_do_not_depend_on_the_batch():
    net, images = ConvNet(), torch.rand(6, 1, 8, 8)
    torch.testing.assert_close(net(images)[:1], net(images[:1]))


def test_mlp_flattens_its_input_and_is_linear_without_hidden_layers():
    assert MLP(64, (), 10)(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert sum(p.numel() for p in MLP(64, (), 10).parameters()) == 650
    assert sum(p.numel() for p in MLP().parameters()) == 64 * 128 + 128 + 1290


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: ConvNet(0), "in_channels"),
        (lambda: ConvNet(widths=(8, 6)), "widths[1]"),
        (lambda: ConvNet(widths=()), "widths"),
        (lambda: ConvNet(widths="8"), "widths"),
        (lambda: MLP(hidden=(128, 0)), "hidden[1]"),
        (lambda: MLP(num_classes=0), "num_classes"),
    ],
)
def test_error_for_an_invalid_size_names_the_argument(build, field):
    with refused(field):
        build()
