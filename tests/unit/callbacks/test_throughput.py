from ssr_hydra.callbacks import Throughput


def record(batch, seconds, token=0, **values):
    return {"event": "train", "batch": batch, "sample": 16 * batch, "token": token, "train_seconds": seconds, **values}


def test_throughput_is_the_mean_between_two_records():
    throughput, first, second = Throughput(), record(10, 1.0), record(30, 1.5)
    throughput.log(None, first)
    assert first == record(10, 1.0)
    throughput.log(None, {"event": "eval", "batch": 20})  # is not part of the rate
    throughput.log(None, second)
    assert second == record(30, 1.5, **{"throughput/samples_per_second": 640.0, "throughput/batches_per_second": 40.0})


def test_token_rate_is_added_if_the_data_has_tokens():
    throughput, second = Throughput(), record(2, 3.0, token=2**40 + 100)
    throughput.log(None, record(1, 1.0, token=2**40))
    throughput.log(None, second)
    assert second["throughput/tokens_per_second"] == 50.0


def test_zero_time_gives_no_rate():
    throughput, second = Throughput(), record(20, 1.0)
    throughput.log(None, record(10, 1.0))
    throughput.log(None, second)
    assert second == record(20, 1.0)
