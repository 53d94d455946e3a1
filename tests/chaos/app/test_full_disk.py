"""A run of the app on a full disk."""

from warm import warm

from ssr_hydra import records


def test_full_disk_gives_a_one_line_error_and_the_run_is_recorded_as_failed(in_tmp):
    """Files may hold 8 KiB: enough for Hydra's files, but not for the log of the metrics."""
    command = ("-m", "ssr_hydra", "max_duration=200ba", "trainer.log_interval=1ba", "hydra.run.dir=run")
    process = warm.run(*command, cwd=in_tmp, limits={"RLIMIT_FSIZE": 8192}, env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert process.returncode == 1
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1
    assert "metrics.jsonl" in process.stderr
    assert records.RunResult.load(in_tmp / "run").status == "failed"
