from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Refused = Callable[..., str]

SAID = {
    "checkpoint.enabled=false checkpoint.best=eval/accuracy": "set checkpoint.enabled=true, or checkpoint.best=null",
    "checkpoint.best=eval/wer_accuracy +trainer.metrics.wer_accuracy._target_=ssr_hydra.trainer.accuracy": (
        "checkpoint.mode='auto': the name eval/wer_accuracy does not say whether more is better; write max or min"
    ),
    "checkpoint.mode=maxx": "did you mean max?",
    "resume.on_change=extand": "did you mean extend?",
    "resume=": "resume.path='': must be auto, never or a path; write resume=auto",
    "hydra.run.dir=": "leave hydra.run.dir out, or name a folder",
    "trainer.precision=fp8": "must be one of fp32, bf16, fp16",
}


@pytest.mark.parametrize("typed", SAID)
def test_an_invalid_value_is_refused_with_a_valid_one(refused: Refused, in_tmp: Path, typed: str) -> None:
    assert SAID[typed] in refused(*typed.split(" "))
