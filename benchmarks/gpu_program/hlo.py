"""What is in a program that XLA has compiled for a GPU, read from its text."""

import collections
import itertools
import math
import re
from typing import NamedTuple

# No kernels of their own.
_FREE = {
    "parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all", "partition-id", "replica-id",
    "opt-barrier",
}  # fmt: skip
_BYTES = {
    "f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s8": 1,
    "u8": 1, "pred": 1,
}  # fmt: skip
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
_CONVOLUTION = re.compile(r'custom_call_target="__cudnn\$conv(\w+)"')
_KINDS = {
    "Forward": "forward", "BiasActivationForward": "forward", "BackwardInput": "backward input",
    "BackwardFilter": "backward filter",
}  # fmt: skip


class Instruction(NamedTuple):
    """**shape**: of the result, as XLA writes it; **rest**: of the line, operands and attributes."""

    name: str
    shape: str
    operation: str
    rest: str

    @property
    def source(self):
        """Where in the traced functions it comes from: "jit(…)/while/body/…/dot_general"; "" where that is unknown."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found.group(1) if found else ""

    @property
    def operands(self):
        return re.findall(r"%([\w.\-]+)", self.rest.split("), ")[0])

    @property
    def calls(self):
        """Names of the computations that it runs."""
        return re.findall(r"(?:to_apply|body|calls)=%?([\w.\-]+)", self.rest)

    @property
    def trip_count(self):
        """Of a loop, None where XLA does not know it."""
        found = re.search(r'known_trip_count":\{"n":"(\d+)"', self.rest)
        return int(found.group(1)) if found else None

    @property
    def convolution(self):
        """"forward", "backward input" or "backward filter" of cuDNN, with "grouped " before it; None for all else."""
        found = _CONVOLUTION.search(self.rest)
        if found is None:
            return None
        return ("grouped " if self.groups > 1 else "") + _KINDS[found.group(1)]

    @property
    def groups(self):
        return int((re.search(r"feature_group_count=(\d+)", self.rest) or [0, 1])[1])

    @property
    def is_product(self):
        """Whether it multiplies matrices, by a library or by Triton."""
        library = re.search(r'custom_call_target="__cublas', self.rest) is not None
        return library or "__triton_gemm" in self.rest or "__triton_nested_gemm" in self.rest or self.operation == "dot"


class Launch(NamedTuple):
    """**times**: that the kernel or library call is launched in one run of what was asked about."""

    instruction: Instruction
    times: int


class Program:
    """**Arguments:** `text`: of a compiled module. **Attributes:** `computations`: name → instructions."""

    def __init__(self, text):
        self.computations, name = {}, None
        for line in text.splitlines():
            if found := _COMPUTATION.match(line):
                name = found.group(2)
                self.computations[name] = []
                if found.group(1):
                    self._entry = name
            elif line.startswith("}"):
                name = None
            elif name is not None and (found := _INSTRUCTION.match(line)):
                self.computations[name].append(Instruction(*found.groups()))

    @property
    def entry(self):
        """The name of the computation that a call runs."""
        return self._entry

    @property
    def step(self):
        """The name of the one that is a step of training: the body of the loop with most launches."""
        loops = [instruction for instruction in self.computations[self._entry] if instruction.operation == "while"]
        return max((loop.calls[0] for loop in loops), key=lambda body: _sum(self.launches(body)))

    def launches(self, computation, times=1):
        """Every `Launch` of one run of a computation: loops as often as they turn, once where that is unknown."""
        found = []
        for instruction in self.computations[computation]:
            if instruction.operation in _FREE or instruction.operation.endswith("-done"):
                continue
            if instruction.operation == "while":
                found += self.launches(instruction.calls[0], times * (instruction.trip_count or 1))
            elif instruction.operation == "call":
                found += self.launches(instruction.calls[0], times)
            else:
                found.append(Launch(instruction, times))
        return found

    def loops(self):
        """Every loop of the program."""
        everything = itertools.chain.from_iterable(self.computations.values())
        return [instruction for instruction in everything if instruction.operation == "while"]

    def operand_shapes(self, instruction, computation):
        shapes = {other.name: other.shape for other in self.computations[computation]}
        return [shapes[name] for name in instruction.operands if name in shapes]

    def home(self, computation):
        """Of every launch's instruction the computation that it stands in, for what `computation` runs."""
        found = {}
        for instruction in self.computations[computation]:
            found[instruction.name] = computation
            if instruction.operation in ("while", "call"):
                found |= self.home(instruction.calls[0])
        return found


def _sum(launches):
    return sum(launch.times for launch in launches)


def part(instruction):
    """What a launch of a training step is for, in words."""
    source, name = instruction.source, instruction.name
    if instruction.convolution is not None:
        return "convolutions"
    if instruction.is_product or "gemm" in name:
        return "products"
    if instruction.operation in ("sort", "scatter"):
        return f"{instruction.operation}s"
    if instruction.operation == "copy" or name.startswith(("copy", "wrapped_transpose", "wrapped_copy", "transpose")):
        return "copies"
    if instruction.operation.startswith(("all-reduce", "all-gather", "collective", "reduce-scatter")):
        return "collectives"
    if re.search(r"norm(_\w+)?/", source):
        return "normalisation, sums" if "reduce" in name else "normalisation, pixel by pixel"
    if "random" in source or "threefry" in source or "shift_right_logical" in source:
        return "random numbers"
    if any(word in source for word in ("encoder", "decoder", "latent", "merge")):
        return "other layers"
    return "optimiser and others"


def report(text, *, steps=True):
    """What a step of a program launches, and what else a GPU or its host would suffer from.

    **Arguments:** `text`: of a compiled module; `steps`: whether it takes steps in a loop; else a call is one.
    **Returns:** {"launches": a step, "before": launches of a call outside of the loop over steps, "parts",
    "convolutions": kind → number, "products", "copies", "sorts", "scatters", "unknown_loops", "collectives",
    "host": calls that ask the host}.
    """
    program = Program(text)
    step = program.step if steps else program.entry
    launches = program.launches(step)
    parts, convolutions = collections.Counter(), collections.Counter()
    for instruction, times in launches:
        parts[part(instruction)] += times
        if instruction.convolution is not None:
            convolutions[instruction.convolution] += times
    operations = collections.Counter(
        instruction.operation for instructions in program.computations.values() for instruction in instructions
    )
    whole = _sum(program.launches(program.entry))
    trips = {loop.calls[0]: loop.trip_count or 1 for loop in program.loops()}
    return {
        "launches": _sum(launches),
        "before": whole - _sum(launches) * trips.get(step, 1),
        "parts": dict(parts.most_common()),
        "convolutions": dict(sorted(convolutions.items())),
        "products": parts["products"],
        "copies": parts["copies"],
        "sorts": operations["sort"],
        "scatters": operations["scatter"],
        "unknown_loops": sum(loop.trip_count is None for loop in program.loops()),
        "collectives": sum(operations[name] for name in operations if name.startswith(("all-", "reduce-scatter"))),
        "host": sum(
            operations[name] for name in ("infeed", "outfeed", "send", "recv")
        ) + len(re.findall(r'custom_call_target="[^"]*callback', text)),
    }


def arrays(shape):
    """The element type and the dimensions of every array in a shape."""
    found = re.findall(rf"\b({'|'.join(_BYTES)})\[([\d,]*)\]", shape)
    return [(kind, [int(size) for size in sizes.split(",") if size]) for kind, sizes in found]


def num_bytes(shape):
    return sum(_BYTES[kind] * math.prod(sizes) for kind, sizes in arrays(shape))
