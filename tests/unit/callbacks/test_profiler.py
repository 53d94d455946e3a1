import json

import pytest
import torch
from callback_helpers import StubTrainer, result
from refusals import refused

from ssr_hydra.callbacks import Profiler


def run(folder, batches, **arguments):
    profiler, trainer = Profiler(**arguments), StubTrainer(folder)
    profiler.fit_start(trainer)
    for batch in range(1, batches + 1):
        # Batch k multiplies k by k numbers, so the trace shows which batches it has.
        torch.ones(batch, batch) @ torch.ones(batch, batch)
        profiler.batch_end(trainer.at(batch), torch.tensor(0.0))
    profiler.fit_end(trainer, result())
    profiler.close()
    return sorted(path.name for path in (folder / "profile").iterdir())


def test_trace_has_only_the_active_batches(tmp_path):
    names = run(tmp_path, 9, wait=2, warmup=1, active=3, record_shapes=True)
    assert names == ["table-6.txt", "trace-6.json"]
    events = json.loads((tmp_path / "profile" / "trace-6.json").read_text())["traceEvents"]
    shapes = [event["args"]["Input Dims"][0] for event in events if event.get("name") == "aten::mm"]
    assert shapes == [[4, 4], [5, 5], [6, 6]]
    table = (tmp_path / "profile" / "table-6.txt").read_text()
    assert "aten::mm" in table
    assert "Self CPU time total" in table


def test_profiler_can_profile_several_cycles(tmp_path):
    names = run(tmp_path, 20, wait=0, warmup=1, active=2, repeat=2)
    assert names == ["table-3.txt", "table-6.txt", "trace-3.json", "trace-6.json"]


def test_profiler_writes_a_cycle_that_the_end_of_the_run_cuts_short(tmp_path):
    assert run(tmp_path, 4, wait=1, warmup=1, active=10) == ["table-4.txt", "trace-4.json"]


def test_profiler_writes_a_note_if_the_run_is_too_short(tmp_path):
    assert run(tmp_path, 2, wait=5) == ["nothing.txt"]
    assert "ended after 2 batches, and wait=5" in (tmp_path / "profile" / "nothing.txt").read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [("active", 0), ("warmup", 0), ("active", 1001), ("wait", -1), ("repeat", True), ("rows", 1.5), ("with_stack", 1)],
)
def test_invalid_arguments_are_refused(name, value):
    with refused(name):
        Profiler(**{name: value})
