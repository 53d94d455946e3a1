import math
from types import SimpleNamespace

import pytest
import torch
from refusals import refused

from ssr_hydra.models import bits_per_byte, next_token_loss

LOGITS = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0], [math.log(7), 0.0]]])  # p(1) = 3/4, 1/2, 1/8


def test_targets_of_a_pair_are_not_shifted():
    targets = torch.tensor([[1, 0, 1]])
    torch.testing.assert_close(bits_per_byte(LOGITS, targets), torch.tensor([math.log2(4 / 3), 1.0, 3.0]))
    expected = math.log(2) * (math.log2(4 / 3) + 1 + 3) / 3
    assert float(next_token_loss(LOGITS, targets)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("wrap", [dict, lambda **parts: SimpleNamespace(**parts)])
def test_labels_of_a_mapping_are_shifted(wrap):
    batch = {"labels": torch.tensor([[0, 1, 0]])}  # no logits predict the first label; the last logits predict no label
    torch.testing.assert_close(bits_per_byte(wrap(logits=LOGITS), batch), torch.tensor([math.log2(4 / 3), 1.0]))
    assert float(next_token_loss(wrap(logits=LOGITS), batch)) == pytest.approx(math.log(2) * 1.4150375 / 2, rel=1e-6)


def test_ignored_tokens_do_not_change_the_loss_and_the_metric():
    targets = torch.tensor([[1, -100, 1]])
    assert len(bits_per_byte(LOGITS, targets)) == 2
    expected = math.log(2) * (math.log2(4 / 3) + 3) / 2
    assert float(next_token_loss(LOGITS, targets)) == pytest.approx(expected, rel=1e-6)


def test_a_loss_that_the_model_has_computed_is_not_computed_again():
    own = torch.tensor(7.0)
    assert next_token_loss({"loss": own, "logits": LOGITS}, {"labels": torch.tensor([[0, 1, 0]])}) is own
    # If the batch is a pair, its targets are a tensor. Then the loss is computed from them, and the model's own loss is
    # not used.
    assert next_token_loss({"loss": own, "logits": LOGITS}, torch.tensor([[1, 0, 1]])) is not own


def test_loss_of_half_precision_logits_is_computed_in_float32():
    assert bits_per_byte(LOGITS.bfloat16(), torch.tensor([[1, 0, 1]])).dtype == torch.float32


@pytest.mark.parametrize(
    ("outputs", "targets", "field"),
    [
        (LOGITS.transpose(1, 2), torch.tensor([[1, 0, 1]]), "outputs"),
        (LOGITS[0], torch.tensor([1, 0, 1]), "outputs"),
        ({"logits": LOGITS}, {"input_ids": torch.tensor([[1, 0, 1]])}, "targets"),
        ({"scores": LOGITS}, {"labels": torch.tensor([[1, 0, 1]])}, "outputs"),
        (LOGITS, torch.tensor([[1, 0]]), "outputs"),
    ],
)
def test_input_of_the_wrong_shape_gives_an_error_that_names_the_input(outputs, targets, field):
    for function in (next_token_loss, bits_per_byte):
        with refused(field):
            function(outputs, targets)
