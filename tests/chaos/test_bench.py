"""The benches run. No test checks times, because times depend on the machine."""

import pytest
from checkout import REPO
from warm import warm

SCRIPTS = REPO / "scripts"


def bench(*arguments):
    """Return the lines that the script prints."""
    process = warm.run(str(SCRIPTS / "bench.py"), *arguments, cwd=REPO)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def test_scheduler_bench_prints_a_comparison_with_torch_lambda_lr():
    printed = "\n".join(bench("schedulers", "--rounds", "2"))
    assert "ScheduledLR.step" in printed
    assert "torch LambdaLR" in printed


def test_startup_bench_prints_a_ratio_for_each_command():
    lines = bench("startup", "--rounds", "1")
    assert [line.split("  ")[0] for line in lines[1:]] == ["--cfg job", "--help", "--shell-completion query=bash"]
    assert all(float(line.split()[-1]) > 0 for line in lines[1:])


@pytest.mark.parametrize(
    ("arguments", "row", "columns"),
    [
        (["features", "--rounds", "1"], "EMA of the weights", 2),
        (["throughput", "--rounds", "1", "--steps", "2", "--batch", "4"], "bf16 + channels_last", 3),
    ],
)
def test_features_and_throughput_benches_print_positive_numbers(arguments, row, columns):
    (line,) = [line for line in bench(*arguments) if line.startswith(row)]
    assert all(float(number.replace(",", "")) > 0 for number in line.split()[-columns:])


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), ([], 2), (["trainer"], 2)])
def test_help_and_errors_of_the_bench_script_list_the_benches(arguments, status, monkeypatch, capsys):
    monkeypatch.syspath_prepend(SCRIPTS)
    import bench as script

    assert script.main(arguments) == status
    assert "schedulers" in capsys.readouterr().out


def test_the_sharing_bench_prints_a_row_for_each_plan():
    lines = bench("sharing", "--jobs", "20", "--long-jobs", "4")
    assert [line.split()[0] for line in lines[1:]] == 2 * ["wsd,", "multistep", "step", "cosine"]
