"""Kill and stop runs at many random points, and repeat the same command."""

from resume_lab import SIGNALS, scenarios


def test_run_survives_30_kills_at_random_points(tmp_path):
    kills = scenarios("kills:30", tmp_path)["kills"]
    assert kills["kills"] == 30
    # The kills come in training, in evaluation, during a write of a record, and during a write of a checkpoint.
    assert {"train", "eval", "record", "fsync", "os.rename"} <= set(kills["where"])


def test_run_survives_signals_at_random_points(tmp_path):
    signals = scenarios("signals:20", tmp_path)["signals"]
    assert [signals[name]["stopped"] for name in SIGNALS] == [20, 3, 3, 3]
    assert signals["SIGTERM"]["eval"] > 0


def test_run_survives_kills_near_the_end_ctrl_c_a_requeue_and_a_full_disk(tmp_path):
    counts = scenarios("ends:3,keyboard:4,requeue,full_disk", tmp_path)
    # The kills come while the last checkpoint and the record are written.
    assert counts["ends"]["kills"] >= 8
    # ctrl-C in a terminal, once and twice: in training, and in an evaluation.
    assert counts["keyboard"]["codes"] == [130] * 4
    # After the checkpoint, the trainer calls the handler of SIGUSR2 that a job launcher has installed. The first run's
    # handler returns, and the second run's handler exits with code 7.
    assert counts["requeue"]["codes"] == [140, 7]
    # The error names path and bytes, and the previous checkpoint is intact.
    assert counts["full_disk"]["full"] == 3
