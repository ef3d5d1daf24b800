"""How long a compiled step would take, on paper: of no card has any of this been measured.

Counted is the work of every launch: its bytes at the memory's speed, and of a convolution its product of M × N × K in
tiles, one to a multiprocessor. What a convolution's plan really is, cuDNN decides on the card.
"""

import math
import re
from typing import NamedTuple

from benchmarks.gpu_program.hlo import arrays, num_bytes


class Card(NamedTuple):
    """**memory**: bytes a second that kernels reach; **cores**: multiprocessors; **turn**: seconds of one
    multiprocessor for a tile of 128 × 64 and 32 of K, float32 as TF32."""

    memory: float
    cores: int
    turn: float


CARDS = {"h100": Card(2.5e12, 132, 0.3e-6), "a100": Card(1.5e12, 108, 0.4e-6)}

LEAST = 2e-6  # seconds of any kernel
BETWEEN = 1e-6  # seconds between two kernels where nobody waits for the host
ROUND_TRIP = 15e-6  # seconds to ask the device whether to go on

ASSUMPTIONS = (
    f"no kernel under {LEAST * 1e6:.0f} µs, {BETWEEN * 1e6:.0f} µs between kernels, {ROUND_TRIP * 1e6:.0f} µs for a "
    "round trip to the host; memory at 75 % of its data sheet; a convolution is a product in tiles of 128 × 64, one a "
    "multiprocessor at a time, its K not split but in backward filters"
)


def seconds(program, computation, card):
    """Of one run of a computation of an `hlo.Program`, on a `Card`."""
    home, busy = program.home(computation), 0.0
    for instruction, times in program.launches(computation):
        shapes = program.operand_shapes(instruction, home[instruction.name])
        busy += times * (_one(instruction, shapes, card) + BETWEEN)
    return busy + ROUND_TRIP * sum(loop.trip_count is None for loop in program.loops())


def _one(instruction, operands, card):
    out = num_bytes(instruction.shape)
    if instruction.convolution is not None and len(operands) >= 2:
        traffic = (out + sum(map(num_bytes, operands))) / card.memory
        return max(LEAST, traffic, _convolution(instruction, operands, card))
    # A fusion reads no more of an operand than it needs: of the data set a few rows.
    most = math.inf if "reduce" in instruction.name else max(8 * out, 4096)
    read = sum(min(num_bytes(shape), most) for shape in operands)
    return max(LEAST, (out + read) / card.memory)


def _convolution(instruction, operands, card):
    """Images NHWC, kernels OHWI."""
    kind, out = arrays(instruction.shape)[0]
    _, second = arrays(operands[1])[0]
    of_filter = "backward filter" in instruction.convolution
    if of_filter:
        m, n, k = out[0], math.prod(out[1:]), math.prod(second[:3])
    elif "backward input" in instruction.convolution:
        strides = re.search(r"stride=(\d+)x(\d+)", instruction.rest)
        stride = math.prod(map(int, strides.groups())) if strides else 1
        m, n, k = math.prod(out[:3]), out[3], max(1, math.prod(second[:3]) // stride)
    else:
        m, n, k = math.prod(out[:3]), out[3] // instruction.groups, math.prod(second[1:])
    tiles = instruction.groups * math.ceil(m / (128 if m >= 128 * card.cores else 64)) * math.ceil(n / 64)
    split = max(1, min(card.cores // tiles, k // 256)) if of_filter else 1
    turn = card.turn * (2 / 3 if kind == "bf16" else 1)
    return math.ceil(tiles * split / card.cores) * math.ceil(k / split / 32) * turn
