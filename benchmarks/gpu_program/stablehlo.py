"""What a program asks of XLA before it is compiled, and what of that a GPU would suffer from."""

import collections
import re

_OPERATIONS = ("convolution", "dot_general", "sort", "scatter", "gather", "while", "custom_call", "reduce")
_CONVOLUTION = re.compile(
    r"stablehlo\.convolution\(.*?dim_numbers = (.*?), window = \{(.*?)\} \{(.*?)\} : \(.*?\) -> (\S+)"
)
# "stablehlo.scatter"(…) <{…, unique_indices = false}> ({ …: what is done to an element and its update }) : … -> type
_SCATTER = re.compile(r'"stablehlo\.scatter".*?unique_indices = (\w+).*?\(\{(.*?)\}\) : .*? -> (\S+)', re.DOTALL)
# cond { a constant, a comparison with it: the loop's length is known }
_CONDITION = re.compile(r"cond \{(.*?)\} do \{", re.DOTALL)
_IN_ANY_ORDER = ("stablehlo.or", "stablehlo.and", "stablehlo.maximum", "stablehlo.minimum")


def report(text):
    """**Returns:** {"operations": name → number; "faults": sentences, none where all is well}."""
    operations = collections.Counter(re.findall(rf"stablehlo\.({'|'.join(_OPERATIONS)})\b", text))
    return {"operations": dict(operations), "faults": faults(text)}


def faults(text):
    """Sentences about what a GPU runs badly."""
    found = []
    for labels, window, attributes, result in _CONVOLUTION.findall(text):
        groups = int(re.search(r"feature_group_count = (\d+)", attributes).group(1))
        # cuDNN has the gradient of a kernel as a function of its own. XLA knows it by the labels of its operands, and
        # only where the left one is not dilated.
        if groups > 1:
            found.append(f"a convolution of {groups} groups, of which cuDNN has no gradients: {result}")
        elif labels.startswith("[f, ") and re.search(r"lhs_dilate = \[(?!1, 1\])", window):
            found.append(f"the gradient of a kernel that is no backward filter of cuDNN's: {result}")
    for condition in _CONDITION.findall(text):
        constants = re.findall(r"(%\w+) = stablehlo\.constant", condition)
        compared = re.search(r"stablehlo\.compare \w+, %\w+, (%\w+)", condition)
        if compared is None or compared.group(1) not in constants:
            found.append("a loop of unknown length, which asks the host at every turn")
    for unique, update, result in _SCATTER.findall(text):
        if unique == "false" and not any(operation in update for operation in _IN_ANY_ORDER):
            found.append(f"updates of one place, in the order in which they happen to come: {result}")
    found += [f"a call of the host: {name}" for name in re.findall(r"custom_call @(\w*callback\w*)", text)]
    return found
