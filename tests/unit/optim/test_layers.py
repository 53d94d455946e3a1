"""Layers, found from the structure of common models."""

import pytest
from refusals import refused
from torch import nn, randn, zeros

from ssr_hydra.errors import UnknownNameError
from ssr_hydra.models import ConvNet
from ssr_hydra.optim.layers import layers_of


def named(model, layers=()):
    numbers = layers_of(model, layers)
    return {name: numbers[parameter] for name, parameter in model.named_parameters()}


def firsts(model, layers=()):
    """Return the first parameter of every layer, in order."""
    first_names = {}
    for name, layer in named(model, layers).items():
        first_names.setdefault(layer, name)
    assert list(first_names) == list(range(len(first_names)))
    return list(first_names.values())


def test_a_norm_is_in_the_layer_of_its_convolution():
    layers = named(ConvNet())
    assert (layers["features.0.weight"], layers["features.1.weight"], layers["features.1.bias"]) == (0, 0, 0)
    assert (layers["features.3.weight"], layers["features.4.weight"], layers["classifier.weight"]) == (1, 1, 2)


class Language(nn.Module):
    """A model like GPT-2: two embeddings, blocks, a last norm, and a head that is tied to the first embedding."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(zeros(()))
        self.wte, self.wpe = nn.Embedding(16, 8), nn.Embedding(4, 8)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 16)
        self.head.weight = self.wte.weight

    def forward(self, x):
        return self.wte(x)


def test_all_embeddings_are_one_layer_and_each_block_is_one_layer():
    layers = named(Language())
    assert (layers["scale"], layers["wte.weight"], layers["wpe.weight"]) == (0, 0, 0)
    assert {layer for name, layer in layers.items() if name.startswith("blocks.0.")} == {1}
    assert {layer for name, layer in layers.items() if name.startswith("blocks.1.")} == {2}
    assert layers["norm.weight"] == 2
    assert layers["head.bias"] == 2  # its matrix is the embedding, so only its bias belongs to this layer
    assert max(layers.values()) == 2


def test_module_with_its_own_matrix_is_a_layer_and_a_module_with_a_vector_is_not():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = nn.Parameter(randn(2, 2))
            self.activation = nn.ReLU()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Own(), Own()

    assert firsts(Model()) == ["first.matrix", "second.matrix"]
    # Vectors before the first layer are in the first layer.
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 2))
    assert firsts(model) == ["0.weight", "2.weight"]


def test_layers_of_torchvision_models_are_found():
    models = pytest.importorskip("torchvision.models")
    assert firsts(models.resnet18()) == [
        "conv1.weight",
        *(f"layer{stage}.{block}.conv1.weight" for stage in range(1, 5) for block in range(2)),
        "fc.weight",
    ]
    vit = models.VisionTransformer(8, 4, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=2)
    blocks = [f"encoder.layers.encoder_layer_{k}.ln_1.weight" for k in range(3)]
    assert firsts(vit) == ["class_token", *blocks, "heads.head.weight"]
    # As in BEiT and MAE: everything after the blocks is one layer, including the last norm.
    assert firsts(vit, ("encoder.layers.*",)) == ["class_token", *blocks, "encoder.ln.weight"]


def test_patterns_select_layers_by_name():
    model = Language()
    layers = named(model, ("blocks.?",))
    assert (layers["scale"], layers["wpe.weight"]) == (0, 0)
    assert {layer for name, layer in layers.items() if name.startswith("blocks.1.")} == {2}
    assert (layers["norm.weight"], layers["head.bias"]) == (3, 3)
    # "blocks.*" also matches modules inside a block; the outermost match counts.
    assert named(model, ("blocks.*",)) == layers


def test_pattern_without_a_matching_module_is_refused():
    with refused("x", UnknownNameError):
        layers_of(ConvNet(), ["classifier", "block.*"], "x")
