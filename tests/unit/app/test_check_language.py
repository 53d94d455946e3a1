from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig

from ssr_hydra.app.check import check
from ssr_hydra.errors import InputError

EXPERIMENTS = ["byte_lm", "byte_lm_transformer", "byte_lm_ragged"]


def refusal(cfg: Any) -> InputError:
    with pytest.raises(InputError) as info:
        check(cfg)
    assert "\n" not in str(info.value)
    return info.value


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("ssr", [0.125, 1, 2])
def test_the_experiments_are_good(composed: Callable[..., DictConfig], name: str, ssr: float) -> None:
    values = check(composed(f"experiment={name}", f"ssr={ssr}"))
    assert values["max_duration"].endswith("tok")
    assert values["trainer"]["objective"] == "eval/bits_per_byte"
    # Both splits are cut the same way, wherever that is said.
    values = check(composed(f"experiment={name}", "data.train.split_seed=3", "data.train.eval_fraction=0.2"))
    assert values["data"]["eval"]["split_seed"] == 3
    assert values["data"]["eval"]["eval_fraction"] == 0.2


@pytest.mark.parametrize(
    ("field", "setting"),
    [
        ("max_duration", "max_duration=1000tok"),
        ("trainer.eval_interval", "trainer.eval_interval=100tok"),
        ("trainer.log_interval", "trainer.log_interval=100tok"),
        ("trainer.iteration_length", "trainer.iteration_length=100tok"),
        ("checkpoint.interval", "checkpoint.interval=100tok"),
    ],
)
def test_tokens_are_not_counted_where_there_are_none(
    composed: Callable[..., DictConfig], field: str, setting: str
) -> None:
    error = refusal(composed(setting, "trainer.tokens_per_batch=8"))  # a rate is no token
    assert (error.field, error.value) == (field, setting.partition("=")[2])
    assert "tokens" in error.rule
    # What counts them is the person's, and so is what it finds.
    check(composed(setting, "+trainer.get_num_tokens_in_batch={_target_: torch.nn.Identity}"))
    check(composed("experiment=byte_lm", setting))


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (("experiment=byte_lm", "model=conv"), "model._target_"),
        (("model=byte_mlp",), "model._target_"),
        (("data=stdlib_bytes", "model=byte_mlp"), "trainer.loss._target_"),
        (
            ("experiment=byte_lm", "+trainer.metrics.accuracy={_target_: ssr_hydra.trainer.accuracy}"),
            "trainer.metrics.accuracy._target_",
        ),
        (("trainer=language",), "trainer.loss._target_"),
        (("experiment=byte_lm", "model.vocab_size=128"), "model.vocab_size"),
        (("experiment=byte_lm", "data.train.length=0"), "data.train.length"),
        (("experiment=byte_lm", "data.eval.limit=0"), "data.eval.limit"),
        (("experiment=byte_lm", "data.train.eval_fraction=1"), "data.train.eval_fraction"),
        (("experiment=byte_lm", "data.train.split=test"), "data.train.split"),
        (("experiment=byte_lm", "data.train.split_seed=-1"), "data.train.split_seed"),
        (("experiment=byte_lm_ragged", "data.train.max_length=1"), "data.train.max_length"),
        (("experiment=byte_lm_ragged", "+data.train.length=1"), "data.train.length"),
    ],
)
def test_text_and_images_do_not_mix(
    composed: Callable[..., DictConfig], overrides: tuple[str, ...], field: str
) -> None:
    try:
        cfg = composed(*overrides)
    except InputError as error:  # what a structured config knows it refuses itself
        assert error.field == field
        return
    assert refusal(cfg).field == field


def test_the_app_refuses_before_there_is_a_folder(refused: Callable[..., str]) -> None:
    line = refused("max_duration=1000tok")
    assert line.startswith("error: max_duration='1000tok': ")
    assert "get_num_tokens_in_batch" in line
