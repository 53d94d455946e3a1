import dataclasses
import functools
import hashlib
import io
import json
import os
import pickle
import random
import resource
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_helpers import DESCRIPTION, is_of, make_state, newest, save, saved
from refusals import refused

from ssr_hydra.checkpoints import CheckpointError, CheckpointStore, load
from ssr_hydra.checkpoints.format import Index, plain_json, read_state, write_state
from ssr_hydra.errors import WrongTypeError


@pytest.fixture
def two(tmp_path):
    """A folder of two checkpoints, and the newer one."""
    saved(tmp_path / "checkpoints", 10, 20)
    return tmp_path / "checkpoints", tmp_path / "checkpoints/ba20"


def refused_by_name(file, content):
    file.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load(file.parent)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def damage_is_seen(file, content):
    refused_by_name(file, content)
    checkpoint, (message,) = newest(file.parents[1])
    assert checkpoint.path.name == "ba10"  # the previous good one is used
    assert is_of(checkpoint.state, 10)
    assert str(file) in message


def flipped(whole, draw):
    content = bytearray(whole)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def truncated(whole, draw):
    return whole[: draw.randrange(len(whole))]


@pytest.mark.parametrize("damage", [flipped, truncated])
@pytest.mark.parametrize("name", ["state.pt", "checkpoint.json"])
def test_error_names_a_damaged_file_and_the_previous_checkpoint_is_used(two, name, damage):
    file = two[1] / name
    whole, draw = file.read_bytes(), random.Random(name)
    for _ in range(97):
        refused_by_name(file, damage(whole, draw))
    for _ in range(3):
        damage_is_seen(file, damage(whole, draw))
    file.write_bytes(whole)
    assert is_of(load(two[1]).state, 20)  # without the damage, the file is accepted


@pytest.mark.parametrize("name", ["state.pt", "checkpoint.json"])
def test_file_with_zeroed_or_added_bytes_is_refused(two, name):
    file = two[1] / name
    whole = file.read_bytes()
    middle = len(whole) // 2
    for content in (whole[:middle] + bytes(100) + whole[middle + 100 :], whole + b"\n", b""):
        damage_is_seen(file, content)


def test_number_in_a_different_notation_is_detected_as_damage(two):
    file = two[1] / "checkpoint.json"
    text = file.read_text()
    assert '"ssr": 0.5' in text
    damage_is_seen(file, text.replace('"ssr": 0.5', '"ssr": 5e-1').encode())


@pytest.mark.parametrize("name", ["state.pt", "checkpoint.json"])
def test_error_names_a_missing_file_of_a_checkpoint(two, name):
    (two[1] / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}: it cannot be read \(No such file"):
        load(two[1])


def forge(folder, content):
    """Rewrite files with correct digests, as an attacker who knows the format could."""
    (folder / "state.pt").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    dataclasses.replace(Index.read(folder), size=len(content), sha256=sha256).write(folder)


class Calls:
    """An object whose pickle calls a function if it is read without weights_only."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("as_torch", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(two, tmp_path, as_torch):
    mark, file = tmp_path / "was-run", tmp_path / "evil"
    if as_torch:
        torch.save({"model": Calls(Path.touch, mark)}, file)
        torch.load(file, weights_only=False)
        assert mark.exists()  # the code runs if the file is not refused
        mark.unlink()
    else:
        file.write_bytes(pickle.dumps(Calls(Path.touch, mark)))
    forge(two[1], file.read_bytes())
    with pytest.raises(CheckpointError, match=r"state\.pt: it has more than plain data, so it is not read") as caught:
        load(two[1])
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def archive(content, compressed=False):
    """Return a file of torch's format with a pickle of ``content``, or with ``content`` if it is bytes."""
    file = io.BytesIO()
    pickled = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as members:
        members.writestr("archive/data.pkl", pickled)
        members.writestr("archive/byteorder", "little")
        members.writestr("archive/version", "3")
        if compressed:
            members.writestr("archive/data/0", bytes(2**25))
    return file.getvalue()


def in_old_format():
    file = io.BytesIO()
    torch.save({}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def nested(levels, width):
    """Return a list that contains the list of one level less, several times."""
    return functools.reduce(lambda inner, _: [inner] * width, range(levels), [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: archive({}, compressed=True), "would unpack to 33,5"),
        (lambda: archive({"x": Calls(bytearray, 2**40)}), "it refers to __builtin__.bytearray"),
        (lambda: archive({"x": Calls(torch.UntypedStorage, 2**40)}), "not callable"),
        (lambda: archive({"x": nested(40, 10)}), "nested too deeply"),
        # A dict with the number 2**25 in the memo, for which the pickle module allocates 2**26 pointers.
        (lambda: archive(b"\x80\x02}r" + (2**25).to_bytes(4, "little") + b"."), "has the number 33,554,432"),
        (lambda: archive(b"\x80\x04\x8e" + (2**25).to_bytes(8, "little") + b"."), "expected 33554432 bytes"),
        (lambda: in_old_format() + archive({}), "not a zip archive"),
        (lambda: archive({"x": nested(200, 1)}), "nested too deeply"),
    ],
)
def test_file_that_needs_more_memory_than_its_size_is_refused(two, content, message):
    forge(two[1], content())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="has more than plain data") as caught:
        load(two[1])
    assert message in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**14  # kB: half of the first limit on size


@pytest.mark.parametrize("name", ["state.pt", "checkpoint.json"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_files_that_are_not_regular_are_not_opened(two, name, kind):
    file = two[1] / name
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)  # opening it would block until a writer opens it
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("/dev/zero")  # reading it never ends
    with pytest.raises(CheckpointError, match=f"{name}: it cannot be read"):
        load(two[1])
    assert newest(two[0])[0].path.name == "ba10"


def test_checkpoint_json_above_the_size_limit_is_not_read(two, monkeypatch):
    monkeypatch.setattr("ssr_hydra.checkpoints.format._MOST_INDEX", 100)
    with pytest.raises(CheckpointError, match=r"checkpoint.json has more than 100 bytes"):
        load(two[1])


def test_state_in_a_checkpoint_must_be_a_dict(two, tmp_path):
    torch.save([1], tmp_path / "list")
    forge(two[1], (tmp_path / "list").read_bytes())
    with pytest.raises(CheckpointError, match="it must contain a dict, not a list"):
        load(two[1])


def test_unknown_format_is_not_reported_as_damage(two, monkeypatch):
    index = Index.read(two[1])
    monkeypatch.setattr("ssr_hydra.checkpoints.format._FORMAT", 2)
    index.write(two[1])
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="it has format 2, but this release reads 1; read it with the release"):
        load(two[1])


def test_checkpoint_json_with_wrong_keys_is_refused_even_if_its_digest_matches(two, monkeypatch):
    index = Index.read(two[1])
    content = index._content()
    changes = [{"more": 1}, {"timestamp": {}}, {"metric": "high"}, {"metric": True}, {"description": [1]}]
    for odd in ({"format": 1}, *({**content, **change} for change in changes)):
        monkeypatch.setattr(Index, "_content", lambda self, odd=odd: odd)
        index.write(two[1])
        monkeypatch.undo()
        with pytest.raises(CheckpointError, match="it is not a checkpoint's index"):
            load(two[1])


def test_error_can_be_pickled(two):
    error = CheckpointError(two[1] / "state.pt", "it is torn: 3 bytes\nof 5")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert str(error).endswith("it is torn: 3 bytes of 5; resume from another checkpoint, or start in a new folder")


def test_loaded_state_equals_the_saved_state(tmp_path):
    state = {
        **make_state(7),
        "half": torch.arange(5, dtype=torch.bfloat16),
        "view": torch.arange(12.0).reshape(3, 4).T,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "order": OrderedDict(b=1, a=[2**100, -1.5, float("inf")]),
        "by number": {0: {"momentum_buffer": torch.zeros(2)}},
    }
    size, sha256 = write_state(state, tmp_path)
    content = (tmp_path / "state.pt").read_bytes()
    assert (size, sha256) == (len(content), hashlib.sha256(content).hexdigest())
    read = read_state(tmp_path, Index(1, size, sha256, {"batch": 7}, {}, None))
    assert is_of(read, 7)
    assert list(read) == list(state)
    for name in ("half", "view", "parameter"):
        assert torch.equal(read[name], state[name])
        assert read[name].dtype is state[name].dtype
    assert read["order"] == state["order"]
    assert torch.equal(read["by number"][0]["momentum_buffer"], torch.zeros(2))


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"ema": {"seen": {1, 2}}}, "state.ema.seen='set'"),
        ({"rng": [np.float64(0.5)]}, "state.rng[0]='float64'"),
        ({"rng": np.arange(3)}, "state.rng='ndarray'"),
        ({"when": Path()}, "state.when='PosixPath'"),
        ({"f": print}, "state.f='builtin_function_or_method'"),
        ({(1, 2): 3}, "state=(1, 2)"),
        ({"t": torch.nn.Linear(1, 1)}, "state.t='Linear'"),
    ],
)
def test_unreadable_state_is_refused_before_writing(tmp_path, part, field):
    store = CheckpointStore(tmp_path / "checkpoints")
    with pytest.raises(WrongTypeError) as caught:
        store.save(part, timestamp={"batch": 1}, description={})
    assert str(caught.value).startswith(field)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("value", [{"lr": float("nan")}, {"path": Path()}, {1: 2}, {"a": {2: 3}}, [1], {"x": {1}}])
def test_description_that_is_not_json_data_is_refused(value):
    with refused("description", WrongTypeError):
        plain_json(value, "description")


def test_loaded_description_equals_the_saved_description(tmp_path):
    path = save(CheckpointStore(tmp_path), 3)
    checkpoint = load(path)
    assert checkpoint.description == DESCRIPTION
    assert checkpoint.timestamp == {"batch": 3, "epoch": 1}
    assert plain_json({"betas": (0.9, 0.95)}, "x") == {"betas": [0.9, 0.95]}
    # Other programs can check the digest: the SHA-256 of the other keys as compact JSON. It is the last key of the
    # file.
    content = json.loads((path / "checkpoint.json").read_text())
    digest = content.pop("digest")
    assert digest == hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
    assert content["state"]["sha256"] == hashlib.sha256((path / "state.pt").read_bytes()).hexdigest()
