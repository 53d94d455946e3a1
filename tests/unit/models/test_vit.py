import math
import re

import pytest
import torch
import torch.nn.functional as F
from refusals import refused

from ssr_hydra.errors import MismatchError
from ssr_hydra.models import ViT

SMALL = {"image_size": 12, "patch_size": 4, "width": 24, "depth": 3, "num_heads": 2, "mlp_width": 40}


def test_vit_equals_the_torchvision_model_with_the_same_weights():
    vision_transformer = pytest.importorskip("torchvision.models.vision_transformer")
    torch.manual_seed(0)
    ours = ViT(num_classes=5, **SMALL)
    theirs = vision_transformer.VisionTransformer(
        image_size=12, patch_size=4, num_layers=3, num_heads=2, hidden_dim=24, mlp_dim=40, num_classes=5
    )
    torch.nn.init.normal_(ours.classifier.weight)  # initially zero, which would hide all differences
    names = (
        (r"^embed", "conv_proj"), (r"^position", "encoder.pos_embedding"), (r"^norm\.", "encoder.ln."),
        (r"^classifier", "heads.head"), (r"^blocks\.", "encoder.layers.encoder_layer_"), (r"\.norm_", ".ln_"),
        (r"project", "self_attention.out_proj"), (r"qkv\.", "self_attention.in_proj_"),
    )  # fmt: skip
    state = ours.state_dict()
    for mine, other in names:
        state = {re.sub(mine, other, name): value for name, value in state.items()}
    theirs.load_state_dict(state)  # strict: every weight has its counterpart
    images = torch.randn(4, 3, 12, 12)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(images), theirs.train(mode)(images))


def test_initial_loss_is_the_log_of_the_number_of_classes():
    net = ViT(num_classes=7, **SMALL)
    loss = F.cross_entropy(net(torch.randn(9, 3, 12, 12)), torch.arange(9) % 7)
    assert loss.item() == pytest.approx(math.log(7), abs=1e-6)


def test_number_of_weights_is_as_documented():
    # Embedding: 48 x 192 + 192. 64 + 1 positions, a class token, 6 blocks of 12 x 192^2 + 13 x 192, a norm, a layer.
    expected = 48 * 192 + 192 + 66 * 192 + 6 * (12 * 192**2 + 13 * 192) + 2 * 192 + 1930
    assert sum(p.numel() for p in ViT().parameters()) == expected == 2_693_578


def test_dropout_applies_only_in_training_and_every_weight_is_trained():
    net, images = ViT(dropout=0.5, **SMALL), torch.randn(2, 3, 12, 12)
    torch.nn.init.normal_(net.classifier.weight)
    assert not torch.equal(net(images), net(images))
    net(images).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    net.eval()
    assert torch.equal(net(images), net(images))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"width": 100}, "width"),
        ({"patch_size": 0}, "patch_size"),
        ({"num_classes": True}, "num_classes"),
        ({"dropout": 1}, "dropout"),
    ],
)
def test_error_for_an_invalid_size_names_the_argument(arguments, field):
    with refused(field):
        ViT(**arguments)


def test_error_for_an_invalid_patch_size_suggests_the_nearest_divisor():
    with refused("patch_size", MismatchError, r"^patch_size=5: must divide image_size \(32\); try 4"):
        ViT(image_size=32, patch_size=5)  # of 1, 2, 4, 8, 16, 32
    with refused("images", MismatchError, r"\[N, 3, 12, 12\]"):
        ViT(**SMALL)(torch.zeros(2, 3, 16, 16))
