"""Which direction of a metric is better, by its name. Needs neither torch nor Hydra."""

from __future__ import annotations

import re
from typing import Literal, get_args

from ssr_hydra.errors import InputError

__all__ = ["DIRECTIONS", "Direction", "direction_by_name", "mode_of", "resolve_direction"]

Direction = Literal["max", "min"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

# Regular expressions of whole words, the longer of two that begin alike first.
_WORDS = {
    "min": """
        loss logloss error err perplexity ppl bits_per_byte bits_per_char(?:acter)? bits_per_(?:dim|token|word) bpb bpc
        bpd nll neg(?:ative)?_log_likelihood cross_?entropy xent r?mse mae s?mape r?msle wer cer ter eer ece brier
        kl_divergence kl divergence fid lpips fpr fnr false_(?:positive|negative)_rate regret
        """,
    # These make a difference of another word, or turn it round: neg_rmse, accuracy_drop, 1 - accuracy.
    "turns": """
        neg(?:ative)? minus inv(?:erse)? not? non reduction decrease increase drop delta diff(?:erence)? gap change
        (?<=^_)1
        """,
    # These say something only where they are alone: top1_error, brier_score.
    "weak": r"top_?\d+ score",
    "max": r"""
        accuracy acc precision recall sensitivity specificity tpr tnr true_(?:positive|negative)_rate f\d
        au(?:c|roc|prc) r2 r_?squared explained_variance log_likelihood likelihood elbo map ap m?iou dice jaccard bleu
        chrf rouge meteor mcc kappa ndcg mrr psnr ssim exact_match reward return improvement gain
        """,
}
_GROUPS = "|".join(f"(?P<{kind}>{'|'.join(words.split())})" for kind, words in _WORDS.items())
_WORD = re.compile(rf"(?<=_)(?:{_GROUPS})(?:e?s)?(?:_?\d+k?)*(?=_)")  # losses, top_1, acc@5, mAP50-95


def direction_by_name(metric: str) -> Direction | None:
    """Return the better direction of a metric; None if its name has no known word, or words of both directions.

    The last part of the name between slashes decides that has a known word: ``eval/loss``, ``accuracy/clean``.

    Example:
        >>> [direction_by_name(name) for name in ("eval/bits_per_byte", "val-top1", "wer_accuracy", "eval/x")]
        ['min', 'max', None, None]
    """
    for part in reversed(metric.split("/")):
        split = re.sub(r"(?<=[a-z]{2})(?=[A-Z])", "_", part)  # valLoss, not mAP
        name = re.sub(r"[^a-z0-9]+", "_", f"_{split}_".lower())
        kinds = {match.lastgroup for match in _WORD.finditer(name)}
        if kinds:
            strong = kinds - {"weak"} or {"max"}
            return next((direction for direction in DIRECTIONS if strong == {direction}), None)
    return None


def resolve_direction(given: str | None, metric: str, field: str) -> Direction:
    """Return the given direction, or if that is None or ``auto`` the one by the metric's name.

    Args:
        given: ``max``, ``min``, ``auto`` or None.
        metric: The metric's name.
        field: The setting that gives the direction.

    Raises:
        InputError: The direction is unknown, or the metric's name does not say it.

    Example:
        >>> resolve_direction("auto", "eval/perplexity", "checkpoint.mode")
        'min'
    """
    if given not in (None, "auto", *DIRECTIONS):
        raise InputError(field, given, "must be max or min", "write max if more is better")
    found = next((item for item in DIRECTIONS if item == given), None) or direction_by_name(metric)
    if found is None:
        rule = f"nothing says whether more {metric} is better, or less"
        raise InputError(field, given, rule, "say max or min")
    return found


def mode_of(given: str, metric: str, field: str) -> Direction:
    """Return the mode of a scheduler that follows a metric, which must not contradict the metric's name.

    Args:
        given: ``max``, ``min`` or ``auto``.
        metric: The metric's name.
        field: The setting that gives the mode.

    Raises:
        InputError: As :func:`resolve_direction`; or ``given`` is the worse direction, as torch's default ``min`` is for
            an accuracy.
    """
    mode, better = resolve_direction(given, metric, field), direction_by_name(metric)
    if better not in (None, mode):
        rule = f"must be {better}, for {metric} is better the {'higher' if better == 'max' else 'lower'} it is"
        raise InputError(field, given, rule, f"write {better}, or auto")
    return mode
