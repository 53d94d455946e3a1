from ssr_hydra.app.evaluate import _comparable

F1 = "+trainer.metrics.f1={_target_: torchmetrics.F1Score, task: multiclass, num_classes: 10}"


def test_metric_with_changed_settings_is_not_compared_with_the_record(composed):
    recorded = dict.fromkeys(["eval/accuracy", "eval/f1", "eval/f1/macro", "eval/f1_micro", "eval/loss"], 0.5)
    comparable, messages = _comparable(recorded, composed(F1), composed(F1, "trainer.metrics.f1.num_classes=5"))
    assert list(comparable) == ["eval/accuracy", "eval/f1_micro", "eval/loss"]
    assert messages == ["not compared with the record, because trainer.metrics.f1.num_classes differs from the run"]
