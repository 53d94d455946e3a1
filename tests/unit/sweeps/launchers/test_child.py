"""The process of a job, tested in this process: how it returns results and errors."""

import pickle

from hydra.core.utils import JobReturn, JobStatus
from process_launcher_app import OddError

from ssr_hydra.errors import RangeError, RunError
from ssr_hydra.sweeps.launchers.child import JobTraceback, _packed


def packed(status, value, **settings):
    answer = _packed(JobReturn(overrides=["n=1"], status=status, _return_value=value, **settings))
    assert answer.returned is not None
    returned = pickle.loads(answer.returned)
    assert list(returned.overrides or ()) == ["n=1"]
    return returned, answer.trace


def failed(error):
    try:
        raise error
    except Exception as raised:
        return packed(JobStatus.FAILED, raised)


def test_returned_value_is_received():
    returned, trace = packed(JobStatus.COMPLETED, 0.5)
    assert (returned.status, returned.return_value, trace) == (JobStatus.COMPLETED, 0.5, "")


def test_error_is_received_with_its_traceback():
    returned, trace = failed(ValueError("odd"))
    assert isinstance(returned._return_value, ValueError)
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("ValueError: odd\n")
    assert str(JobTraceback(trace)) == f"\n{trace}"


def test_input_error_is_received_without_its_traceback():
    error = RangeError("ssr", -1, "must be positive", "try 1")
    returned, trace = failed(error)
    assert type(returned._return_value) is type(error)
    assert (str(returned._return_value), trace) == (str(error), "")


def test_error_that_cannot_be_unpickled_is_reported():
    returned, trace = failed(OddError("this", "that"))
    assert isinstance(returned._return_value, RunError)
    assert str(returned._return_value) == "OddError: this and that"
    assert "OddError" in trace


def test_job_whose_result_cannot_be_sent_fails():
    returned, _ = packed(JobStatus.COMPLETED, lambda: None)
    assert returned.status is JobStatus.FAILED
    assert "its result, a function, cannot be sent" in str(returned._return_value)


def test_config_that_cannot_be_sent_is_left_out():
    returned, _ = packed(JobStatus.COMPLETED, 1, cfg=lambda: None)
    assert (returned.cfg, returned.status) == (None, JobStatus.FAILED)
