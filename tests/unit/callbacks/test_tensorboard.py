import json
import math

import pytest
from callback_helpers import StubTrainer, log_records, result, scalars_of_tensorboard, train

from ssr_hydra.callbacks import TensorBoardLogger

pytest.importorskip("tensorboard")


def write(folder, *records, **options):
    log_records(TensorBoardLogger(), folder, *records, **options)


def test_every_number_is_a_scalar_at_its_batch(tmp_path):
    evaluation = {"event": "eval", "batch": 20, "eval/accuracy": 0.5, "eval/loss": math.nan}
    write(tmp_path, train(10, weight_decay=0.25), train(20, lrs=[0.5, 0.125]), evaluation)
    scalars = scalars_of_tensorboard(tmp_path / "tensorboard")
    # TensorBoard keeps float32.
    assert scalars.pop("train/loss") == [(10, pytest.approx(0.1)), (20, pytest.approx(0.05))]
    assert scalars.pop("lr") == [(10, pytest.approx(0.1)), (20, pytest.approx(0.1))]
    assert scalars.pop("eval/loss") == [(20, pytest.approx(math.nan, nan_ok=True))]
    assert scalars.pop("eval/accuracy") == [(20, 0.5)]
    assert scalars == {"weight_decay": [(10, 0.25)], "lr/0": [(20, 0.5)], "lr/1": [(20, 0.125)]}


def test_steps_that_a_resumed_run_repeats_are_read_once(tmp_path):
    write(tmp_path, train(10), train(20), train(30, gone=1.0))
    write(tmp_path, train(20), train(30), batch=10)
    scalars = scalars_of_tensorboard(tmp_path / "tensorboard")
    assert [step for step, _ in scalars["train/loss"]] == [10, 20, 30]
    assert scalars.get("gone", []) == []
    write(tmp_path, train(10))  # the run starts again
    assert [step for step, _ in scalars_of_tensorboard(tmp_path / "tensorboard")["train/loss"]] == [10]


def test_a_record_can_be_read_before_the_run_ends(tmp_path):
    logger, trainer = TensorBoardLogger(), StubTrainer(tmp_path)
    logger.fit_start(trainer)
    logger.log(trainer, train(10))
    assert [step for step, _ in scalars_of_tensorboard(tmp_path / "tensorboard")["train/loss"]] == [10]
    logger.close()


def test_config_and_final_metrics_are_shown_together(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    config = {"ssr": 0.5, "optimizer": {"lr": 0.1, "nesterov": True}, "data": {"eval": None}, "note": "</script>```"}
    write(tmp_path, train(10), ends=result(**{"eval/accuracy": 0.75, "eval/loss": None}), config=config)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (text,) = events.Tensors("config/text_summary")
    lines = text.tensor_proto.string_val[0].decode().splitlines()
    assert json.loads("".join(lines)) == config
    assert all(line.startswith("    ") for line in lines)  # Markdown shows the text unchanged
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    numbers = {name for name, value in values.items() if value.WhichOneof("kind") == "number_value"}
    assert numbers == {"ssr", "optimizer.lr", "optimizer.nesterov"}  # torch stores a bool as an int
    assert values.keys() - numbers == {"data.eval", "note", "status"}
    assert (values["ssr"].number_value, values["data.eval"].string_value) == (0.5, "null")
    assert scalars_of_tensorboard(tmp_path / "tensorboard")["final/eval/accuracy"] == [(20, 0.75)]


def test_logger_can_be_closed_if_the_run_never_started(tmp_path):
    logger = TensorBoardLogger()
    logger.fit_end(StubTrainer(tmp_path), result("failed"))
    logger.close()
    assert list(tmp_path.iterdir()) == []
