"""The command line of ssr-preview."""

import shlex
import sys

# A process without a font cache may print that it builds one, so this line builds the cache first.
import matplotlib.font_manager  # noqa: F401
import pytest

from ssr_hydra.previews import main

pytestmark = pytest.mark.usefixtures("clean_hydra")


def rows(output):
    """Return curve -> landmark -> the cells after it."""
    curves = {}
    name = ""
    for line in output.splitlines()[1:]:
        if line.startswith("  "):
            label, *cells = [cell.strip() for cell in line.strip().split("   ") if cell.strip()]
            curves[name][label] = cells
        elif line:
            name = line
            curves[name] = {}
    return curves


def show(capsys, *arguments):
    main([*arguments, "--out", "shown.svg"])
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.splitlines()[-1] == "shown.svg"
    return rows("\n".join(output.out.splitlines()[:-1]))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("ssr=range(1,4)", ["cosine_warmup, ssr 1", "cosine_warmup, ssr 2", "cosine_warmup, ssr 3"]),
        ("scheduler=rex,linear ssr=0.5,1 zip=ssr,scheduler", ["rex, ssr 0.5", "linear, ssr 1"]),
        ("ssr=choice(0.5,1) scheduler=glob(cos*p)", ["cosine_warmup, ssr 0.5", "cosine_warmup, ssr 1"]),
        ("scheduler=multistep scheduler.milestones=[1ep,2ep],[3ep]",
         ["multistep, milestones=[1ep,2ep], ssr 1", "multistep, milestones=[3ep], ssr 1"]),
        ("scheduler=product scheduler@scheduler.factors.decay=rex,step",
         ["product, decay=rex, ssr 1", "product, decay=step, ssr 1"]),
        ("experiment=digits_wsd max_duration=100ba,200ba",
         ["wsd, max_duration=100ba, ssr 1", "wsd, max_duration=200ba, ssr 1"]),
        ("-m scheduler=rex ssr=0.5,1 \"name='a, b'\"", ["rex, ssr 0.5", "rex, ssr 1"]),
    ],
)  # fmt: skip
def test_preview_splits_sweeps_as_hydra_does(arguments, names, in_tmp, capsys):
    assert list(show(capsys, *shlex.split(arguments))) == names


def test_preview_applies_overrides_to_the_schedule(in_tmp, capsys):
    schedule = "scheduler=wsd scheduler.t_decay=0.2dur scheduler.decay=linear max_duration=2000ba ssr=0.5"
    main([*f"{schedule} optimizer=adamw optimizer.lr=3e-4 --alpha --normalize --title WSD".split()])
    *table, picture, vectors = capsys.readouterr().out.splitlines()
    assert rows("\n".join(table))["wsd, ssr 0.5"]["start of decay"] == ["800ba", "80 %", "1", "0.0003"]
    assert (picture, vectors) == ("preview.png", "preview.svg")
    assert b"<svg" in (in_tmp / "preview.svg").read_bytes()
    assert (in_tmp / "preview.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_preview_draws_every_job_of_an_experiment_that_defines_a_sweep(in_tmp, capsys):
    folder = in_tmp / "mine" / "experiment"
    folder.mkdir(parents=True)
    params = "scheduler: cosine,linear\n      ssr: 0.5,1"
    text = f"# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      {params}\n"
    (folder / "sweep.yaml").write_text(text, encoding="utf-8")
    curves = show(capsys, "--config-dir", "mine", "experiment=sweep", "ssr=2")
    assert list(curves) == ["cosine, ssr 2", "linear, ssr 2"]


def test_batches_per_epoch_and_batch_sizes_come_from_the_data_or_from_flags(in_tmp, capsys):
    for arguments, step in (
        ("step_size=150ba", "2ep"),  # 75 batches of digits are an epoch
        ("step_size=150ba --dataloader-len 50", "3ep"),
        ("step_size=512tok max_duration=10ba --tokens-per-batch 256", "2ba"),
        ("step_size=64sp max_duration=10ba", "4ba"),
        ("step_size=64sp max_duration=10ba --samples-per-batch 8", "8ba"),
    ):
        curves = show(capsys, "scheduler=step", *f"scheduler.{arguments}".split())
        assert curves["step, ssr 1"]["step 1"][0] == step


def test_custom_scheduler_can_be_previewed(in_tmp, capsys, monkeypatch):
    text = "def halves(every):\n    return lambda state, ssr: 0.5 ** (state.timestamp.batch.value // (every * ssr))\n"
    (in_tmp / "my_schedules.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(in_tmp)
    arguments = [
        "scheduler=custom",
        "scheduler._target_=my_schedules.halves",
        "+scheduler.every=20",
        "max_duration=100ba",
    ]
    curves = show(capsys, *arguments, "ssr=0.5", "trust=[my_schedules]")
    assert curves["custom, ssr 0.5"]["75 %"][2] == "0.125"
    assert "trust=[my_schedules]" in refused(capsys, *arguments)
    for every, what in (("0", "ZeroDivisionError"), ("ten", "TypeError")):  # 0 * ssr, "ten" * ssr
        with pytest.raises(SystemExit) as caught:
            main([*arguments, f"scheduler.every={every}", "trust=[my_schedules]"])
        error = capsys.readouterr().err
        assert caught.value.code == 1
        assert error.startswith(f"error: {what}: ")
        assert "(my_schedules.py, line 2) (raised by the scheduler " in error
        assert error.count("\n") == 1


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    output = capsys.readouterr()
    assert caught.value.code == 2
    assert output.out == ""
    return output.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ssr=0"], "error: ssr=0.0:"),
        (["scheduler.t_warmup=10"], "error: scheduler.t_warmup='10': a duration needs a unit; did you mean '10ba'"),
        (["ssr=range(0,1000)"], "error: curves=1000:"),
        (["max_duration=10ep,100ba"], "ep and ba"),
        (["scheduler=custom", "scheduler._target_=os.system"], "error: scheduler._target_='os.system'"),
        (["scheduler=torch_plateau"], "has no curve without a run"),
        (["~scheduler", "+scheduler@scheduler.default=cosine"], "a figure can show only one schedule"),
        (["scheduler=custom", "scheduler._target_=torch.optim.lr_scheduler.StepLR"], "missing a required argument"),
        (["scheduler=step", "scheduler.step_size=64tok"], "which is unknown; give --tokens-per-batch N"),
        (["--dataloader-len", "0"], "--dataloader-len=0: must be above 0; leave out --dataloader-len if it is unknown"),
        (["--dataloader-len", "many"], "error: --dataloader-len='many': must be a whole number; see --help"),
        (["--bogus"], "unrecognized arguments: --bogus; write overrides without dashes, for example ssr=0.5"),
        (["--lr", "--alpha"], "error: --alpha=True: cannot be used with --lr; remove --alpha or --lr"),
        (["--config-name", ""], "error: --config-name='': needs a value"),
        (["--out", "a.jpg"], "error: --out='a.jpg':"),
        (["--title", "$x_$"], "error: --title='$x_$': must have valid matplotlib math"),
    ],
)
def test_bad_input_gives_a_one_line_error_and_writes_no_file(arguments, message, in_tmp, capsys):
    error = refused(capsys, *arguments)
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert list(in_tmp.iterdir()) == []


def test_trusted_module_may_be_in_the_working_directory(in_tmp, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    (in_tmp / "lab_of_preview.py").write_text("def two_thirds(state, ssr=1.0):\n    return 2 / 3\n")
    own = ["scheduler=custom", "scheduler._target_=lab_of_preview.two_thirds", "+scheduler._partial_=true"]
    (curve,) = show(capsys, *own, "trust=[lab_of_preview]").values()
    assert curve["50 %"][-2] == "0.666667"


def test_data_of_unknown_length_needs_the_flag_dataloader_len(in_tmp, capsys):
    data = ["data=custom", "data.train._target_=mine.Data", "trust=[mine]", "trainer.objective=null", "scheduler=step"]
    assert "--dataloader-len N" in refused(capsys, *data, "scheduler.step_size=100ba")
    curves = show(capsys, *data, "scheduler.step_size=100ba", "--dataloader-len", "50")
    assert curves["step, ssr 1"]["step 1"][0] == "2ep"
    assert show(capsys, *data, "scheduler.step_size=2ep")["step, ssr 1"]["step 1"][0] == "2ep"
