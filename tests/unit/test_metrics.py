"""The direction of a metric by its name."""

from cases import each
from refusals import refused

from ssr_hydra.errors import MissingValueError, UnknownNameError
from ssr_hydra.metrics import direction_by_name, resolve_direction

# Each of these metrics is an error, a divergence or a negative likelihood, which is lower for better models.
LESS = """
eval/loss train/loss eval/bits_per_byte eval/bits_per_character bpb bpc eval/perplexity ppl val_ppl_2 eval/error err
err_rate wer cer eval/wer test/CER mse mae rmse eval/mse_loss val-loss valLoss eval/loss/total losses top1_error
eval/top_5_err negative_log_likelihood nll log_loss logloss mean_absolute_error cross_entropy CrossEntropy mape
brier_score MeanSquaredError eval/kl_divergence fid10k false_positive_rate eval/ece word-error-rate loss_2
""".split()
MORE = """
eval/accuracy acc acc1 acc@5 accuracy@1 eval/top1 eval/top5 top_1_accuracy eval/top-5 f1 f1_score macro_f1 auc roc_auc
eval/auroc bleu BLEU-4 sacrebleu/bleu rougeL r2 r2_score iou mIoU eval/mAP mAP50-95 precision recall@10 psnr
exact_match eval/m/MulticlassF1Score MulticlassAUROC R2Score
log_likelihood elbo score eval/accuracy/clean accuracy_ema balanced_accuracy eval/improvement true_positive_rate
""".split()
UNKNOWN = """
wer_accuracy loss_improvement accuracy_loss f1_loss r2_error eval/accuracy_error eval/x thing eval/flossy scorecard
maximum neg_rmse neg_mean_squared_error negative_loss one_minus_accuracy accuracy_drop loss_gap loss_reduction
not_accuracy lossless accurate mapping eval/ loss_gain inverse_error
1-accuracy -loss -eval/loss −val_loss 1/ppl
""".split()


@each(
    "metric,direction",
    [
        *((name, "min") for name in LESS),
        *((name, "max") for name in MORE),
        *((name, None) for name in (*UNKNOWN, "1 - accuracy", "")),
    ],
)
def test_direction_is_read_from_the_name(metric, direction):
    assert direction_by_name(metric) == direction


def test_mode_is_needed_only_for_an_unknown_name():
    for metric in ("eval/wer_accuracy", "eval/thing"):
        with refused("checkpoint.mode", MissingValueError) as caught:
            resolve_direction("auto", metric, "checkpoint.mode")
        assert str(caught.value) == (
            f"checkpoint.mode='auto': the name {metric} does not show whether higher is better; write max or min"
        )
        assert resolve_direction("min", metric, "checkpoint.mode") == "min"
    assert resolve_direction("max", "eval/loss", "mode") == "max"
    with refused("mode", UnknownNameError):
        resolve_direction("most", "eval/loss", "mode")
