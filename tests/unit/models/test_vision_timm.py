import hashlib
import sys

import pytest
import torch
from refusals import refused

from ssr_hydra.app.check import check
from ssr_hydra.errors import InputError, MismatchError, NotInstalledError, RunError
from ssr_hydra.models import timm_model

TIMM = pytest.mark.extra("timm")


@TIMM
@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_model_gives_logits_for_any_number_of_classes_and_channels(name):
    net = timm_model(name, num_classes=7, in_channels=5)
    assert net(torch.zeros(2, 5, 32, 32)).shape == (2, 7)


@TIMM
def test_options_are_passed_to_timm():
    net = timm_model("vit_tiny_patch16_224", num_classes=4, options={"img_size": 32, "depth": 2})
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 4)
    assert len(net.blocks) == 2


@TIMM
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet_18"}, "name='resnet_18': is not a model of timm; did you mean resnet18?"),
        ({"name": "hf-hub:someone/else"}, "name='hf-hub:someone/else': is not a model of timm"),
        ({"name": "resnet18.a1_in1k"}, "name='resnet18.a1_in1k': is not a model of timm; write name=resnet18 weights="),
        ({"name": "resnet18", "num_classes": 0}, "num_classes=0: must be"),
        ({"name": "resnet18", "options": {"foo": 1}}, "options={'foo': 1}: "),
        ({"name": "resnet18", "options": {"checkpoint_path": "x"}}, "options.checkpoint_path='x': cannot be set"),
        (
            {"name": "resnet18", "weights": "A1"},
            "weights='A1': is not a name of pretrained weights of resnet18; choose",
        ),
    ],
)
def test_invalid_argument_is_refused(arguments, message):
    with pytest.raises(InputError) as caught:
        timm_model(**arguments)
    assert str(caught.value).startswith(message)


@TIMM
@pytest.mark.extra("safetensors", "huggingface_hub")
def test_pretrained_weights_are_verified_and_adapted(tmp_path, monkeypatch):
    import huggingface_hub
    from safetensors.torch import save_file

    torch.manual_seed(3)
    own = timm_model("resnet18")
    saved = tmp_path / "saved"
    save_file(own.state_dict(), str(saved))
    blob = tmp_path / hashlib.sha256(saved.read_bytes()).hexdigest()
    saved.rename(blob)
    link = tmp_path / "model.safetensors"
    link.symlink_to(blob)
    requests = []

    def download(*arguments):
        requests.append(arguments)
        return str(link)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    net = timm_model("resnet18", num_classes=3, in_channels=1, weights="DEFAULT")
    assert requests == [("timm/resnet18.a1_in1k", "model.safetensors")]
    assert torch.equal(net.layer4[1].conv2.weight, own.layer4[1].conv2.weight)
    # timm sums the weights of the three colours for grey images.
    torch.testing.assert_close(net.conv1.weight, own.conv1.weight.sum(1, keepdim=True))
    assert net.fc.weight.shape == (3, 512)
    torch.manual_seed(4)
    assert torch.equal(timm_model("resnet18", weights="a1_in1k").fc.weight, own.fc.weight)

    with blob.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(RunError, match="does not match the hash in its name"):
        timm_model("resnet18", weights="DEFAULT")


@TIMM
@pytest.mark.extra("huggingface_hub")
def test_error_for_weights_that_cannot_be_downloaded_is_one_line(monkeypatch):
    import huggingface_hub

    def download(*arguments):
        raise OSError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    reason = r"cannot download the weights DEFAULT of resnet18 from the Hugging Face Hub \(no network at all\)"
    with pytest.raises(RunError, match=reason):
        timm_model("resnet18", weights="DEFAULT")


def test_error_for_missing_timm_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with refused("name", NotInstalledError, match=r'pip install "ssr-hydra\[timm\]"'):
        timm_model("resnet18")


def test_config_is_checked_without_timm(composed, monkeypatch):
    import ssr_hydra.app.built_ins as module

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    own = ("model=timm", "model.name=resnet18")
    with refused("model", NotInstalledError, match=r'pip install "ssr-hydra\[timm\]"'):
        check(composed("data=fake", *own))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    with refused("model.in_channels", match=r"whose samples have the shape \[1, 8, 8\]; set"):
        check(composed(*own))
    with refused("model._target_", MismatchError):
        check(composed("experiment=byte_lm", *own))
