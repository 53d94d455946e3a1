"""Decide from a metric's name whether higher or lower is better. This module imports neither torch nor Hydra."""

from __future__ import annotations

import re
from typing import Literal, get_args

from ssr_hydra.errors import ConflictError, MissingValueError, UnknownNameError

Direction = Literal["max", "min"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

# Regular expressions of whole words. The longer word comes first if two words begin with the same letters.
_WORDS = {
    "min": """
        loss logloss error err perplexity ppl bits_per_byte bits_per_char(?:acter)? bits_per_(?:dim|token|word) bpb bpc
        bpd nll neg(?:ative)?_log_likelihood cross_?entropy xent r?mse mae s?mape r?msle wer cer ter eer ece brier
        kl_divergence kl divergence fid lpips fpr fnr false_(?:positive|negative)_rate regret
        """,
    # Words that make a metric a difference or reverse its direction: neg_rmse, accuracy_drop, 1 - accuracy.
    "turns": """
        neg(?:ative)? minus inv(?:erse)? not? non reduction decrease increase drop delta diff(?:erence)? gap change
        (?<=^_)1
        """,
    # Words that mean "higher is better" only if the name has no stronger word. In top1_error, "error" is stronger.
    "weak": r"top_?\d+ score",
    "max": r"""
        accuracy acc precision recall sensitivity specificity tpr tnr true_(?:positive|negative)_rate f\d
        au(?:c|roc|prc) r2 r_?squared explained_variance log_likelihood likelihood elbo map ap m?iou dice jaccard bleu
        chrf rouge meteor mcc kappa ndcg mrr psnr ssim exact_match reward return improvement gain
        """,
}
_GROUPS = "|".join(f"(?P<{kind}>{'|'.join(words.split())})" for kind, words in _WORDS.items())
_WORD = re.compile(rf"(?<=_)(?:{_GROUPS})(?:e?s)?(?:_?\d+k?)*(?=_)")  # this matches losses, top_1, acc@5, mAP50-95

_REVERSED = re.compile(r"\s*(?:[-\N{MINUS SIGN}]|1\s*/)")  # this matches -loss and 1/loss


def direction_by_name(metric: str) -> Direction | None:
    """Return ``max`` if the name of a metric shows that higher is better, and ``min`` if lower is better.

    Slashes separate the parts of a name. The last part with a known word decides: ``loss`` in ``eval/loss``, and
    ``accuracy`` in ``accuracy/clean``. Return None if no part has a known word, or if the deciding part has words of
    both directions, or a word that reverses the direction, such as ``neg`` or ``drop``. Also return None if the name
    begins with a minus sign or ``1/``.

    Example:
        >>> [direction_by_name(name) for name in ("eval/bits_per_byte", "val-top1", "wer_accuracy", "eval/x")]
        ['min', 'max', None, None]
    """
    if _REVERSED.match(metric):
        return None
    for part in reversed(metric.split("/")):
        split = re.sub(r"(?<=[a-z]{2})(?=[A-Z])|(?<=\d)(?=[A-Z][a-z])", "_", part)  # split valLoss, but not mAP
        name = re.sub(r"[^a-z0-9]+", "_", f"_{split}_".lower())
        kinds = {match.lastgroup for match in _WORD.finditer(name)}
        if kinds:
            strong = kinds - {"weak"} or {"max"}
            return next((direction for direction in DIRECTIONS if strong == {direction}), None)
    return None


def resolve_direction(choice: str | None, metric: str, field: str) -> Direction:
    """Return ``choice``, or the result of :func:`direction_by_name` if ``choice`` is None or ``auto``.

    Raises:
        InputError: ``choice`` is unknown; or it is None or ``auto``, and the metric's name does not show the direction.

    Example:
        >>> resolve_direction("auto", "eval/perplexity", "checkpoint.mode")
        'min'
    """
    if choice not in (None, "auto", *DIRECTIONS):
        raise UnknownNameError(field, choice, "must be max or min", "write max if higher is better")
    direction = next((item for item in DIRECTIONS if item == choice), None) or direction_by_name(metric)
    if direction is None:
        rule = f"the name {metric} does not show whether higher is better"
        raise MissingValueError(field, choice, rule, "write max or min")
    return direction


def mode_of(choice: str, metric: str, field: str) -> Direction:
    """Return the ``mode`` of a scheduler that reads a metric, ``max`` or ``min``.

    Raise an InputError if ``choice`` contradicts the metric's name, such as ``min`` for an accuracy.
    """
    mode, better = resolve_direction(choice, metric, field), direction_by_name(metric)
    if better not in (None, mode):
        rule = f"must be {better}, because a {'higher' if better == 'max' else 'lower'} {metric} is better"
        raise ConflictError(field, choice, rule, f"write {better}, or auto")
    return mode
