import gzip
import os
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from local_server import images_of, md5, served, small_cifar
from refusals import refused

from ssr_hydra.data import FakeData, SmallImages, TensorLoader, make_loaders
from ssr_hydra.data import vision as module
from ssr_hydra.errors import NotInstalledError, PathError, RunError

datasets = pytest.importorskip("torchvision.datasets")


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    with small_cifar(tmp_path / "served", monkeypatch):
        yield tmp_path


def test_cifar_is_downloaded_only_once_and_is_decoded_and_normalised(cifar):
    root = str(cifar / "root")
    data = SmallImages("cifar10", root=root)
    (cifar / "served/cifar-10-python.tar.gz").unlink()
    plain = SmallImages("cifar10", root=root, normalize=False)
    assert names(root) == [".lock", "cifar-10-batches-py"]
    with (cifar / "served/cifar-10-batches-py/data_batch_1").open("rb") as file:
        first = pickle.load(file)
    expected = torch.from_numpy(first["data"].reshape(10, 3, 32, 32)) / 255
    torch.testing.assert_close(plain.tensors[0][:10], expected)
    assert plain.tensors[1][:10].tolist() == first["labels"]
    # As in torchvision's Normalize, with the usual statistics of CIFAR-10.
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    normal = (expected - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(data.tensors[0][:10], normal, atol=1e-5, rtol=1e-5)
    train, evaluation = make_loaders(data, SmallImages("cifar10", "eval", root), batch_size=20)
    assert isinstance(train, TensorLoader)
    assert (len(train), len(evaluation)) == (3, 1)


def test_different_splits_and_normalisations_have_different_descriptions(cifar):
    root = str(cifar / "root")
    train = SmallImages("cifar10", root=root).describe()
    assert train == SmallImages("cifar10", root=root).describe()
    assert (train["name"], train["samples"]) == ("cifar10 train", 50)
    assert SmallImages("cifar10", "eval", root).describe()["sha256"] != train["sha256"]
    assert SmallImages("cifar10", root=root, normalize=False).describe() == train | {"normalize": False}


def test_an_altered_archive_is_not_unpacked(cifar):
    archive = cifar / "served/cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match="cannot download cifar10 from http://127.0.0.1"):
        SmallImages("cifar10", root=str(cifar / "root"))
    assert names(cifar / "root") == [".lock"]


class Hostile:
    def __reduce__(self):
        return setattr, (Hostile, "ran", True)


def test_an_altered_pickle_is_not_read(cifar):
    root = str(cifar / "root")
    SmallImages("cifar10", root=root)
    (cifar / "root/cifar-10-batches-py/test_batch").write_bytes(pickle.dumps(Hostile()))
    for split in ("train", "eval"):
        with pytest.raises(RunError, match="cannot be read as cifar10"):
            SmallImages("cifar10", split, root)
    assert not hasattr(Hostile, "ran")


def test_an_incomplete_download_is_not_used(cifar, monkeypatch):
    def cut_off(self):
        Path(self.root, "cifar-10-batches-py").mkdir()
        raise ConnectionResetError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(datasets.CIFAR10, "download", cut_off)
        with pytest.raises(RunError, match="gone"):
            SmallImages("cifar10", root=str(cifar / "root"))
    assert len(SmallImages("cifar10", root=str(cifar / "root"))) == 50


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """Unpacked files in MNIST's own format, 20 and 10 images."""
    raw = tmp_path / "root/MNIST/raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 20), ("t10k", 10)):
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx(images_of(count, 28, 28)))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8) % 10))
    image_set = module.IMAGE_SETS["mnist"]
    monkeypatch.setitem(module.IMAGE_SETS, "mnist", image_set._replace(samples={"train": 20, "eval": 10}))
    return tmp_path / "root"


def test_mnist_is_read_and_has_one_channel(mnist, monkeypatch):
    monkeypatch.setenv("SSR_HYDRA_DATA", str(mnist))
    data = SmallImages("mnist", "eval", download=False, normalize=False)
    assert torch.equal(data.tensors[0], torch.from_numpy(images_of(10, 1, 28, 28)) / 255)
    assert data.tensors[1].tolist() == list(range(10))
    assert repr(data) == "SmallImages('mnist', split='eval': 10 images of [1, 28, 28])"


def test_mnist_is_downloaded_by_torchvision_with_its_hashes(tmp_path, mnist, monkeypatch):
    source = tmp_path / "served"
    source.mkdir()
    resources = []
    for file in sorted((mnist / "MNIST/raw").iterdir()):
        packed = gzip.compress(file.read_bytes())
        (source / f"{file.name}.gz").write_bytes(packed)
        resources.append((f"{file.name}.gz", md5(packed)))
    with served(source) as address:
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{address}/"])
        monkeypatch.setattr(datasets.MNIST, "resources", resources)
        again = SmallImages("mnist", root=str(tmp_path / "again"))
        monkeypatch.setattr(datasets.MNIST, "resources", [*resources[:-1], (resources[-1][0], "0" * 32)])
        with pytest.raises(RunError, match="cannot download mnist"):
            SmallImages("mnist", root=str(tmp_path / "wrong"))
    assert again.describe() == SmallImages("mnist", root=str(mnist)).describe()
    assert not (tmp_path / "wrong/MNIST").exists()


@pytest.mark.parametrize("cut", [1, 784])
def test_truncated_mnist_file_is_detected(mnist, cut):
    file = mnist / "MNIST/raw/train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(RunError, match="delete it"):
        SmallImages("mnist", root=str(mnist))


def test_error_without_a_network_is_one_line_with_the_address_and_a_fix(in_tmp, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    with pytest.raises(RunError) as caught:
        SmallImages("cifar10", root="here")
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in ("http://127.0.0.1:9", "cifar-10-batches-py", "here", "data=fake"))
    with refused("root", PathError, match="download=true"):
        SmallImages("cifar10", root="here", download=False)


def test_without_torchvision_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with refused("name", NotInstalledError, match=r'pip install "ssr-hydra\[vision\]"'):
        SmallImages("mnist")


REAL = Path(os.environ.get("SSR_HYDRA_DATA") or "~/.cache/ssr_hydra").expanduser()


@pytest.mark.parametrize("name", module.IMAGE_SETS)
def test_real_data_sets_have_the_declared_sizes_and_statistics(name):
    image_set = module.IMAGE_SETS[name]
    if not (REAL / image_set.folder).exists():
        pytest.skip(f"{name} is not on this machine")
    train = SmallImages(name, root=str(REAL), download=False)
    held_out = SmallImages(name, "eval", str(REAL), download=False)
    assert (len(train), len(held_out)) == (image_set.samples["train"], image_set.samples["eval"])
    assert train.tensors[0].mean((0, 2, 3)).abs().max() < 1e-3
    assert (train.tensors[0].std((0, 2, 3)) - 1).abs().max() < 5e-3
    assert train.tensors[1].unique().tolist() == list(range(image_set.num_classes))


def test_fake_images_are_reproducible_and_of_any_size():
    state = torch.get_rng_state()
    data = FakeData(300, [1, 9, 12], num_classes=7)
    assert torch.equal(torch.get_rng_state(), state)
    assert data.tensors[0].shape == (300, 1, 9, 12)
    assert data.tensors[1].tolist() == [k % 7 for k in range(300)]
    assert data.describe() == FakeData(300, [1, 9, 12], num_classes=7).describe()
    others = [FakeData(300, [1, 9, 12], 7, "eval"), FakeData(300, [1, 9, 12], 7, data_seed=1)]
    assert all(other.describe()["sha256"] != data.describe()["sha256"] for other in others)


def test_fake_images_of_both_splits_have_the_same_patterns_and_different_noise():
    def patterns(split, noise=0.0):
        return FakeData(40, [3, 32, 32], 10, split, noise).tensors[0]

    assert torch.equal(patterns("train"), patterns("eval"))
    assert torch.equal(patterns("train")[:10], patterns("train")[10:20])
    assert patterns("train")[:10].std().item() == pytest.approx(1, abs=0.1)  # 1,920 numbers: 0.016
    noise = patterns("train", 2.0) - patterns("train")
    assert noise.std().item() == pytest.approx(2, abs=0.02)  # 122,880 numbers: 0.004


@pytest.mark.parametrize(
    ("cls", "arguments", "field"),
    [
        (SmallImages, {"name": "imagenet"}, "name"),
        (SmallImages, {"split": "test"}, "split"),
        (SmallImages, {"root": ""}, "root"),
        (FakeData, {"size": 0}, "size"),
        (FakeData, {"shape": [3, 32]}, "shape"),
        (FakeData, {"shape": [3, 0, 32]}, "shape[1]"),
        (FakeData, {"noise": -1}, "noise"),
        (FakeData, {"data_seed": -1}, "data_seed"),
    ],
)
def test_error_for_an_invalid_argument_names_the_argument(cls, arguments, field):
    with refused(field):
        cls(**arguments)
