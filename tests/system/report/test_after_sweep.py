"""The report at the end of a sweep uses all records of the sweep and never makes the sweep fail."""

import io

from report_study import write_run, write_study

from ssr_hydra.report import after_sweep
from ssr_hydra.report.after_sweep import report_of_sweep


def printed_report(folder):
    stream = io.StringIO()
    report_of_sweep(folder, stream)
    return stream.getvalue()


def bare(text):
    """Remove white space, because line breaks depend on the length of the folder's path."""
    return "".join(text.split())


def test_a_sweep_writes_its_report_into_its_folder_and_prints_the_answer(tmp_path):
    folder = write_study(tmp_path, recipes=("wsd",), ssrs=(0.5, 1.0), seeds=(0, 1), controls=("",))
    text = printed_report(folder)
    assert text.startswith("recipe  ")
    assert text.splitlines()[-1] == str(folder / "report/report.html")
    assert (folder / "report/figures/frontier.png").is_file()
    assert printed_report(folder) == text  # the report in this folder is not a run


def test_message_names_the_failed_runs_and_no_report_is_written(tmp_path):
    for ssr in (0.5, 1.0):
        write_run(tmp_path / f"{ssr}", ssr=ssr, quality=None, status="failed", error="RuntimeError: no memory")
    (write_run(tmp_path / "torn") / "result.json").write_text("{", encoding="utf-8")
    text = bare(printed_report(tmp_path))
    assert text.startswith(bare("No report: no run has completed. "))
    for ssr in (0.5, 1.0):
        assert bare(f"failed: {tmp_path / str(ssr)}: RuntimeError: no memory") in text
    assert bare(f"torn: {tmp_path / 'torn'}") in text
    assert not (tmp_path / "report").exists()


def test_reason_for_a_missing_report_is_one_line(tmp_path, monkeypatch):
    assert printed_report(tmp_path) == "No report: no runs found (give the folder of a study).\n"
    write_run(tmp_path / "0", metric="eval/foo")
    assert bare(printed_report(tmp_path)) == bare(
        "No report: the name eval/foo does not show whether higher is better (write max or min: "
        f"ssr-report {tmp_path} --direction ...)."
    )
    write_run(tmp_path / "other/0")
    (tmp_path / "other/report").write_text("a file where the folder would be", encoding="utf-8")
    assert "Not a directory" in printed_report(tmp_path / "other")

    def broken(*_, **__):
        raise ZeroDivisionError("of a kind that nobody has thought of")

    monkeypatch.setattr(after_sweep, "build", broken)
    assert printed_report(tmp_path / "other").startswith("No report: ZeroDivisionError: of a kind")


def test_new_report_deletes_figures_of_an_earlier_report(tmp_path):
    write_run(tmp_path / "0", ssr=0.5)
    second = write_run(tmp_path / "1", ssr=1.0)
    printed_report(tmp_path)
    mine = tmp_path / "report/figures/mine.png"
    mine.touch()
    assert (tmp_path / "report/figures/doublings.svg").exists()
    (second / "result.json").unlink()
    printed_report(tmp_path)
    assert not list((tmp_path / "report/figures").glob("doublings.*"))
    assert (tmp_path / "report/figures/frontier.svg").exists()
    assert mine.exists()
