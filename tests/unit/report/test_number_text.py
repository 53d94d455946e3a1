"""Numbers as text for people; expected texts are written by hand."""

import math

import pytest

from ssr_hydra.report.number_text import decimals_for, duration, exact, fixed, interval, number, signed

NAN, INF = math.nan, math.inf
DASH = "\N{EN DASH}"


@pytest.mark.parametrize(
    ("formatted", "text"),
    [
        (number(9999.4), "9999"),
        (number(12345.6), "12,346"),
        (number(NAN), DASH),
        (number(-2e-7), "-2e-07"),
        (exact(0.1 + 0.2), "0.30000000000000004"),  # all digits, so that the text reads back as the same float
        (exact(INF), ""),
        (fixed(-0.0004, 3), "0.000"),  # no negative zero
        (fixed(1234.5, 1), "1,234.5"),
        (signed(0.0, 2), "+0.00"),
        (signed(-1.5, 1), "-1.5"),
        (signed(NAN, 1), DASH),
        (interval(0.5, INF, 2), "[0.50, ∞]"),
        (interval(NAN, 1.0, 2), DASH),
        (duration(119.9), "120 s"),
        (duration(24588), "6.83 h"),  # 24588 / 3600
        (duration(5 * 86400), "5 d"),
        (duration(NAN), DASH),
    ],
)
def test_numbers_are_formatted_as_text(formatted, text):
    assert formatted == text


def test_decimals_show_two_digits_of_the_spread_or_four_digits_of_the_values():
    assert decimals_for([0.9], [0.0042]) == 4  # 0.0042 has its second digit in the fourth place
    assert decimals_for([77.0], [0.35, NAN, 0.0]) == 2
    assert decimals_for([1e6], [250.0]) == 0
    assert fixed(4.0012e-08, decimals_for([4e-08], [3e-10])) == "4.001e-08"
    assert decimals_for([0.5], [3e-12]) == 9
    assert decimals_for([0.9], [NAN]) == 4
    assert decimals_for([], []) == 4
