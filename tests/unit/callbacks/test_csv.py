import csv
import math
import os
import sys

import numpy as np
import pytest
from callback_helpers import log_records, train
from checkpoint_helpers import largest_file

from ssr_hydra.callbacks import CSVLogger
from ssr_hydra.files import WriteError


def table(folder):
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(folder, *records, batch=0):
    log_records(CSVLogger(), folder, *records, batch=batch)


def events(rows):
    return [f"{row['event']} {row['batch']}" for row in rows]


def evaluation(batch, **values):
    return {"event": "eval", "batch": batch, **values}


def test_every_record_is_a_row_and_every_name_is_a_column(tmp_path):
    write(tmp_path, train(10), evaluation(10, **{"eval/loss": 0.25}), train(20, lrs=[0.1, 0.2]), evaluation(20, late=7))
    rows = table(tmp_path)
    names = "event epoch batch sample token train_seconds train/loss lr eval/loss lr/0 lr/1 late"
    assert list(rows[0]) == names.split()
    assert events(rows) == ["train 10", "eval 10", "train 20", "eval 20"]
    assert [row["train/loss"] for row in rows] == ["0.1", "", "0.05", ""]
    assert [row["late"] for row in rows] == ["", "", "", "7"]
    assert {line.count(",") for line in (tmp_path / "metrics.csv").read_text().splitlines()} == {11}


def test_numbers_keep_all_digits_and_non_finite_values_round_trip(tmp_path):
    values = [1 / 3, 1e-300, -5e-324, math.nan, math.inf, -math.inf]
    write(tmp_path, *(train(10 * n + 10, x=value) for n, value in enumerate(values)))
    numbers = [float(row["x"]) for row in table(tmp_path)]
    assert numbers[:3] == values[:3]
    np.testing.assert_array_equal(numbers, values)
    by_numpy = np.genfromtxt(tmp_path / "metrics.csv", delimiter=",", names=True, usecols=("batch", "x"))
    np.testing.assert_array_equal(by_numpy["x"], values)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_csv_cell_can_be_read_as_a_formula(tmp_path, start):
    attack = f'{start}cmd|" /C calc"!A0'
    write(tmp_path, train(10, note=attack, **{attack: 1.0}))
    with (tmp_path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0][-1] == rows[1][-2] == f"'{attack}"
    # Reading and writing the file again, on resume, does not quote it again.
    write(tmp_path, train(20), batch=10)
    assert table(tmp_path)[0]["note"] == f"'{attack}"


def test_text_with_commas_quotes_and_line_breaks_stays_one_cell(tmp_path):
    text = 'a,"b"\r\nc\nd'
    write(tmp_path, train(10, note=text), train(20, new=1))
    assert table(tmp_path)[0]["note"] == text


def test_steps_that_a_resumed_run_repeats_are_logged_once(tmp_path):
    write(tmp_path, train(10), evaluation(10), train(20), train(30))
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("train,4,40,64")  # the process was killed in the middle of a row
    write(tmp_path, train(20), train(30, more=1), batch=10)
    assert events(table(tmp_path)) == ["train 10", "eval 10", "train 20", "train 30"]


@pytest.mark.skipif(sys.platform == "win32", reason="no file-size limit")
def test_full_disk_error_names_path_and_bytes_and_whole_rows_are_kept(tmp_path):
    with largest_file(500), pytest.raises(WriteError, match=r"cannot write \d+ bytes.*metrics\.csv"):
        write(tmp_path, *(train(batch) for batch in range(1, 100)))
    write(tmp_path, batch=99)  # resuming drops the incomplete row
    rows = table(tmp_path)
    assert len(rows) > 5
    assert [int(row["batch"]) for row in rows] == list(range(1, len(rows) + 1))


def test_restarted_run_replaces_the_table(tmp_path):
    write(tmp_path, {**train(10), "batch": 0}, train(10))
    write(tmp_path, train(20))
    assert [row["batch"] for row in table(tmp_path)] == ["20"]


@pytest.mark.parametrize("content", [b"\xff\xfea;b\n1;2\n", None])
def test_unreadable_file_is_replaced(tmp_path, content):
    if content is None:
        os.mkfifo(tmp_path / "metrics.csv")
    else:
        (tmp_path / "metrics.csv").write_bytes(content)
    write(tmp_path, train(20), batch=10)
    assert [row["batch"] for row in table(tmp_path)] == ["20"]
