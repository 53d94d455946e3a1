"""The command line of ssr-report."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

# This import builds matplotlib's font cache. Otherwise a process of a test may print that it builds the cache.
import matplotlib.font_manager  # noqa: F401
import pytest
from report_study import write_study
from warm import warm

from ssr_hydra.report import main
from ssr_hydra.report.after_sweep import report_of_sweep


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two recipes at two SSRs, with two seeds each."""
    return write_study(tmp_path_factory.mktemp("small") / "s", ("wsd", "cosine"), (1.0, 2.0), (0, 1), ("",))


FILES = ["figures", "report.html", "report.json", "runs.csv", "table.csv", "table.md", "table.tex"]


def test_command_prints_the_table_and_writes_the_report(repo, study_folder, tmp_path):
    command = (str(repo / "scripts/report.py"), str(study_folder), "--out", "made", "--price-per-hour", "2")
    process = warm.run(*command, cwd=tmp_path, env={"COLUMNS": "100"})
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("recipe  ")
    assert process.stdout.splitlines()[-1] == str(Path("made/report.html"))
    assert max(map(len, process.stdout.splitlines())) <= 100
    assert "\x1b" not in process.stdout
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == FILES
    assert sorted(path.name for path in (tmp_path / "made/figures").iterdir()) == [
        f"{name}.{kind}"
        for name in ("doublings", "frontier", "learning_curves", "learning_rates", "tolerances")
        for kind in ("png", "svg")
    ]


def test_terminal_report_uses_the_width_and_colours_of_the_terminal(repo, small, tmp_path, monkeypatch):
    parent, child = pty.openpty()
    for name in ("NO_COLOR", "LINES"):
        monkeypatch.delenv(name, raising=False)
    process = warm.start(
        str(repo / "scripts/report.py"), str(small), "--out", str(tmp_path), cwd=tmp_path,
        env={"COLUMNS": "64", "TERM": "xterm"}, stdin=child, stdout=child, stderr=child,
    )  # fmt: skip
    os.close(child)
    output = b""
    try:
        while part := os.read(parent, 65536):
            output += part
    except OSError:  # Linux reports this if the other end is closed
        pass
    os.close(parent)
    assert process.wait() == 0
    text = output.decode().replace("\r\n", "\n")
    assert "\x1b[1m" in text
    plain = re.sub(r"\x1b\[\d+m", "", text).splitlines()
    assert max(len(line) for line in plain if not line.startswith("/")) <= 64


def test_report_is_written_into_the_study_folder_and_is_reproducible(small, capsys):
    outputs = []
    for _ in range(2):  # a report in the study's folder is not a run
        main([str(small), "--tolerance", "0.01"])
        files = {path: path.read_bytes() for path in (small / "report").rglob("*") if path.is_file()}
        outputs.append((files, capsys.readouterr().out))
    assert outputs[0] == outputs[1]


def test_several_studies_make_one_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, recipe in (("a", "wsd"), ("b", "cosine_warmup")):
        write_study(tmp_path / name, recipes=(recipe,), ssrs=(1.0, 2.0), seeds=(0, 1), controls=("",))
    main(["a", "b", "--reference", "wsd"])
    report = json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8"))
    assert {row["recipe"] for row in report["table"]} == {"wsd", "cosine_warmup"}
    assert report["options"]["reference"] == "wsd"
    assert {row["recipe"] for row in report["speedup"]} == {"cosine_warmup"}


def test_report_rejects_the_power_law_of_the_resnet50_table(resnet50, capsys):
    main(["--csv", str(resnet50), "--ssr", "ssr", "--quality", "top1", "--seconds", "seconds", "--tolerance", "0.3"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "Run resnet50 at SSR 1; the noise was not measured." in printed  # it gains 1.16 to SSR 1, and 0.25 to SSR 2
    assert "The power law of resnet50 fails its back-test." in printed
    assert (resnet50.parent / "resnet50_report/report.html").exists()


def test_report_uses_every_option(small, tmp_path):
    options = "--tolerance .002 --target .9 --price-per-hour 3 --confidence .8 --reference wsd --equal steps"
    options += " --noise cell --objective eval/accuracy --direction min"
    main([str(small), *options.split(), "--out", str(tmp_path)])
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["options"] == {
        "tolerance": 0.002, "target": 0.9, "price_per_hour": 3.0, "confidence": 0.8, "reference": "wsd",
        "equal": "steps", "noise": "cell", "labels": {},
    }  # fmt: skip
    assert (report["direction"], report["objective"]) == ("min", "eval/accuracy")


def test_labels_replace_names_in_every_file_of_the_report(resnet50, capsys):
    options = ["--csv", str(resnet50), "--ssr", "ssr", "--quality", "top1", "--label", "resnet50=ResNet-50"]
    main([*options, "--label", "top1=Accuracy (%)"])
    printed = capsys.readouterr().out
    assert "ResNet-50" in printed.splitlines()[1]
    assert "Accuracy (%)" in printed.splitlines()[0]
    for name in ("report.html", "table.md", "table.tex"):
        assert "ResNet-50" in (resnet50.parent / "resnet50_report" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "error: STUDY=None: must be given; pass one or more folders of studies, or a table as --csv FILE"),
        ("s --csv t.csv --ssr a --quality b", "STUDY='s': cannot be used with --csv; make one"),
        ("s --seed seed", "error: --seed='seed': cannot be used without a table; add --csv FILE"),
        ("t.csv", "error: STUDY='t.csv': must be a folder (got a table); use --csv t.csv --ssr COL --quality COL"),
        ("s --tolerance x", "error: --tolerance='x': must be a number; see --help"),
        ("--csv t.csv --ssr x --quality y --direction max --price-per-hour 3", "--price-per-hour=3.0: some runs"),
        ("--csv t.csv --ssr a", "--csv='t.csv': needs --ssr COL --quality COL"),
        ("--csv t.csv --ssr a --quality b --objective c", "--objective='c': cannot be used with --csv"),
        ("nowhere", "error: STUDY='nowhere': folder not found; give the folder of a study"),
        (".", "no runs found"),
        ("s --tolerance -1", "error: --tolerance=-1.0: must be a finite number above 0"),
        ("s --equal time", "error: --equal='time': must be one of seconds, steps, ssr; see --help"),
        ("s --label x", "error: --label='x': must be NAME=LABEL; e.g. --label eval/accuracy=Accuracy"),
        ("--csv t.csv --ssr x --quality y --direction max --label a=b", "error: --label='a=b': must name the metric"),
        ("--csv nowhere.csv --ssr a --quality b", "error: --csv='nowhere.csv': file not found; check the path"),
        ("--csv /dev/null --ssr a --quality b", "error: --csv='/dev/null': must be a file (got a folder or a pipe)"),
        ("--csv t.csv --ssr a --quality b", "error: --ssr='a': "),
        ("--csv t.csv --ssr x --quality y", "is better; give --direction max or --direction min"),
        ("SMALL --out t.csv", "error: --out='t.csv': cannot be written ("),
    ],
)
def test_invalid_values_give_a_one_line_error(arguments, message, small, in_tmp, capsys):
    (in_tmp / "t.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(arguments.replace("SMALL", str(small)).split())
    assert ended.value.code == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["report", "report/figures"])
def test_link_in_a_study_is_not_followed_unless_out_names_it(name, small, tmp_path, capsys):
    study, outside = tmp_path / "study", tmp_path / "outside"
    shutil.copytree(small, study, ignore=shutil.ignore_patterns("report"))
    outside.mkdir()
    (study / name).parent.mkdir(exist_ok=True)
    (study / name).symlink_to(outside)
    with pytest.raises(SystemExit) as ended:
        main([str(study)])
    assert ended.value.code == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: --out=")
    assert "must not be a link" in stderr
    report_of_sweep(study, sys.stdout)
    assert capsys.readouterr().out.startswith("No report: must not be a link")
    assert not any(outside.iterdir())
    main([str(study), "--out", str(study / "report")])
    assert any(outside.iterdir())


def test_report_loads_neither_torch_nor_hydra_and_prints_no_font_warnings(small, tmp_path):
    code = f"""
import logging, sys
logging.basicConfig(level=logging.INFO)
from ssr_hydra.report import main
from ssr_hydra.report.after_sweep import report_of_sweep
main([{str(small)!r}, "--out", {str(tmp_path)!r}])
heavy = {{"torch", "hydra", "omegaconf", "sklearn", "matplotlib.pyplot"}} & set(sys.modules)
logging.getLogger("matplotlib.font_manager").info("still logs")
sys.exit(", ".join(sorted(heavy)) or 0)
"""
    fresh = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "fresh")}
    process = subprocess.run([sys.executable, "-c", code], env=fresh, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "INFO:matplotlib.font_manager:still logs\n")
    assert list((tmp_path / "fresh").glob("fontlist*"))  # matplotlib has searched for fonts
