"""Numbers as text: digits, signs and units."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtvae_jax.study.report import formats

THIN, HARD = "\u202f", "\u00a0"


@pytest.mark.parametrize(("value", "text"), [
    (0.0132471, "0.0132"), (-4.2, "−4.20"), (17.8517, "17.9"), (826_561.0, "826,561"), (9.999, "10.0"), (0, "0"),
    (3.2e-7, "3.20 × 10⁻⁷"), (None, "–"), (math.nan, "–"), (math.inf, "∞"), (-math.inf, "−∞"),
])
def test_numbers_have_three_significant_digits(value, text):
    assert formats.number(value) == text


@pytest.mark.parametrize(("values", "unit", "text"), [
    ((-4.234, -5.119, -3.349), "%", f"−4.23{THIN}% [−5.12,{HARD}−3.35]"),
    ((-4.234, -12.119, 3.651), "%", f"−4.2{THIN}% [−12.1,{HARD}+3.7]"),
    ((120.0, -400.0, 640.0), "nats", f"+120{THIN}nats [−400,{HARD}+640]"),
    ((-0.001, -0.3, 0.3), "", f"0.00 [−0.30,{HARD}+0.30]"),
    ((-5.0, None, None), "%", f"−5.00{THIN}%"),
    ((None, None, None), "%", "–"),
])
def test_an_effect_has_two_digits_of_the_half_width_of_its_interval(values, unit, text):
    assert formats.effect(*values, unit) == text


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e3))
def test_an_effect_is_right_to_a_twentieth_of_its_half_width_or_to_four_digits(middle, half):
    text = formats.effect(middle, middle - half, middle + half, "").replace("−", "-").replace(",", "")
    said = [float(word.strip("[]+")) for word in text.replace(HARD, " ").split()]
    for number, true in zip(said, (middle, middle - half, middle + half), strict=True):
        assert abs(number - true) <= max(0.05 * half, 0.005 * (abs(middle) + half)) + 1e-9


@pytest.mark.parametrize(("values", "text"), [
    ((0.01324, 0.01284, 0.01364), "0.01324 ± 0.00040"), ((17.0, None, None), "17.0"), ((5.0, 5.0, 5.0), "5.00"),
    ((None, None, None), "–"),
])
def test_a_level_has_its_half_width(values, text):
    assert formats.mean(*values) == text


@pytest.mark.parametrize(("hours", "text"), [
    (0.01, f"36{THIN}s"), (0.2, f"12{THIN}min"), (3.4567, f"3{THIN}h 27{THIN}min"), (2, f"2{THIN}h"),
    (1234.5, f"1,234{THIN}h"),
])
def test_durations(hours, text):
    assert formats.duration(hours) == text


def test_lists():
    assert [formats.listed("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
