import numpy as np
import pytest
from refusals import refused

from ssr_hydra.data.splits import hold_out
from ssr_hydra.errors import RangeError


def test_split_is_stratified_and_the_total_is_exact():
    labels = np.repeat([0, 1, 2], [10, 15, 26])
    held_out = hold_out(labels, 0.3, seed=0)
    # 30% of the classes are 3, 4.5 and 7.8 samples; 30% of all 51 samples are 15.3, so 15. Only the 7.8 is rounded up.
    assert held_out.sum() == 15
    assert np.bincount(labels[held_out]).tolist() == [3, 4, 8]


def test_the_split_is_a_function_of_the_seed():
    labels = np.zeros(100)
    assert (hold_out(labels, 0.5, 1) == hold_out(labels, 0.5, 1)).all()
    agreement = (hold_out(labels, 0.5, 1) == hold_out(labels, 0.5, 2)).mean()
    assert 0.3 < agreement < 0.7  # 0.5 expected, standard deviation 0.05


@pytest.mark.parametrize("fraction", [0, 1, float("nan"), "0.5", 0.01, 0.99])
def test_fraction_that_leaves_a_split_empty_is_refused(fraction):
    with refused("eval_fraction"):
        hold_out(np.zeros(10), fraction, 0)


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_fix_for_an_empty_split_works(count):
    with refused("eval_fraction", RangeError, "at least two samples" if count == 1 else "write 0.5"):
        hold_out(np.zeros(count), 0.01, 0)
    if count > 1:
        assert 0 < hold_out(np.zeros(count), 0.5, 0).sum() < count
