import pytest
from callback_helpers import train

from ssr_hydra.callbacks.sent import Sent


def run(path, batch, config=None, place="here"):
    sent = Sent(path / "x.json", place, config)
    sent.resume(batch)
    return sent


def started(path, config=None):
    """Start a run that sent batches 10 and 20, and was killed before the evaluation at 20."""
    sent = run(path, 0, config)
    sent.start("id-1")
    sent.add(train(10))
    sent.add(train(20))


def test_resumed_run_continues_without_sending_records_twice(tmp_path):
    started(tmp_path)
    sent = run(tmp_path, 10)
    assert sent.id == "id-1"
    assert [sent.is_new(train(batch)) for batch in (10, 20, 30)] == [False, False, True]
    # The evaluation at 20 was not sent yet: it is a different record of the same batch.
    assert sent.is_new({**train(20), "event": "eval"})
    sent.add({**train(20), "event": "eval"})
    assert not run(tmp_path, 10).is_new({**train(20), "event": "eval"})


@pytest.mark.parametrize(
    ("batch", "config", "place", "identity", "previous"),
    [
        (10, {"ssr": 1, "name": "b", "resume": 1, "logger": {}, "checkpoint": 2}, "here", "id-1", None),
        (10, {"ssr": 2}, "here", None, "id-1"),  # the config changed, and batch 20 was sent with the old config
        (20, {"ssr": 2}, "here", "id-1", None),  # the config changed here, so no sent record is wrong
        (0, {"ssr": 1}, "here", None, "id-1"),  # the run starts again
        (10, {"ssr": 1}, "there", None, None),  # the id belongs to another store
    ],
)
def test_run_id_changes_only_for_a_new_run(tmp_path, batch, config, place, identity, previous):
    started(tmp_path, {"ssr": 1, "name": "a"})
    sent = run(tmp_path, batch, config, place)
    assert (sent.id, sent.previous) == (identity, previous)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"id": "x"}', '{"id":"x","place":"here","config":null,"batch":"?"}']
)
def test_damaged_file_contains_no_run_id(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    assert run(tmp_path, 10).id is None
