import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused

from ssr_hydra.data import Arrays, Digits, FakeData, StdlibBytes, StdlibDocuments, make_loaders
from ssr_hydra.errors import ConflictError, FormatError, InputError, MismatchError, UnknownNameError, UntrustedError

TABLES = Path(__file__).parent / "tables"


@pytest.fixture
def table(in_tmp):
    """Ten rows: a is the number of the row, b its square, and kind alternates."""
    rows = "".join(f"{k},{k * k},{'odd' if k % 2 else 'even'}\n" for k in range(10))
    (in_tmp / "t.csv").write_text(f"a,b,kind\n{rows}")
    return in_tmp


def sorted_rows(*splits):
    return sorted((*x.flatten().tolist(), float(y)) for split in splits for x, y in split)


def test_training_and_evaluation_samples_together_are_the_whole_table(table):
    train, held_out = Arrays("t.csv"), Arrays("t.csv", split="eval")
    assert (len(train), len(held_out)) == (8, 2)
    # Words are numbered in sorted order: even is 0, odd is 1.
    assert sorted_rows(train, held_out) == [(k, k * k, k % 2) for k in range(10)]
    assert held_out.tensors[1].tolist().count(0) == 1  # a fifth of each class
    assert train.classes == ["even", "odd"]
    assert (train.tensors[0].dtype, train.tensors[1].dtype) == (torch.float32, torch.int64)


def test_the_split_depends_only_on_split_seed(table):
    with refused("eval.split_seed", MismatchError):
        make_loaders(Arrays("t.csv"), Arrays("t.csv", split="eval", split_seed=1))
    (table / "e.csv").write_text((table / "t.csv").read_text())
    with refused("eval.path", MismatchError):
        make_loaders(Arrays("t.csv"), Arrays("e.csv", split="eval"))
    train, held_out = make_loaders(Arrays("t.csv"), Arrays("./t.csv", split="eval"), batch_size=4)
    assert (len(train), len(held_out)) == (2, 1)
    first = sorted_rows(Arrays("t.csv", split="eval"))
    torch.manual_seed(5)
    assert sorted_rows(Arrays("t.csv", split="eval")) == first
    others = [sorted_rows(Arrays("t.csv", split="eval", split_seed=seed)) for seed in range(1, 6)]
    assert any(other != first for other in others)


def test_columns_are_chosen_by_name_or_number(table):
    data = Arrays("t.csv", inputs=["b"], targets=["a"], task="regression", eval_fraction=0.1)
    assert data.tensors[0].shape == (9, 1) == data.tensors[1].shape
    assert torch.equal(data.tensors[0], data.tensors[1] ** 2)
    (table / "bare.csv").write_text("1;2;0\n3;4;1\n")
    bare = Arrays("bare.csv", header=False, delimiter=";", inputs=["1"], eval_fraction=0.5)
    assert bare.tensors[0].item() in (2.0, 4.0)
    assert bare.classes is None


def test_evaluation_samples_are_read_from_eval_path(table):
    (table / "e.csv").write_text("a,b,kind\n20,0,odd\n")
    train, evaluation = (Arrays("t.csv", "e.csv", split, standardize=True) for split in ("train", "eval"))
    assert (len(train), len(evaluation)) == (10, 1)
    # The numbers 0 ... 9 have mean 4.5 and variance 8.25; the evaluation's own mean would give 0.
    assert evaluation.tensors[0][0, 0].item() == pytest.approx((20 - 4.5) / 8.25**0.5)
    assert train.tensors[0].mean(0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert evaluation.tensors[1].tolist() == [1]  # the training number of odd
    (table / "e.csv").write_text("b,a,kind\n20,0,odd\n")
    with refused("eval_path", MismatchError, r"must have the same inputs as t.csv, \['a', 'b'\] \(got \['b', 'a'\]\)"):
        Arrays("t.csv", "e.csv", "eval")
    (table / "e.csv").write_text("a,b,kind\n20,0,prime\n")
    with refused("targets", UnknownNameError, r"='prime': in e.csv, row 2, is not a class of the training samples"):
        Arrays("t.csv", "e.csv", "eval")


def test_evaluation_file_with_training_samples_is_refused(in_tmp):
    rows = [f"{k * k}.5,{k},{'ab'[k % 2]}\n" for k in range(20)]
    (in_tmp / "t.csv").write_text("x,y,kind\n" + "".join(rows))

    def shared(text):
        (in_tmp / "e.csv").write_text("x,y,kind\n" + "".join(text))
        with refused("eval_path", ConflictError) as caught:
            Arrays("t.csv", "e.csv", "eval")
        return caught.value.rule

    assert "but 20 of its 20" in shared(rows)
    assert "but 20 of its 20" in shared(rows[::-1])
    assert "but 3 of its 4" in shared([*rows[:3], "7,7,a\n"])
    (in_tmp / "e.csv").write_text("x,y,kind\n" + "".join([*rows[:2], "7,7,a\n", "8,8,b\n"]))
    assert len(Arrays("t.csv", "e.csv", "eval")) == 4  # two equal rows of four may be chance
    # A table with few distinct values has every row in both files.
    table = "x,y,kind\n" + "0,0,a\n0,1,b\n1,0,b\n1,1,a\n"
    (in_tmp / "t.csv").write_text(table + table.partition("\n")[2] * 3)
    (in_tmp / "e.csv").write_text(table)
    assert len(Arrays("t.csv", "e.csv", "eval")) == 4


@pytest.mark.parametrize(
    ("cls", "common", "field"),
    [
        (Digits, {"split_seed": 1}, "eval.split_seed"),
        (StdlibDocuments, {"eval_fraction": 0.9}, "eval.eval_fraction"),
        (FakeData, {"data_seed": 1}, "eval.data_seed"),
        (StdlibBytes, {"split": "train"}, "eval"),
    ],
)
def test_evaluation_data_that_overlaps_training_data_is_refused(cls, common, field):
    with refused(field):
        make_loaders(cls(split="train"), cls(**{"split": "eval", **common}))


def test_standardize_uses_only_training_samples(table):
    raw, held_out = (Arrays("t.csv", split=split, inputs=["a"]).tensors[0].numpy() for split in ("train", "eval"))
    for split, values in (("train", raw), ("eval", held_out)):
        scaled = Arrays("t.csv", split=split, standardize=True, inputs=["a"]).tensors[0]
        assert scaled.flatten().tolist() == pytest.approx(((values - raw.mean()) / raw.std()).flatten(), abs=1e-6)


def test_standardization_is_computed_in_float64(in_tmp):
    seconds = 1.7e9 + np.arange(10.0)  # float32 rounds to multiples of 128 here
    np.savez("a.npz", x=seconds[:, None], y=np.arange(10) % 2)
    # The numbers 0 ... 9 have mean 4.5 and variance 8.25.
    expected = (np.arange(10) - 4.5) / 8.25**0.5
    scaled = Arrays("a.npz", standardize=True, eval_path="none.npz").tensors[0]
    assert scaled.flatten().tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    days = Arrays("a.npz", divide_by=1e9, eval_path="none.npz", dtype="float64").tensors[0]
    assert (days[1] - days[0]).item() == pytest.approx(1e-9, rel=1e-6)
    with refused(
        "dtype",
        MismatchError,
        r"='float32': is too coarse for the small differences between the values of inputs\[0\] of a.npz",
    ):
        Arrays("a.npz", eval_path="none.npz")
    np.savez("a.npz", x=np.arange(10.0)[:, None], y=seconds)
    arguments = {"task": "regression", "eval_path": "none.npz"}
    with refused("dtype", MismatchError):
        Arrays("a.npz", **arguments)
    column = Arrays("a.npz", **arguments, dtype="float64").tensors[1].flatten().tolist()
    assert column == seconds.tolist()


def test_a_constant_feature_becomes_zero(in_tmp):
    for value in (3.0, 0.1, 1.7e9):
        np.savez("a.npz", x=np.full((10, 1), value), y=np.arange(10) % 2)
        assert Arrays("a.npz", standardize=True).tensors[0].abs().max() < 1e-12  # ten times 0.1 is not 1 in float64
    # A column with one value, computed in two ways, is still a constant column.
    np.savez("a.npz", x=np.array([[0.3], [0.1 + 0.2]] * 5), y=np.arange(10) % 2)
    assert Arrays("a.npz").tensors[0].unique().numel() == 1


@pytest.mark.parametrize("layout", ["hw", "hwc", "chw"])
def test_images_of_any_layout_become_channels_first(in_tmp, layout):
    bytes_ = np.random.default_rng(0).integers(0, 256, (10, 4, 5, 3), dtype=np.uint8)
    stored = {"hw": bytes_[..., 0], "hwc": bytes_, "chw": bytes_.transpose(0, 3, 1, 2)}[layout]
    np.savez("a.npz", images=stored, labels=np.arange(10))
    data = Arrays("a.npz", layout=layout, divide_by=255, eval_path="a.npz")
    expected = torch.from_numpy(bytes_).permute(0, 3, 1, 2)[:, : 1 if layout == "hw" else 3] / 255
    assert torch.equal(data.tensors[0], expected)
    channels = Arrays("a.npz", layout=layout, standardize=True, eval_path="a.npz").tensors[0]
    assert channels.mean((0, 2, 3)).tolist() == pytest.approx([0] * channels.shape[1], abs=1e-5)
    assert channels.std((0, 2, 3), unbiased=False).tolist() == pytest.approx([1] * channels.shape[1], abs=1e-5)


def test_rows_can_be_reshaped(in_tmp):
    np.save("m.npy", np.arange(50).reshape(10, 5))
    data = Arrays("m.npy", eval_path="m.npy", shape=[1, 2, 2], targets=["4"], task="regression")
    assert data.tensors[0].shape == (10, 1, 2, 2)
    assert data.tensors[0][1].flatten().tolist() == [5, 6, 7, 8]
    assert data.tensors[1].flatten().tolist() == [4.0 + 5 * k for k in range(10)]
    np.savez("tokens.npz", x=np.array([[2**40 + 1, 2]] * 4), y=[0, 1, 0, 1])
    assert Arrays("tokens.npz", dtype="int64").tensors[0].tolist()[0] == [2**40 + 1, 2]


def test_folder_of_npy_files_is_read_like_an_npz_file(in_tmp):
    (in_tmp / "set").mkdir()
    x, y = np.arange(18.0).reshape(6, 3), np.array([[0, 1]] * 6)
    np.save("set/x.npy", x)
    np.save("set/goal.npy", y)
    np.savez("set.npz", x=x, goal=y)
    arguments = {"targets": ["goal"], "task": "regression", "split_seed": 3}
    folder, archive = Arrays("set", **arguments), Arrays("set.npz", **arguments)
    assert all(torch.equal(a, b) for a, b in zip(folder.tensors, archive.tensors, strict=True))
    assert folder.tensors[1].shape == (5, 2)


def test_different_contents_have_different_descriptions(table):
    first = Arrays("t.csv").describe()
    assert first == Arrays("t.csv").describe()
    assert (first["name"], first["samples"], len(first["sha256"])) == ("t.csv train", 8, 64)
    assert Arrays("t.csv", split_seed=1).describe()["sha256"] != first["sha256"]
    (table / "t.csv").write_text((table / "t.csv").read_text().replace(",odd", ".5,odd"))
    assert Arrays("t.csv").describe()["sha256"] != first["sha256"]


def test_delimiter_header_and_columns_of_a_table_are_detected(in_tmp):
    expected = [(1.5, 2.0, 0.0), (2.5, -3.0, 1.0), (3.5, 4.0, 1.0), (4.5, 5.0, 0.0)]
    for mark in ",;\t|":
        lines = ("x,y,kind", "1.5,2,a", '2.5,-3,"b"', "3.5,4,b", '"4.5", 5, "a"', "  ", "", "")
        name = "t.tsv" if mark == "\t" else "t.csv"
        (in_tmp / name).write_bytes(("\ufeff" + "\r\n".join(lines).replace(",", mark)).encode())
        assert sorted_rows(Arrays(name, eval_path="none.csv")) == expected, mark
    (in_tmp / "t.csv").write_text("x;y;kind\n1,5;2;a\n2,5;-3,0;b\n3,5;4;b\n4,5;5;a\n")
    assert sorted_rows(Arrays("t.csv", decimal=",", eval_path="none.csv")) == expected
    (in_tmp / "t.csv").write_text("y;x\n1,5;2,5\n2,5;3,5\n")
    targets = Arrays("t.csv", decimal=",", task="regression", eval_path="none.csv").tensors[1]
    assert targets.flatten().tolist() == [2.5, 3.5]


def test_column_without_a_name_is_skipped_if_the_others_have_names():
    table = str(TABLES / "trailing_comma.csv")
    data = Arrays(table, inputs=["x", "y"], targets=["kind"], eval_path="none.csv")
    assert data.num_classes == 3
    assert data.tensors[0][0].tolist() == pytest.approx([1.03, 1.16])


def test_ambiguous_header_is_an_error():
    table = str(TABLES / "no_header.csv")
    with refused("header", FormatError, match="row 1, column 1 of .* is the number 5.0"):
        Arrays(table)
    lines = (TABLES / "no_header.csv").read_text().splitlines()
    data = Arrays(table, header=False, eval_path="none.csv")
    assert len(data) == len(lines)
    assert data.tensors[0][0].tolist() == pytest.approx([float(cell) for cell in lines[0].split(",")[:-1]])
    assert len(Arrays(table, header=True, eval_path="none.csv")) == len(lines) - 1  # header=True is used as given


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("0,1,label\n5.5,2,1\n1.5,3,0\n", False),  # a name above numbers
        ("2019,2020,region\n5.5,2,north\n1.5,3,south\n", True),
        ("NA,1.5,a\n2,2.5,b\n3,3.5,a\n", True),  # NA is not a name
        ("1.5,a\n,b\n2.5,a\n", True),
        ("x,kind\n,b\n2.5,a\n", False),
    ],
)
def test_header_is_detected_if_a_name_is_above_a_column_of_numbers(in_tmp, text, asks):
    (in_tmp / "t.csv").write_text(text)
    try:
        Arrays("t.csv", eval_path="none.csv")
    except InputError as error:
        assert (error.field == "header") is asks, error
    else:
        assert not asks


def test_option_na_values_sets_the_words_for_missing_targets(in_tmp):
    (in_tmp / "t.csv").write_text("x,kind\n1,None\n2,mild\n3,none \n4,severe\n")
    with refused("targets", FormatError, match=r"targets='None': is missing \(t.csv, row 2, column 'kind'\)"):
        Arrays("t.csv")
    assert Arrays("t.csv", na_values=[], eval_path="none.csv").classes == ["None", "mild", "none", "severe"]
    with refused("targets", FormatError, match=r"targets='mild': is missing \(t.csv, row 3"):
        Arrays("t.csv", na_values=["Mild"])
    np.savez("a.npz", x=np.zeros((3, 1)), y=np.array(["a", "", "b"]))
    with refused("targets", FormatError, match=r"targets='': is missing \(a.npz, sample 1, column 'y'\)"):
        Arrays("a.npz", na_values=[])


BAD_TABLES = [
    # Contents, arguments, field, message.
    ("a,b\n1,2\n", {"inputs": ["c"]}, "inputs", "the columns are a, b"),
    ("a,b\n1,0\n\n3,x\n", {"task": "regression"}, "targets", "must be a number (t.csv, row 4, column 'b')"),
    ("a,b\n1,0\n2,n/a\n3,1\n", {"task": "regression"}, "targets", "is missing (t.csv, row 3, column 'b')"),
    ("a,b\n1,rose\n2,?\n3,lily\n", {}, "targets", "is missing (t.csv, row 3, column 'b')"),
    ("a,b\n1,0\n2,1\n3,two\n4,2\n", {}, "targets", "must be a number, like the other targets (t.csv, row 4, column"),
    ("a,b\n1,ash\n2,elm\n3,7\n", {}, "targets", "must be a word, like the other targets (t.csv, row 4, column 'b')"),
    (",a,b\n0,1,x\n1,2,y\n", {}, "path", "must have a name in row 1, column 1"),
    ("a,b,\n1,x,\n2,y,\n", {"inputs": ["a"]}, "path", "must have a name in row 1, column 3"),
    ("a,b\n1_0,0\n2,1\n", {}, "path", "row 2, column 'a' must be a number (is '1_0')"),
    ("a;b;c\n1,5;2;x\n2,5;3;y\n", {}, "path", "set decimal=','"),
    ("a,b\n1.234,0\n2,1\n", {"decimal": ","}, "path", "must be a number (is '1.234')"),
    ("a,b,c\n1;5,2,x\n2;5,3,y\n", {"delimiter": ","}, "path", "set delimiter=';'"),
    ('a,b\n1,"x\n2,y\n', {}, "path", "cannot be read"),
    ('a,b\n1,"x\ny"\n2,y\n', {}, "targets", "must contain only printable characters (t.csv, row 3, column 'b')"),
    ("a,b\n1,0\n2,1\n", {"decimal": ";"}, "decimal", "'.' or ','"),
    ("a,b\n1,0\n,1\n", {}, "path", "row 3, column 'a' is empty"),
    ("a,b\n1,0\n1,2,3\n", {}, "path", "row 3 has 3 columns instead of 2"),
    ("a,b\n1,0\nnan,1\n", {}, "inputs", "must be finite (t.csv, row 3, column 'a')"),
    ("a,b\n1e39,0\n1e39,1\n", {"eval_fraction": 0.5}, "dtype", "largest numbers"),
    ("a,b\n1,0\n2,-1\n", {}, "targets", "must be an integer >= 0 (t.csv, row 3)"),
    ("a,b\n1,0\n2,inf\n", {"task": "regression"}, "targets", "must be finite (t.csv, row 3, column 'b')"),
    ("a,b\n1.5,0\n2,1\n", {"dtype": "int64"}, "inputs", "must be an integer (t.csv, row 2, column 'a')"),
    ("a,a\n3,4\n", {}, "path", "two columns 'a'"),
    ("a,b\n", {}, "path", "has no rows"),
    ("", {}, "path", "is empty"),
    ("a,b\n1,0\n", {}, "eval_fraction", "samples for training and samples for evaluation"),
    ("a,b\n1,0\n2,1\n", {"inputs": ["a", "b"]}, "inputs", "both an input and a target"),
    ("a,b\n1,0\n2,1\n", {"targets": ["a", "b"], "inputs": []}, "inputs", "at least one column"),
    ("a,b,c\n1,0,1\n2,1,1\n", {"targets": ["b", "c"]}, "targets", "one column"),
    ("a,b\n1,0\n2,1\n", {"shape": [2]}, "shape", "must have the product 1, the number of values"),
    ("a,b\n1,0\n2,1\n", {"layout": "chw"}, "layout", "shape [1]"),
    ("a,b\n1,0\n2,1\n", {"dtype": "float8"}, "dtype", "float32"),
    ("a,b\n1,0\n2,1\n", {"delimiter": ", "}, "delimiter", "one character"),
    ("a,b\n1,0\n2,1\n", {"divide_by": 0}, "divide_by", "above 0"),
    ("a,b\n1,0\n2,1\n", {"dtype": "int64", "standardize": True}, "standardize", "float32"),
    ("a,b\n1,\xff\n", {}, "path", "must be in UTF-8"),
]


@pytest.mark.parametrize(("text", "arguments", "field", "message"), BAD_TABLES)
def test_error_for_a_bad_table_names_row_and_column(in_tmp, text, arguments, field, message):
    (in_tmp / "t.csv").write_bytes(text.encode("latin-1"))
    with refused(field) as caught:
        Arrays("t.csv", **arguments)
    assert message in str(caught.value)


class Hostile:
    ran = False

    def __reduce__(self):
        return setattr, (Hostile, "ran", True)


def object_array():
    file = io.BytesIO()
    np.save(file, np.array([Hostile()], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "folder"])
def test_pickled_data_is_never_loaded(in_tmp, name):
    if name == "a.npy":
        (in_tmp / name).write_bytes(object_array())
    elif name == "a.npz":
        np.savez(name, x=np.array([Hostile()], dtype=object), y=[0], allow_pickle=True)
    else:
        (in_tmp / name).mkdir()
        (in_tmp / name / "x.npy").write_bytes(pickle.dumps(Hostile()))
        np.save(in_tmp / name / "y.npy", [0])
    Hostile.ran = False
    with refused("path", UntrustedError):
        Arrays(name)
    assert not Hostile.ran


X, Y = np.zeros((3, 2)), np.zeros(3)


@pytest.mark.parametrize(
    ("arrays", "arguments", "field"),
    [
        ({"x": X, "y": np.zeros(4)}, {}, "path"),
        ({"x": np.zeros(()), "y": Y}, {}, "path"),
        ({"x": X}, {}, "targets"),
        ({"x": X, "y": Y.astype(complex)}, {}, "targets"),
        ({"x": X, "y": np.zeros((3, 1, 1))}, {}, "targets"),
        ({"x": X, "X": X, "y": Y}, {}, "inputs"),
        ({"x": X, "y": Y}, {"inputs": ["x", "y"]}, "inputs"),
        ({"x": X, "y": Y}, {"inputs": ["x", "z"]}, "inputs"),
        ({"x": X.astype(complex), "y": Y}, {}, "inputs"),
        ({"x": np.full((3, 2, 3), np.inf), "y": Y}, {}, "inputs"),
    ],
)
def test_error_for_a_bad_archive_names_the_file(in_tmp, arrays, arguments, field):
    np.savez("a.npz", **arrays)
    with refused(field):
        Arrays("a.npz", **arguments)


@pytest.mark.parametrize("path", ["none.csv", None, "a\0b.csv", "a.xlsx", "torn.npz", "torn.npy"])
def test_error_for_a_bad_file_names_the_file(in_tmp, path):
    (in_tmp / "a.xlsx").write_bytes(b"PK")
    np.savez("torn.npz", x=np.zeros((100, 9)), y=np.zeros(100))
    np.save("torn.npy", np.zeros((100, 9)))
    for name in ("torn.npz", "torn.npy"):
        (in_tmp / name).write_bytes((in_tmp / name).read_bytes()[:-200])
    with refused("path"):
        Arrays(path)


@pytest.fixture
def three_files(in_tmp):
    """The training samples are 0 and 4, with mean 2 and standard deviation 2."""
    (in_tmp / "train.csv").write_text("x,kind\n" + "0.0,a\n4.0,b\n" * 10)
    (in_tmp / "eval.csv").write_text("x,kind\n3.0,b\n7.0,b\n")
    (in_tmp / "test.csv").write_text("x,kind\n10.0,b\n-2.0,a\n")


@pytest.mark.usefixtures("three_files")
@pytest.mark.parametrize("eval_path", [None, "eval.csv"])
def test_the_test_file_is_scaled_with_training_statistics(eval_path):
    for split in ("train", "eval"):
        data = Arrays("train.csv", eval_path, split=split, standardize=True).other("test.csv")
        assert data.tensors[0].tolist() == [[4.0], [-2.0]]  # (10 - 2) / 2
        assert data.tensors[1].tolist() == [1, 0]
        assert (len(data), data.split, data.describe()["name"]) == (2, "test", "test.csv test")


@pytest.mark.usefixtures("three_files")
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("x,kind\n" + "0.0,a\n4.0,b\n" * 10, "but 20 of its 20"),
        ("x,kind\n3.0,b\n7.0,b\n", "but 2 of its 2 samples are in .*eval"),
        ("y,kind\n3.5,b\n", "must have the same inputs"),
        ("x,kind\n3.5,c\n", "is not a class of the training samples"),
    ],
)
def test_a_wrong_test_file_is_refused(text, rule):
    Path("test.csv").write_text(text)
    with pytest.raises(InputError, match=rule):
        Arrays("train.csv", "eval.csv").other("test.csv")
