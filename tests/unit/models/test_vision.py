import hashlib
import sys

import pytest
import torch
from local_server import served
from refusals import refused

from ssr_hydra.errors import NotInstalledError, RunError
from ssr_hydra.models import torchvision_model
from ssr_hydra.settings.images import _WITH_STEM

models = pytest.importorskip("torchvision.models")
# One model of each module of torchvision; the other models of a module differ only in numbers.
KINDS = (
    "alexnet convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 maxvit_t mnasnet0_5 mobilenet_v2 "
    "mobilenet_v3_small regnet_y_400mf resnet18 shufflenet_v2_x0_5 squeezenet1_0 swin_t vgg11 vit_b_32"
).split()


def test_these_tests_cover_every_model_family_of_torchvision():
    modules = {name: models.get_model_builder(name).__module__ for name in models.list_models(module=models)}
    assert {modules[name] for name in KINDS} == set(modules.values())


@pytest.mark.parametrize("name", KINDS)
def test_stem_for_small_images_keeps_the_image_size(name):
    small = name.startswith(_WITH_STEM)
    size = 32 if small else 299 if name == "inception_v3" else 224
    # RegNets read values during construction, which tensors without memory do not have.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        net = torchvision_model(name, num_classes=7, in_channels=5, small_images=small)
        convolutions = [module for module in net.modules() if isinstance(module, torch.nn.Conv2d)]
        sizes = []
        for second in convolutions[1:2]:  # a transformer has only one convolution
            second.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
        assert net(torch.zeros(2, 5, size, size)).shape == (2, 7)  # in training: one output, no auxiliary ones
    if small:
        assert (sizes, convolutions[0].kernel_size) == ([(32, 32)], (3, 3))


def test_resnet18_for_small_images_has_the_known_architecture():
    with torch.device("meta"):
        net = torchvision_model("resnet18", num_classes=10, small_images=True)
    assert sum(p.numel() for p in net.parameters()) == 11_173_962  # as published for CIFAR-10


def test_grey_image_has_the_same_outputs_with_any_number_of_channels():
    results, weights = [], []
    for channels in (3, 1, 4):
        torch.manual_seed(0)
        net = torchvision_model("shufflenet_v2_x0_5", num_classes=4, in_channels=channels).eval()
        weights.append(net.conv1[0].weight.detach())
        torch.manual_seed(1)
        results.append(net(torch.rand(2, 1, 64, 64).expand(-1, channels, -1, -1)))
    torch.testing.assert_close(results[1], results[0])
    # The weights of four channels are those of the first three and again of the first, times 3/4.
    torch.testing.assert_close(weights[2], weights[0][:, [0, 1, 2, 0]] * 0.75)


def test_options_are_passed_to_torchvision():
    with torch.device("meta"):
        net = torchvision_model("mobilenet_v2", options={"width_mult": 0.25})
    assert net.features[0][0].out_channels == 8  # a quarter of 32


@pytest.mark.parametrize(
    ("arguments", "field", "message"),
    [
        ({"name": "resnet8"}, "name", "did you mean resnet18"),
        ({"name": "fasterrcnn_resnet50_fpn"}, "name", "is not a classification model"),
        ({"name": None}, "name", "is not a classification model"),
        ({"name": "resnet18", "num_classes": 0}, "num_classes", "whole number"),
        ({"name": "resnet18", "in_channels": 1.5}, "in_channels", "whole number"),
        ({"name": "vit_b_16", "small_images": True}, "small_images", "no stem for small images"),
        ({"name": "resnet18", "small_images": True, "weights": "DEFAULT"}, "small_images", "large images"),
        ({"name": "resnet18", "weights": "IMAGENET1K_V7"}, "weights", "IMAGENET1K_V1"),
        ({"name": "resnet18", "options": {"depth": 3}}, "options", "depth"),
        ({"name": "resnet18", "options": {"block": 3}}, "options", "block"),
        ({"name": "resnet18", "options": {"weights": "DEFAULT"}}, "options.weights", "cannot be set in options"),
    ],
)
def test_error_for_an_invalid_argument_is_one_line(arguments, field, message):
    with refused(field) as caught:
        torchvision_model(**arguments)
    assert message in str(caught.value)


NAME, WEIGHTS = "shufflenet_v2_x0_5", models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1


@pytest.fixture
def pretrained(tmp_path, monkeypatch):
    """Serve weights from this machine instead of torchvision's weights. The cache is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    source = tmp_path / "served"
    source.mkdir()
    torch.manual_seed(7)
    state = models.get_model(NAME).state_dict()
    torch.save(state, source / "file")
    name = f"{NAME}-{hashlib.sha256((source / 'file').read_bytes()).hexdigest()[:8]}.pth"
    (source / "file").rename(source / name)
    with served(source) as address:
        monkeypatch.setattr(WEIGHTS.value, "url", f"{address}/{name}")
        yield {"state": state, "served": source / name, "cached": tmp_path / "home/hub/checkpoints" / name}


def test_weights_are_downloaded_once_and_loaded(pretrained):
    net = torchvision_model(NAME, weights="DEFAULT")
    assert all(torch.equal(value, pretrained["state"][key]) for key, value in net.state_dict().items())
    pretrained["served"].unlink()
    net = torchvision_model(NAME, num_classes=3, in_channels=1, weights="IMAGENET1K_V1").eval()
    assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 3)
    state = net.state_dict()
    fresh = [key for key, value in state.items() if not torch.equal(value, pretrained["state"][key])]
    assert fresh == ["conv1.0.weight", "fc.weight", "fc.bias"]  # everything else is pretrained
    assert torch.equal(state["conv1.0.weight"], pretrained["state"]["conv1.0.weight"].sum(1, keepdim=True))


def test_file_with_a_wrong_hash_is_refused(pretrained):
    whole = pretrained["served"].read_bytes()
    altered = whole[:-100] + b"x" + whole[-99:]
    pretrained["served"].write_bytes(altered)
    with pytest.raises(RunError, match="cannot download"):
        torchvision_model(NAME, weights="DEFAULT")
    assert not pretrained["cached"].exists()
    pretrained["cached"].write_bytes(altered)  # a cached file that was damaged later
    with pytest.raises(RunError, match="does not match the hash in its name"):
        torchvision_model(NAME, weights="DEFAULT")


def test_without_a_network_the_error_is_one_line(tmp_path, monkeypatch):
    url = "http://127.0.0.1:9/resnet18-01234567.pth"  # the discard port, on which no server listens
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(WEIGHTS.value, "url", url)
    with pytest.raises(RunError) as caught:
        torchvision_model(NAME, weights="DEFAULT")
    assert "\n" not in str(caught.value)
    assert all(part in str(caught.value) for part in (url, "hub/checkpoints/resnet18-01234567.pth", "weights=null"))


def test_without_torchvision_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with refused("name", NotInstalledError) as caught:
        torchvision_model("resnet18")
    assert 'pip install "ssr-hydra[vision]"' in str(caught.value)
