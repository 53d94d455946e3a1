import hashlib
import json
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from refusals import refused
from torch.utils.data import DataLoader

from ssr_hydra.data import ByteWindows, StdlibBytes, StdlibDocuments, make_loaders, text
from ssr_hydra.errors import PathError, RangeError

STDLIB = Path(sysconfig.get_path("stdlib"))


@pytest.mark.parametrize("size", [17, 20, 21])
def test_every_byte_except_the_first_is_a_target_once(size):
    inputs, targets = ByteWindows(bytes(range(size)), length=4).tensors
    assert inputs.flatten().tolist() == list(range(inputs.numel()))
    assert targets.flatten().tolist() == list(range(1, inputs.numel() + 1))
    assert 0 <= size - 1 - inputs.numel() < 4
    assert targets.data_ptr() == inputs.data_ptr() + inputs.element_size()  # they share memory
    assert inputs.dtype == torch.int64  # the type for embeddings and losses, and for counting tokens


def test_a_limit_selects_windows_from_the_whole_text():
    source = bytes(range(101))
    assert [int(x[0]) for x, _ in ByteWindows(source, length=10, limit=4)] == [0, 20, 50, 70]  # floor(10 i / 4)
    assert len(ByteWindows(source, length=10, limit=10)) == len(ByteWindows(source, length=10, limit=11)) == 10


@pytest.mark.parametrize(
    ("arguments", "field"),
    [((b"abcd", 4), "length"), ((b"", 1), "length"), ((b"abc", 0), "length"), ((b"abc", 1, 0), "limit")],
)
def test_invalid_window_length_is_refused(arguments, field):
    with refused(field):
        ByteWindows(*arguments)


def test_splits_are_disjoint_sets_of_files_that_cover_all_files():
    train, held_out = StdlibBytes("train"), StdlibBytes("eval")
    files = {"train": dict(train._files), "eval": dict(held_out._files)}
    assert not files["train"].keys() & files["eval"].keys()
    together = {**files["train"], **files["eval"]}
    assert len(files["eval"]) == round(0.1 * len(together))
    assert together["os"] == (STDLIB / "os.py").read_bytes()
    assert all((STDLIB / f"{name}.py").read_bytes().replace(b"\r\n", b"\n") == text for name, text in together.items())
    # A module that is in the library but not in the text belongs to one build of Python, not to its version.
    left_out = {path.stem for path in STDLIB.glob("*.py")} - together.keys()
    assert all(name.startswith("_") or "custom" in name or name == "antigravity" for name in left_out), left_out


def test_description_of_a_text_has_its_hash_and_size():
    held_out = StdlibBytes("eval", length=32)
    described = json.loads(json.dumps(held_out.describe()))
    content = b"".join(text for _, text in held_out._files)
    assert described["sha256"] == hashlib.sha256(content).hexdigest()
    assert described["bytes"] == len(content)
    assert (described["name"], described["samples"]) == ("stdlib_bytes eval", len(held_out))
    assert described == StdlibBytes("eval", length=32).describe() != StdlibBytes("eval", 32, split_seed=1).describe()
    assert described["version"].split()[-1] == ".".join(map(str, sys.version_info[:3]))


def test_line_ends_are_converted_to_unix(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_FEWEST", 1)
    (tmp_path / "os.py").write_bytes(b"import abc\r\nx = 1\r\n")
    (tmp_path / "mine.py").write_bytes(b"no part of the library\n")
    assert text._read_sources(str(tmp_path)) == (("os", b"import abc\nx = 1\n"),)


@pytest.mark.parametrize("place", ["python311.zip", "Lib"])
def test_missing_python_sources_are_an_error(place, tmp_path, monkeypatch):
    """An embedded Python has its library in a zip file. A stripped Python has only compiled files."""
    folder = tmp_path / place
    if place == "Lib":
        folder.mkdir()
        (folder / "os.pyc").write_bytes(b"\0")
    else:
        folder.write_bytes(b"PK")
    monkeypatch.setattr(text.sysconfig, "get_path", lambda name: str(folder))
    for dataset in (StdlibBytes, StdlibDocuments):
        with refused("stdlib", PathError, match="only 0 can be read") as caught:
            dataset("train")
        assert (caught.value.field, caught.value.value) == ("stdlib", str(folder))


@pytest.mark.parametrize("dataset", [StdlibBytes, StdlibDocuments])
@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"split": "test"}, "split"),
        ({"eval_fraction": 0.0}, "eval_fraction"),
        ({"split_seed": -1}, "split_seed"),
        ({"limit": 0}, "limit"),
    ],
)
def test_error_for_an_invalid_argument_names_the_argument(dataset, arguments, field):
    with refused(field):
        dataset(**arguments)


@pytest.fixture(scope="module")
def documents():
    return StdlibDocuments("eval", max_length=100)


def test_documents_contain_the_whole_text_except_blank_lines(documents):
    held_out = dict(StdlibBytes("eval")._files)
    pieces = [bytes(documents[index]["input_ids"].tolist()) for index in range(len(documents))]
    assert all(2 <= len(piece) <= 100 for piece in pieces)
    assert len({len(piece) for piece in pieces}) > 50  # the lengths differ
    # Pieces of one byte are dropped; every other byte except newlines is in some document.
    lost = sum(len(text.replace(b"\n", b"")) for text in held_out.values())
    lost -= sum(len(piece.replace(b"\n", b"")) for piece in pieces)
    assert 0 <= lost < len(pieces) / 20
    assert pieces[0] in next(iter(held_out.values()))


def test_mask_of_a_padded_batch_has_the_lengths_of_documents(documents):
    samples = [documents[index] for index in (0, 7, 3)]
    batch = documents.collate_fn(samples)
    most = max(len(sample["input_ids"]) for sample in samples)
    for row, sample in enumerate(samples):
        ids, padding = sample["input_ids"].tolist(), most - len(sample["input_ids"])
        assert batch["input_ids"][row].tolist() == ids + [0] * padding
        assert batch["attention_mask"][row].tolist() == [1] * len(ids) + [0] * padding
        assert batch["labels"][row].tolist() == ids + [-100] * padding


def test_loader_uses_collate_fn_of_the_data_set():
    subset = StdlibDocuments("eval", max_length=100, limit=10)
    for loader in (make_loaders(subset, batch_size=4)[0], DataLoader(subset, 4, collate_fn=subset.collate_fn)):
        batches = list(loader)
        assert [len(batch["input_ids"]) for batch in batches] == [4, 4, 2]
        assert sum(int(batch["attention_mask"].sum()) for batch in batches) == subset._ends[-1]


def test_documents_can_be_counted_limited_and_described(documents):
    limited = StdlibDocuments("eval", max_length=100, limit=10)
    assert len(limited) == 10
    assert torch.equal(limited[5]["input_ids"], documents[5 * len(documents) // 10]["input_ids"])
    assert torch.equal(documents[-1]["input_ids"], documents[len(documents) - 1]["input_ids"])
    with pytest.raises(IndexError):
        documents[len(documents)]
    assert documents.describe()["sha256"] == StdlibBytes("eval").describe()["sha256"]
    assert documents.describe()["samples"] == len(documents)
    with refused("max_length", RangeError):
        StdlibDocuments(max_length=1)
