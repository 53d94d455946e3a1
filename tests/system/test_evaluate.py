"""A checkpoint of a run is evaluated again: same numbers, same security checks, and an export of only the weights."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from cli_helpers import Answer, run_in
from resume_lab import DIGITS, Net, arguments
from warm import warm

from ssr_hydra.app.evaluate import TOLERANCE, Evaluation, evaluate
from ssr_hydra.app.evaluate_command import main
from ssr_hydra.checkpoints import CheckpointStore, load
from ssr_hydra.errors import InputError

TRUST = "trust=[resume_lab]"
ALL_DIGITS = {key: value for key, value in DIGITS.items() if key != "data.limit_eval"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with averaged weights and its best checkpoint."""
    folder = tmp_path_factory.mktemp("finished")
    callbacks = ("callbacks=[ema]", "+callbacks.ema.decay=0.9")
    run_in(folder, *arguments(*callbacks, data=ALL_DIGITS, checkpoint__best="eval/loss", checkpoint__mode="max"))
    return folder / "run"


@pytest.fixture
def run(finished, in_tmp, clean_hydra):
    shutil.copytree(finished, in_tmp / "run")
    threads = torch.get_num_threads()
    yield Path("run")
    torch.set_num_threads(threads)


@pytest.fixture
def app(capsys):
    def call(*typed):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(typed)
        out, err = capsys.readouterr()
        code = caught.value.code
        return Answer(code if isinstance(code, int) else 1, out, err)

    return call


def recorded(run):
    return json.loads((run / "result.json").read_text())


def files(run):
    return {str(path): path.stat().st_mtime_ns for path in run.rglob("*")}


def test_final_metrics_are_bitwise_equal_to_the_record(run, app):
    before = files(run)
    answer = app(f"run={run}", TRUST)
    assert (answer.code, answer.err) == (0, "")
    metrics = recorded(run)["metrics"]
    lines = answer.out.splitlines()
    assert lines[0] == "run/checkpoints/ba35: batch 35, the average of ema"
    for name in ("eval/accuracy", "eval/loss"):
        assert f"  {name} {metrics[name]!r} {metrics[name]!r} equal".split() in [line.split() for line in lines]
    assert lines[-1] == "bitwise equal to the record"
    assert files(run) == before
    assert not Path("outputs").exists()


def test_evaluate_can_be_called_from_python(run):
    evaluation = evaluate(run, trust="resume_lab")
    result = recorded(run)
    assert evaluation.metrics == {name: value for name, value in result["metrics"].items() if name != "train/loss"}
    assert evaluation.differences == {"eval/accuracy": 0.0, "eval/loss": 0.0}
    assert (evaluation.batch, evaluation.weights, evaluation.is_as_recorded(0)) == (35, "ema", True)
    assert evaluation.checkpoint == run / "checkpoints/ba35"


def test_best_checkpoint_has_the_metrics_of_its_batch(run):
    """Here the best checkpoint has the largest loss: that of the first evaluation, at batch 11."""
    evaluation = evaluate(run, "best", trust="resume_lab")
    worst = max(recorded(run)["evaluations"], key=lambda item: item["metrics"]["eval/loss"])
    assert evaluation.batch == worst["timestamp"]["batch"] == 11
    assert evaluation.metrics["eval/loss"] == worst["metrics"]["eval/loss"]
    assert evaluation.is_as_recorded(0)


@pytest.mark.parametrize("name", ["ba28", "run/checkpoints/ba28/state.pt"])
def test_a_checkpoint_between_two_evaluations_has_no_record(run, app, name):
    answer = app(f"run={run}", TRUST, f"checkpoint={name}")
    assert answer.code == 0
    assert "not recorded" in answer.out
    assert answer.out.splitlines()[-1].startswith("not compared: the run recorded no metrics of these weights")


def test_wrong_metric_in_the_record_is_detected(run, app):
    result = recorded(run)
    result["evaluations"][-1]["metrics"]["eval/accuracy"] += 0.001
    (run / "result.json").write_text(json.dumps(result))
    answer = app(f"run={run}", TRUST)
    assert answer.code == 1
    assert answer.out.splitlines()[-1] == "eval/accuracy is off by 0.001, more than 1e-06"
    answer = app(f"run={run}", TRUST, "tolerance=0.01")
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "equal to the record within 0.01"


def test_checkpoint_with_the_weights_of_a_different_run_is_detected(run, app):
    checkpoint = load(run / "checkpoints/ba35")
    for tensor in checkpoint.state["callbacks"]["ema"]["average"].values():
        if tensor.is_floating_point():
            tensor.mul_(1.5)
    store, about = CheckpointStore(run / "checkpoints"), checkpoint.description
    store.save(checkpoint.state, timestamp=checkpoint.timestamp, description=about)
    answer = app(f"run={run}", TRUST)
    assert answer.code == 1
    assert "more than 1e-06" in answer.out


def test_metrics_for_different_batch_sizes_are_equal_within_the_tolerance(run):
    """A different order of float32 sums changes the last digits of the loss. The accuracy, a count, stays equal."""
    evaluation = evaluate(run, overrides=["data.eval_batch_size=7"], trust="resume_lab")
    assert evaluation.differences["eval/accuracy"] == 0
    assert evaluation.is_as_recorded(TOLERANCE)


@pytest.mark.parametrize(
    ("override", "compared"),
    [
        ("data.limit_eval=1", []),
        ("+trainer.loss.label_smoothing=0.1", ["eval/accuracy"]),
        ("data.augment=null", ["eval/accuracy", "eval/loss"]),
    ],
)
def test_metrics_on_different_data_are_not_compared_with_the_record(run, override, compared):
    evaluation = evaluate(run, overrides=[override], trust="resume_lab")
    assert {"eval/accuracy", "eval/loss"} <= set(evaluation.metrics)
    assert sorted(evaluation.differences) == compared
    (*about,) = (line for line in evaluation.messages if line.startswith("not compared with the record, because "))
    assert len(about) == (len(compared) < 2)
    assert all(override.partition("=")[0].lstrip("+") in line for line in about)
    if not compared:
        assert evaluation.metrics["eval/loss"] != recorded(run)["metrics"]["eval/loss"]
        assert evaluation.table().endswith("not compared: no metric has a comparable record")
        assert evaluation.is_as_recorded(0)  # so the exit code is 0


def test_raw_weights_of_a_run_with_averaged_weights_can_be_evaluated(run):
    evaluation = evaluate(run, weights="raw", trust="resume_lab")
    assert evaluation.recorded is None
    assert evaluation.metrics != recorded(run)["metrics"]
    assert evaluation.messages == ("the run evaluated the average of ema",)
    assert evaluate(run, weights="ema", trust="resume_lab").is_as_recorded(0)


@pytest.mark.parametrize(("weights", "exported"), [("auto", "ema"), ("raw", "raw")])
def test_export_writes_only_the_weights(run, weights, exported):
    evaluate(run, weights=weights, export="model.pt", trust="resume_lab")
    state = torch.load("model.pt", weights_only=True)
    Net(64, 8, 10).load_state_dict(state)
    checkpoint = load(run / "checkpoints/ba35").state
    expected = checkpoint["model"] if exported == "raw" else checkpoint["callbacks"]["ema"]["average"]
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert [path.name for path in Path().iterdir() if "model.pt" in path.name] == ["model.pt"]
    with pytest.raises(InputError, match="existing files are not overwritten"):
        evaluate(run, export="model.pt", trust="resume_lab")


def test_damaged_checkpoint_is_reported_and_the_previous_checkpoint_is_evaluated(run, app):
    state = run / "checkpoints/ba35/state.pt"
    state.write_bytes(state.read_bytes()[:-1])
    answer = app(f"run={run}", TRUST)
    assert answer.code == 0
    assert answer.out.startswith("refused run/checkpoints/ba35/state.pt: it is truncated")
    assert "ba28" in answer.out
    answer = app(f"run={run}", TRUST, "checkpoint=ba35")
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert "it is truncated" in answer.err


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ([], "run=None: must be set"),
        (["run"], "run='': needs a value; write run=..."),
        (["outputs/run"], "arguments='outputs/run': must be name=value; for a run's folder, write run=FOLDER"),
        (["run=nowhere"], "run='nowhere': folder not found"),
        (["run=empty"], "must be the folder of a run, but has no .hydra/config.yaml"),
        (["run=run"], "write trust=[resume_lab] on the command line"),
        (["run=run", TRUST, "checkpoint=ba99"], "checkpoint='ba99': checkpoint not found"),
        (
            ["run=run", TRUST, "weights=swa"],
            "weights='swa': this run has no callback 'swa' that averages weights; choose from auto, raw, ema",
        ),
        (["run=run", TRUST, "tolerance=-1"], "tolerance='-1': must be a finite number >= 0"),
        (["run=run", TRUST, "export=no/where.pt"], "must be in an existing folder"),
        (["run=run", TRUST, "device=abacus"], "trainer.device='abacus'"),
        (["run=run", TRUST, "hydra.run.dir=x"], "hydra.run.dir='x': has no effect, because"),
        (["run=run", TRUST, "study=x"], "study='x': has no effect, because an evaluation is not a sweep; remove study"),
        (["run=run", TRUST, "+model.width=9"], "belongs to a different model: model.state.layers.1.weight was"),
    ],
)
def test_bad_input_gives_a_one_line_error(run, app, typed, words):
    Path("empty").mkdir()
    before = files(run)
    answer = app(*typed)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err
    assert answer.err.count("\n") == 1
    assert files(run) == before


def test_trusted_module_may_be_in_the_working_directory(app, in_tmp, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    app("run=nowhere")
    assert str(in_tmp) not in sys.path
    app("run=nowhere", "trust=[lab]")
    assert sys.path[-1] == str(in_tmp)


def test_config_of_a_run_folder_is_not_trusted(run, app):
    """Ignore ``trust`` and ``hydra`` of the run's config, and import no code from it before the code is trusted."""
    config = run / ".hydra/config.yaml"
    text = config.read_text()
    Path("evil.py").write_text("raise SystemExit('it ran')\n")
    trusted = text.replace("- resume_lab\n", "- evil\n")
    assert trusted != text
    for changed, typed, words in (
        (trusted, (), "trust=['evil']: can be set only on the command line"),
        (
            trusted.replace("resume_lab.Net", "evil.Net"),
            (TRUST,),
            "is neither in the built-in list of allowed names nor in the setting trust",
        ),
        (
            text.replace("resume_lab.Net", "evil.Net"),
            (TRUST,),
            "is neither in the built-in list of allowed names nor in the setting trust",
        ),
        (text + "hydra: {callbacks: {x: {_target_: evil.Run}}}\n", (TRUST,), "can run code or write anywhere"),
    ):
        config.write_text(changed)
        answer = app(f"run={run}", *typed)
        assert answer.code == 2
        assert words in answer.err


def test_control_characters_in_a_record_are_escaped():
    evaluation = Evaluation(Path("run"), 1, "a\x1b[2J", {"eval/\x1b]0;x": 1.0}, {"eval/\x1b]0;x": 2.0})
    assert "\x1b" not in evaluation.table()


@pytest.mark.parametrize(
    ("now", "before", "off"),
    [(0.5, 0.5, 0.0), (0.5, 0.25, 0.25), (110.0, 100.0, 0.1), (float("nan"), None, 0.0), (0.5, None, float("inf"))],
)
def test_difference_is_absolute_for_values_up_to_1_else_relative(now, before, off):
    """A record has null for a value that is not finite."""
    evaluation = Evaluation(Path("run"), 1, "raw", {"eval/loss": now}, {"eval/loss": before})
    assert evaluation.differences["eval/loss"] == pytest.approx(off)


def test_command_prints_that_metrics_equal_the_record(finished, tmp_path):
    process = warm.run("-m", "ssr_hydra.evaluate", f"run={finished}", TRUST, cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.endswith("bitwise equal to the record\n")
