"""A table on a full disk."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from callback_helpers import StubTrainer
from warm import warm

from ssr_hydra.callbacks import CSVLogger
from ssr_hydra.errors import RunError
from ssr_hydra.files import WriteError


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_error_for_a_full_disk_names_path_and_bytes_and_whole_rows_remain(tmp_path: Path) -> None:
    code = f"""
import resource, signal, sys
from pathlib import Path
from callback_helpers import StubTrainer, train
from ssr_hydra.callbacks import CSVLogger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.dont_write_bytecode = True  # Python would keep half a file for everybody
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
logger, trainer = CSVLogger(), StubTrainer(Path({str(tmp_path)!r}))
logger.fit_start(trainer)
try:
    for batch in range(1, 100):
        logger.log(trainer, train(batch))
except OSError as error:
    print(type(error).__name__, error)
"""
    done = warm.run("-c", code, cwd=tmp_path)
    assert re.match(r"WriteError .*cannot write \d+ bytes.*metrics\.csv", done.stdout)
    assert issubclass(WriteError, RunError)
    logger = CSVLogger()
    logger.fit_start(StubTrainer(tmp_path, 99))  # resuming drops the incomplete row
    logger.close()
    assert [int(row["batch"]) for row in table(tmp_path)] == list(range(1, len(table(tmp_path)) + 1))
    assert len(table(tmp_path)) > 5
