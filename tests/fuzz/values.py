"""What a person, a script or a broken file may put where something else belongs, and how every test here asks.

The suite tries the same hundred examples every time. Thousands of others, new ones every time:

    python -m pytest tests/fuzz -m fuzz_long
"""

import math
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from mtvae_jax.errors import UserError
from mtvae_jax.settings import field_names

INTEGERS = (0, 1, 2, 3, 7, -1, -(2**63), 2**31 - 1, 2**31, 2**32, 2**63, 10**30)
FLOATS = (0.0, -0.0, 0.5, 1.0, 2.0, 2.5, -1.0, 1 - 1e-12, 1e-45, 5e-324, 1e30, 1e300, math.nan, math.inf, -math.inf)
TEXTS = (
    "", " ", "0", "1", "0.5", "True", "true", "None", "null", "nan", "1,2", "(8, 16)", "ünï☃", "two\nlines", "\0",
    "\x1b[31m", "../..", "~nobody/x", "npz:", "npz:\0", "npz:~nobody/x", "%s{}", "x" * 5000, "\ud800", "\u202e",
)
OTHERS = (
    None, True, False, (), [], (0,), (1, 2), [8, 16], (1.5,), ("8",), (None,), (True,), ((8,),), (math.nan,), (1,) * 99,
    {}, {"a": 1}, {"epochs": 1}, set(), b"x", 1j, ..., int, len, np.int64(3), np.int8(-1), np.float32(0.5),
    np.bool_(True), np.float64("nan"), np.str_("vq"), np.array(3), np.array([1, 2]), np.zeros((0, 3)), range(3), b"vq",
    ConfigDict(),
)  # fmt: skip

# What `resolve` works out, or knows better for a model that has no such thing.
RESOLVED = ("conditioning.num_pixels", "loss.beta", "loss.variance", "prior.epochs", "prior.unconditional")

anything = st.one_of(
    st.sampled_from(INTEGERS),
    st.sampled_from(FLOATS),
    st.sampled_from(TEXTS),
    st.sampled_from(OTHERS),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.one_of(st.integers(-2, 300), st.floats(), st.none(), st.text(max_size=3)), max_size=5).map(tuple),
)


def near(value, text=""):
    """Values like `value`, and those in quotes that a message `text` names: some right, some nearly so."""
    words = re.findall("'(.*?)'", text)
    found = [value, [value], (value, value), str(value), {"value": value}, *words]
    found += [misspelt for word in words for misspelt in (word.upper(), word[:-1], f" {word}", word + word)]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found += [value + 1, value - 1, -value, value * 2, value / 2, value // 2, float(value), int(value)]
    if isinstance(value, (tuple, list)):
        found += [list(value), (*value, *value), value[:1], value[:-1], (*value, 0), tuple(map(str, value))]
    return st.sampled_from(found)


def small(value):
    """Small numbers: likely to be accepted, so that what comes after a check is tried too."""
    if isinstance(value, (tuple, list)):
        return st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)
    return st.one_of(st.integers(0, 9), st.floats(0, 1.5), st.sampled_from((None, True, False)))


def edits(tree, text=lambda name: "", *, most=4):
    """Changes of a config, {"section.field": value, …}: of every field that the tree has, and now and then of a whole
    section or of a field that it has not.

    **Arguments:** `tree`: a `ConfigDict`; `text`: name → the message that says what a field may be; `most`: at once.
    """
    fields = field_names(tree)
    sections = sorted({name.rpartition(".")[0] for name in fields} - {""})

    def value_for(name):
        value = tree
        for part in name.split("."):
            value = value[part]
        return st.one_of(near(value, text(name)), near(value, text(name)), small(value), anything)

    edit = st.one_of(
        *[st.tuples(st.just(name), value_for(name)) for name in fields],
        st.tuples(st.sampled_from(sections), anything),
        st.tuples(
            st.builds("{}{}".format, st.sampled_from([*sections, *fields]), st.sampled_from((".x", "x", ".epochs"))),
            anything,
        ),
    )
    return st.lists(edit, min_size=1, max_size=most).map(dict)


def value_of(config, name):
    for part in name.split("."):
        config = config[part]
    return config


def type_of(config, name):
    """Of a field that may be None too."""
    section, _, field = name.rpartition(".")
    return (value_of(config, section) if section else config).get_type(field)


def put(tree, edits):
    """Sets fields of a `ConfigDict` whatever their type, as a config file of a user's own may."""
    with tree.unlocked(), tree.ignore_type():
        for name, value in edits.items():
            *path, field = name.split(".")
            target = tree
            for part in path:
                if not isinstance(target.get(part), ConfigDict):
                    target[part] = ConfigDict()
                target = target[part]
            target[field] = value
    return tree


def refused(call):
    """Calls. **Returns:** what it returns, and the message of the `UserError` that it raised instead, one of them None;
    the message is one line that can be read.
    """
    try:
        return call(), None
    except UserError as error:
        message = str(error)
    assert message
    assert message.isprintable(), message
    return None, message


def in_two_lengths(check, *, short, long, **strategies):
    """Two tests of a property: the same few examples every time, and with the marker `fuzz_long` many random ones."""
    quietly = {
        "deadline": None,
        "database": None,
        "suppress_health_check": list(HealthCheck),
        "print_blob": False,
    }
    brief = settings(max_examples=short, derandomize=True, **quietly)(given(**strategies)(check))
    thorough = settings(max_examples=long, **quietly)(given(**strategies)(check))
    return brief, pytest.mark.fuzz_long(thorough)
