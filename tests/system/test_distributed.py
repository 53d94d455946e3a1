"""Training in several processes: the promises of the docs, tested with two processes over gloo."""

import itertools
import json
import math
import signal

import distributed_cases as cases
import distributed_ends as ends
import distributed_models as models
import numpy as np
import pytest
import torch
from torch import nn

from ssr_hydra.checkpoints import load_latest_good
from ssr_hydra.trainer import RunResult

LENGTHS, SIZES = [1, 3, 8, 13], [1, 2, 3]


def apart(one, two):
    """Return the largest difference between two lists of arrays."""
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(one, two, strict=True))


def counted(when):
    return when["epoch"], when["batch"], when["sample"]


# ---- 1: counters


@pytest.mark.parametrize("kind", ["tensors", "samples"])
def test_every_sample_counts_once_for_any_data_size_and_batch_size(pairs, kind):
    mine, other = pairs.run(cases.counts, kind=kind, lengths=LENGTHS, sizes=SIZES).values
    assert mine == other
    assert len(mine) == 2 * len(LENGTHS) * len(SIZES)
    for length, size, drop, outcome, _ in mine:
        samples = length - length % size if drop else length
        if size < 2 or samples == 0:
            assert outcome == "batch_size"  # one process would have no samples, or there is no batch
        else:
            assert counted(outcome) == (2, 2 * math.ceil(samples / size), 2 * samples), (length, size, drop)


def test_padding_samples_of_a_torch_sampler_are_counted(pairs):
    mine, other = pairs.run(cases.counts, kind="torch", lengths=LENGTHS, sizes=SIZES).values
    assert mine == other
    for length, size, drop, outcome, per_batch in mine:
        each = length // 2 if drop else math.ceil(length / 2)  # as torch's sampler computes it
        if each == 0:
            assert outcome == "train_dataloader"
        else:
            assert counted(outcome) == (2, 2 * math.ceil(each / size), 2 * 2 * each), (length, size, drop)
            assert per_batch == 2 * size  # schedules convert samples by this size: a batch of both processes


def test_each_process_reads_different_samples_of_a_stream(pairs):
    # 17 samples: 9 in batches of 3 and 8 in batches of 2. After three batches the first process has no samples left,
    # and the 2 remaining samples of the other process are not trained on.
    for when, per_batch in pairs.run(cases.stream).values:
        assert counted(when) == (2, 2 * 3, 2 * (9 + 6))
        assert per_batch == 5


# ---- 2: one process runs out early


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("other lengths", "must have equal lengths in all processes (rank 0 has 10, rank 1 has 6)"),
        ("fewer than promised", "has a length of 10 batches, but returned fewer (6)"),
        ("more than promised", "has a length of 10 batches, but returned more"),
        ("nothing", "had none in epoch 0"),
    ],
)
def test_both_processes_end_if_one_process_has_fewer_batches_than_declared(pairs, kind, expected):
    ended = pairs.run(cases.run_out, kind=kind)
    assert not ended.late
    assert ended.values[0] == ended.values[1]
    assert expected in ended.values[0]


def test_epoch_of_unknown_length_ends_when_one_process_has_no_more_batches(pairs):
    ended = pairs.run(cases.run_out, kind="stream")
    assert ended.values[0] == ended.values[1]
    assert counted(ended.values[0]) == (2, 2 * 6, 2 * 6 * (3 + 3))


# ---- 3 and 7: accumulation, and the weights of uneven parts


@pytest.mark.parametrize("ragged", [False, True])
def test_gradients_are_means_over_the_samples_or_tokens_of_the_whole_batch(pairs, ragged):
    """Neither two processes nor four parts can divide the batches evenly. Compare with torch's own gradients."""
    model, loader = cases.model_and_loader(ragged)
    by_hand, tokens = [], 0
    for batch in loader:
        model.zero_grad()
        if ragged:
            logits, targets = model(**batch)["logits"][:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
            tokens += int(batch["attention_mask"].sum())
        else:
            logits, targets = model(batch[0]), batch[1]
        nn.functional.cross_entropy(logits, targets).backward()
        by_hand.append([parameter.grad.clone().numpy() for parameter in model.parameters()])
    options = [(world, accumulate) for world in (1, 2) for accumulate in (1, 4)]
    results = [pairs.run(cases.gradients, world=n, accumulate=parts, ragged=ragged).values for n, parts in options]
    runs = list(itertools.chain(*results))
    assert len(runs) == 6
    for run in runs:
        assert counted(run["when"]) == (1, 3, 11)  # one batch is one step, for any number of parts
        assert run["when"]["token"] == tokens
        assert run["lrs"] == runs[0]["lrs"]
        assert run["losses"] == pytest.approx(runs[0]["losses"], abs=1e-6)
        for gradients, expected in zip(run["gradients"], by_hand, strict=True):
            assert apart(gradients, expected) < 1e-6


# ---- 4: one process and two


def test_two_processes_train_like_one_process(pairs, tmp_path):
    # 12 batches of 100 an epoch, the last of 98; augmentation, warmup given in samples, and three evaluations. The
    # results in float64 differ only by rounding.
    (one,) = pairs.run(cases.whole_run, world=1, folder=tmp_path / "one").values
    two, other = pairs.run(cases.whole_run, folder=tmp_path / "two").values
    assert one["when"] == two["when"] == other["when"]
    assert (one["when"]["batch"], one["when"]["sample"]) == (30, 2 * 1198 + 6 * 100)
    assert one["rates"] == two["rates"]  # bitwise: parsed from what repr() wrote
    assert len(one["rates"]) == 30
    assert apart(two["weights"], other["weights"]) == 0.0
    assert apart(one["weights"], two["weights"]) < 1e-13
    assert two["metrics"] == other["metrics"]
    for split in ("eval", "test"):
        assert one["metrics"][f"{split}/accuracy"] == two["metrics"][f"{split}/accuracy"]
    assert one["metrics"] == pytest.approx(two["metrics"], abs=1e-12)
    assert (two["is_main"], other["is_main"]) == (True, False)


def test_sharded_model_trains_like_a_replicated_model(pairs, tmp_path):
    (one,) = pairs.run(cases.whole_run, world=1, folder=tmp_path / "one").values
    two, other = pairs.run(cases.whole_run, folder=tmp_path / "two", parallel="fsdp").values
    assert one["when"] == two["when"] == other["when"]
    assert one["rates"] == two["rates"]
    assert two["metrics"] == other["metrics"]
    assert one["metrics"] == pytest.approx(two["metrics"], abs=1e-6)
    latest = load_latest_good(tmp_path / "two" / "checkpoints")
    assert latest is not None
    saved = list(latest[0].state["model"].values())
    assert apart(one["weights"], saved) < 1e-6  # complete, with the same names in the same order


@pytest.mark.extra("safetensors")
def test_rank_0_exports_the_unsharded_model(pairs, tmp_path):
    from safetensors.torch import load_file

    options = {"duration": "3ba", "checkpoint": {"export": "model.safetensors"}}
    pairs.run(cases.whole_run, folder=tmp_path, parallel="fsdp", **options)
    latest = load_latest_good(tmp_path / "checkpoints")
    assert latest is not None
    exported, saved = load_file(tmp_path / "model.safetensors"), latest[0].state["model"]
    assert exported.keys() == saved.keys()
    assert all(torch.equal(exported[name], saved[name]) for name in saved)


# ---- 5: another number of processes


@pytest.mark.parametrize(("before", "after", "kind"), [(2, 1, "samples"), (1, 2, "tensors")])
def test_an_epoch_continues_with_a_different_number_of_processes(pairs, tmp_path, before, after, kind):
    options = {"folder": tmp_path / "run", "kind": kind}
    (whole,) = pairs.run(cases.identities, world=1, folder=tmp_path / "whole", kind=kind).values
    first = pairs.run(cases.identities, world=before, stop=7, **options).values
    stopped = first[0]["when"]["batch"]
    assert stopped in (7, 8)  # within the second epoch of six batches
    for message in pairs.run(cases.identities, world=after, **options).values:
        assert f"processes was {before} and is {after}" in message
        assert "resume.on_change=extend" in message
    second = pairs.run(cases.identities, world=after, on_change="extend", **options).values
    batches = []
    for runs in (first, second):
        for shares in zip(*(run["held"] for run in runs), strict=True):
            batches += [[sample for share in shares for sample in share]]
    # A process that has no sample of a batch would compute a sample with weight 0. The batches of 4, 4, 4, 4, 4 and 3
    # samples need no such sample. So each epoch uses every sample once, in the order of the uninterrupted run.
    assert batches == whole["held"]
    for epoch in range(3):
        assert sorted(itertools.chain(*batches[6 * epoch : 6 * epoch + 6])) == list(range(23))
    assert first[0]["lrs"] + second[0]["lrs"] == whole["lrs"]
    assert second[0]["when"] == whole["when"]
    assert apart(second[0]["weights"], whole["weights"]) < 1e-6


def test_sharded_run_resumes_unsharded_and_unsharded_run_resumes_sharded(pairs, tmp_path):
    (whole,) = pairs.run(cases.identities, world=1, folder=tmp_path / "whole").values
    pairs.run(cases.identities, stop=7, folder=tmp_path / "run", parallel="fsdp")
    (message,) = pairs.run(cases.identities, world=1, folder=tmp_path / "run").values
    assert "processes was 2 and is 1, sharded was True and is False" in message
    (end,) = pairs.run(cases.identities, world=1, folder=tmp_path / "run", on_change="extend").values
    assert apart(end["weights"], whole["weights"]) < 1e-6
    pairs.run(cases.identities, world=1, stop=7, folder=tmp_path / "back")
    pairs.run(cases.identities, folder=tmp_path / "back", parallel="fsdp", on_change="extend")
    latest = load_latest_good(tmp_path / "back" / "checkpoints")
    assert latest is not None
    assert apart(latest[0].state["model"].values(), whole["weights"]) < 1e-6


# ---- 6: tokens


def test_token_counts_above_the_int32_limit_are_summed_exactly(pairs):
    runs = pairs.run(cases.many_tokens, each=2**31).values
    # With 10 samples in batches of 3, the last batch has one sample. So the first process has 4 parts, and the other 3.
    total = 7 * 2**31 + 3 * 1000 + 10
    assert [run["when"]["token"] for run in runs] == [total, total]
    assert total > 2**33


# ---- 8: kills


def test_run_with_one_killed_process_has_a_bitwise_equal_result(pairs, tmp_path):
    ends.check_kills(pairs, tmp_path, "ddp", 1)  # tests/chaos has more kills, also with fsdp


def test_a_lost_process_ends_the_run_with_a_one_line_error_and_a_record(pairs, tmp_path):
    ended = pairs.run(ends.lose_peer, folder=tmp_path, fails=True)
    assert ended.codes == [0, -signal.SIGKILL]
    message = ended.values[0]
    assert message.startswith("another process of this run has ended or cannot be reached, seen at ")
    assert len(message) < 300
    assert "\n" not in message
    record = RunResult.load(tmp_path)
    assert (record.status, record.steps) == ("failed", 5)
    assert record.error == f"LostProcessError: {message}"


# ---- 9: the end


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("1.7ep", (20 + 1, 1198 + 9 * 100)),  # 1.7 x 12 batches = 20.4
        ("1250sp", (13, 1198 + 100)),  # the first end of a batch at or after
    ],
)
def test_both_processes_end_at_the_same_batch_within_an_epoch(pairs, duration, expected):
    mine, other = pairs.run(ends.ends, duration=duration).values
    assert mine == other  # also their clocks: both use the clock of rank 0
    assert (mine["when"]["batch"], mine["when"]["sample"]) == expected


def test_processes_with_a_time_budget_end_at_the_same_batch_with_the_same_schedule(pairs):
    # 22 ms a step in rank 0, and twice that in the other process, on clocks of the test, so that a slow machine changes
    # nothing.
    mine, other = pairs.run(ends.ends, duration="0.3sec", ticks=22).values
    assert mine == other
    *_, before, last = mine["times"]
    assert (before, last) == (286_000_000, 308_000_000)
    assert len(mine["lrs"]) == mine["when"]["batch"] == 14
    assert len(set(mine["lrs"])) == len(mine["lrs"])


def test_a_signal_to_one_process_stops_both_processes_with_a_checkpoint(pairs, tmp_path):
    options = {"duration": "20ba", "number": int(signal.SIGUSR2), "folder": tmp_path / "run"}
    ended = pairs.run(ends.ends, stop_rank=1, **options)
    for value in ended.values:
        assert value["said"] == "TerminatedError: terminated by SIGUSR2, with a checkpoint at batch 6"
    assert RunResult.load(tmp_path / "run").status == "stopped"
    again, _ = pairs.run(ends.ends, **options).values
    whole, _ = pairs.run(ends.ends, duration="20ba").values
    assert ended.values[0]["lrs"] + again["lrs"] == whole["lrs"]
    assert ended.values[0]["losses"] + again["losses"] == whole["losses"]


# ---- evaluation, normalization, clipping


def test_evaluation_does_not_depend_on_the_number_of_processes(pairs):
    sizes = [1, 2, 5, 33]
    (one,) = pairs.run(cases.evaluations, world=1, sizes=sizes, double=True).values
    two, other = pairs.run(cases.evaluations, sizes=sizes, double=True).values
    assert two == other
    for mine, theirs in zip(one, two, strict=True):
        assert mine[:2] == theirs[:2]
        assert mine[2]["eval/accuracy"] == theirs[2]["eval/accuracy"]
        # The mean loss of each process has the precision of the model; the sums are float64.
        assert mine[2]["eval/loss"] == pytest.approx(theirs[2]["eval/loss"], abs=1e-14)


TORCHMETRICS = pytest.mark.extra("torchmetrics")


@pytest.mark.parametrize("kind", ["merges", pytest.param("torchmetrics", marks=TORCHMETRICS)])
def test_metric_object_combines_the_batches_of_all_processes(pairs, kind):
    lengths = [2, 5, 16] if kind == "torchmetrics" else [1, 2, 5, 16]  # length 1 would leave a process empty
    (one,) = pairs.run(cases.metric_objects, world=1, kind=kind, lengths=lengths).values
    two, other = pairs.run(cases.metric_objects, kind=kind, lengths=lengths).values
    assert two == other
    for mine, theirs in zip(one, two, strict=True):
        assert theirs[0] == theirs[1]  # the object is reset
        names = [name for name in mine[0] if name.startswith("eval/m")]
        assert [theirs[0][name] for name in names] == pytest.approx([mine[0][name] for name in names], abs=1e-7)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "alone",
            "metrics.m='SumOfSquares': needs a method merge_state(metrics) to combine the batches of 2 processes",
        ),
        pytest.param(
            "unsynced torchmetrics",
            "metrics.m='MetricCollection': must exchange its state between the 2 processes; remove sync_on_compute",
            marks=TORCHMETRICS,
        ),
        pytest.param(
            "torchmetrics",
            "metrics.m='MetricCollection': needs evaluation data in every process (only 1 of 2 have a batch);",
            marks=TORCHMETRICS,
        ),
    ],
)
def test_metric_object_that_cannot_be_combined_is_refused(pairs, kind, message):
    for error in pairs.run(cases.metric_objects, kind=kind, lengths=[1]).values:
        assert error.startswith(message)


def test_evaluation_of_a_sharded_model_ends_if_one_process_has_no_batch(pairs):
    mine, other = pairs.run(models.sharded_evaluation).values
    assert mine == other
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    targets = torch.tensor([[i % 3, 1] for i in range(5)]).flatten()
    outputs = model(torch.arange(5.0).repeat_interleave(2)[:, None].expand(10, 4))
    assert mine["eval/loss"] == pytest.approx(nn.functional.cross_entropy(outputs, targets).item(), abs=1e-6)
    assert mine["eval/accuracy"] == float((outputs.argmax(1) == targets).double().mean())


def test_batch_norm_normalizes_per_process_and_keeps_the_statistics_of_rank_0(pairs):
    length = 20
    before, mean, weights, metrics = pairs.run(models.batch_norm, length=length).values[0]
    other = pairs.run(models.batch_norm, length=length).values[1]
    assert mean == other[1] != before
    assert apart(weights, other[2]) == 0.0
    assert metrics == other[3]  # both evaluate the same model
    (alone,) = pairs.run(models.batch_norm, world=1, length=length).values
    assert apart(weights, alone[2]) > 1e-5  # one process alone gets different weights


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_gradients_of_two_processes_are_clipped_as_in_one_process(pairs, parallel):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    inputs, targets = 3 * torch.randn(9, 4), torch.arange(9) % 3
    nn.functional.cross_entropy(model(inputs), targets).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    norm = math.sqrt(sum(float((gradient.double() ** 2).sum()) for gradient in gradients))
    assert norm > 0.2
    by_norm = [(gradient * 0.1 / norm).numpy() for gradient in gradients]
    by_value = [gradient.clamp(-0.01, 0.01).numpy() for gradient in gradients]
    for options, expected in (({"norm": 0.1, "value": None}, by_norm), ({"norm": None, "value": 0.01}, by_value)):
        for moved in pairs.run(models.clipped, parallel=parallel, **options).values:
            assert apart(moved, expected) < 1e-6  # clip_grad_norm_ divides by norm + 1e-6


# ---- what is refused


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("whole", "parallel='fsdp': needs a model that was sharded before its optimizer was created"),
        ("fused", "optimizers[0].fused=True: must be False for a sharded model with SGD"),
        ("tokens", "max_duration='100tok': is in tokens, but the batches have no tokens to count"),
    ],
)
def test_every_process_raises_the_same_error(pairs, kind, expected):
    for message in pairs.run(cases.refused, kind=kind).values:
        assert message.startswith(expected)


def test_error_of_every_process_names_the_settings_that_differ(pairs):
    first, second = pairs.run(cases.apart).values
    assert first == second  # equal errors, so one process can print it
    assert first.pop("") is None
    assert set(first) == set(cases.APART)
    for name, message in first.items():
        field = {
            "lr": "optimizers[0].groups[0].lr",
            "schedule": "scheduler.alpha_f",
            "optimizer": "optimizers[0].class",
        }
        assert message.startswith(field.get(name, name).split("[")[0]), (name, message)
        assert "must be the same in all processes of a run (process 0 and process 1 have " in message
    assert "optimizers[0].groups[0].lr: 0.1 and 0.2)" in first["lr"]
    assert first["ssr"].startswith("ssr=1.0: ")
    assert "max_duration: '4ba' and '6ba')" in first["max_duration"]


def test_configs_that_differ_between_processes_are_reported_once(pairs, tmp_path):
    """Each process composes its own config, because values may come from its environment."""
    key = "trainer.accumulate"
    arguments = [f"{key}=1${{oc.env:RANK}}", *QUICK, f"hydra.run.dir={tmp_path}/{key}"]
    ended = pairs.run(ends.app, arguments=arguments, all_fail=True, fails=True)
    assert ended.codes == [2, 2]
    (line,) = ended.errs[0].splitlines()
    assert line.startswith(f"error: {key}=")
    assert f"must be the same in all processes of a run (process 0 and process 1 have {key}: " in line
    assert ended.errs[1] == ""
    assert not (tmp_path / key).exists()
    # The device of each process is not compared.
    arguments = [*QUICK[:-1], "trainer.threads=1${oc.env:RANK}", "max_duration=2ba", f"hydra.run.dir={tmp_path}/same"]
    pairs.run(ends.app, arguments=arguments)


# ---- the app

QUICK = ["trainer.progress=plain", "trainer.device=cpu", "trainer.threads=1"]


def test_two_processes_of_the_app_make_one_run_folder_with_one_record(pairs, tmp_path):
    arguments = [*QUICK, "ssr=0.05", f"hydra.run.dir={tmp_path}/runs/${{now:%S%f}}-${{run_id:}}"]
    ended = pairs.run(ends.app, arguments=arguments)
    (folder,) = (tmp_path / "runs").iterdir()  # named by time and random numbers, but the same in both
    record = RunResult.load(folder)
    assert (record.status, record.steps, record.samples) == ("completed", 60, 960)
    assert record.hardware["processes"] == 2
    assert ended.outs[1] == ended.errs[1] == ""  # only rank 0 prints
    assert "digits: completed" in ended.outs[0]
    names = {path.name for path in folder.iterdir()}
    assert names == {".hydra", "checkpoints", "metrics.jsonl", "result.json", "train.log"}
    lines = (folder / "train.log").read_text().splitlines()
    assert len(lines) == len(set(lines))


def test_app_shards_the_model_and_refuses_fused_kernels(pairs, tmp_path):
    arguments = [*QUICK, "ssr=0.02", "trainer.parallel=fsdp"]
    pairs.run(ends.app, arguments=[*arguments, f"hydra.run.dir={tmp_path}/fsdp"])
    assert RunResult.load(tmp_path / "fsdp").status == "completed"
    ended = pairs.run(ends.app, arguments=[*arguments, "optimizer.fused=true"], all_fail=True, fails=True)
    assert ended.codes == [2, 2]
    assert ended.errs[0].startswith("error: optimizer.fused=True: cannot be used with trainer.parallel=fsdp")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data.batch_size=1"], "error: data.batch_size=1: must be at least 2"),
        (["-m", "ssr=0.5,1"], "error: flags='-m': 2 processes were started for one run, but a sweep has many runs"),
        (["model.nothing=1"], "error: model.nothing"),
    ],
)
def test_error_that_all_processes_raise_is_printed_once(pairs, tmp_path, arguments, expected):
    folder = tmp_path / "run"
    folders = [f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}"]
    ended = pairs.run(ends.app, arguments=[*arguments, *QUICK, *folders], all_fail=True, fails=True)
    assert ended.codes == [2, 2]
    (line,) = ended.errs[0].splitlines()
    assert line.startswith(expected)
    assert ended.errs[1] == ended.outs[1] == ""
    assert not folder.exists()  # as if the run had not been tried


def test_refused_run_leaves_no_folder_even_if_one_process_is_slow(pairs, tmp_path):
    folder = tmp_path / "run"
    arguments = ["data.batch_size=1", *QUICK, f"hydra.run.dir={folder}"]
    ended = pairs.run(ends.slow_app, arguments=arguments, fails=True)
    assert ended.codes == [2, 2]
    assert not folder.exists()


def text_of(path):
    return path.read_text() if path.exists() else ""


def test_a_killed_process_is_reported_in_one_line(pairs, tmp_path):
    # A run that would take minutes, so that the signal comes before its end.
    arguments = [*QUICK, "ssr=100", f"hydra.run.dir={tmp_path}", "checkpoint.interval=5ba"]
    for victim in (1, 0):
        ended = pairs.run(
            ends.app,
            arguments=arguments,
            signalled=(victim, signal.SIGKILL),
            when=lambda: "train/loss" in text_of(tmp_path / "metrics.jsonl"),  # both processes are training
            fails=True,
        )
        assert ended.codes[victim] == -signal.SIGKILL
        assert ended.codes[1 - victim] == 1
        (line,) = ended.errs[1 - victim].splitlines()
        who = "" if victim == 1 else "process 1: "
        assert line.startswith(f"{who}error: another process of this run has ended or cannot be reached, seen at ")
        (tmp_path / "metrics.jsonl").unlink()
    # Rank 0 wrote a record of the first loss. It could not write one of the second loss, because it was killed.
    log = (tmp_path / "train.log").read_text()
    assert log.count("failed: LostProcessError") == 1


def test_sigterm_to_all_processes_is_reported_in_one_line(pairs, tmp_path):
    arguments = [*QUICK, "ssr=100", f"hydra.run.dir={tmp_path}", "checkpoint.interval=5ba"]
    ended = pairs.run(
        ends.app,
        arguments=arguments,
        all_fail=True,
        signalled=(1, signal.SIGTERM),
        when=lambda: any(tmp_path.glob("checkpoints/ba*")),  # both train; a signal waits for the end of a batch
        fails=True,
    )
    assert ended.codes == [143, 143]
    (line,) = ended.errs[0].splitlines()
    assert line.startswith("terminated by SIGTERM, with a checkpoint at batch ")
    assert ended.errs[1] == ""
    assert line.endswith(f"; continue with the same command and hydra.run.dir={tmp_path}")
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "stopped"
