"""Commands whose output is closed, full, or not UTF-8: the work completes, and only the output is lost."""

import json
import subprocess
import sys

import pytest
from checkout import REPO
from warm import warm

TRAIN = f"{warm.python} {REPO / 'train.py'}"
COLD = f"{sys.executable} {REPO / 'train.py'}"
RUN = "max_duration=2ba hydra.run.dir=run"


def shell(command, cwd):
    process = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    return process.returncode, process.stdout, process.stderr


@pytest.mark.parametrize(
    ("train", "to"),
    [(COLD, "0>&- >&- 2>&-"), (TRAIN, ">&-"), (TRAIN, "> /dev/full"), (TRAIN, "2> /dev/full >&2"), (TRAIN, "| true")],
    ids=["closed", "no stdout", "full stdout", "both full", "closed pipe"],
)
def test_run_completes_if_its_output_is_closed_or_cannot_be_written(tmp_path, train, to):
    # If a descriptor is closed, the next opened file would get its number, and the output would go into that file.
    assert shell(f"{train} {RUN} {to}", tmp_path) == (0, "", "")
    assert json.loads((tmp_path / "run/result.json").read_text())["status"] == "completed"
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["train", "eval"]


def test_sweep_completes_if_its_output_is_closed(tmp_path):
    sweep = f"{TRAIN} -m seed=0,1 max_duration=2ba study=s 0>&- >&- 2>&-"
    assert shell(sweep, tmp_path) == (0, "", "")
    records = [json.loads(path.read_text()) for path in (tmp_path / "studies/s").glob("*/result.json")]
    assert [record["status"] for record in records] == ["completed"] * 2


def test_console_that_is_not_utf_8_shows_escapes(tmp_path):
    code, out, err = shell(f"PYTHONIOENCODING=ascii {TRAIN} {RUN} 'name=\"größe\"'", tmp_path)
    assert (code, err) == (0, "")
    assert "gr\\xf6\\xdfe: completed" in out
    assert json.loads((tmp_path / "run/result.json").read_text())["name"] == "größe"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder in which a run has ended."""
    folder = tmp_path_factory.mktemp("finished")
    assert shell(f"{TRAIN} {RUN} > /dev/null", folder)[0] == 0
    return folder


def test_help_can_be_written_to_a_pipe_that_closes(tmp_path):
    assert shell(f"{TRAIN} --help | head -c 1", tmp_path)[::2] == (0, "")


@pytest.mark.parametrize("to", ["> /dev/full", "| true"])
@pytest.mark.parametrize(
    "command",
    ["previews import main; main(['scheduler=rex', '--out', 'a.svg'])", "evaluate import main; main(['run=run'])"],
)
def test_commands_exit_with_0_if_their_output_cannot_be_written(finished, command, to):
    assert shell(f'{warm.python} -c "from ssr_hydra.{command}" {to}', finished) == (0, "", "")


def test_error_is_printed_if_the_config_cannot_be_printed(tmp_path):
    code, _, err = shell(f"{TRAIN} --cfg job > /dev/full", tmp_path)
    assert (code, err) == (1, "error: cannot print: No space left on device\n")


def test_escape_sequences_are_printed_as_text(tmp_path):
    code, out, err = shell(f"{TRAIN} $'model=a\\x1b[31mb'", tmp_path)
    assert (code, out) == (2, "")
    assert "\x1b" not in err
    assert "a\\x1b[31mb" in err
