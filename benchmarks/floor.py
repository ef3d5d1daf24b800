"""What is reached of what the device can do: speed against the two ceilings, in numbers and as a table.

A model's floor is the time that its arithmetic takes at the ceiling of products, or its memory traffic at the
ceiling of the memory, whichever is longer.
"""

import statistics

from benchmarks.ceiling import training_precision


def against(result, ceilings, precision):
    """**Arguments:** `result`: of `parts.measure`; `ceilings`: of `ceiling.measure`; `precision`: of the training.

    **Returns:** {"flops_per_second", "share_of_matmul", "bytes_per_second", "share_of_bandwidth"}.
    """
    speed = statistics.median(result["images_per_second"])
    flops, traffic = speed * result["flops_per_image"], speed * result["bytes_per_image"]
    return {
        "flops_per_second": flops,
        "share_of_matmul": flops / ceilings["matmul"][training_precision(precision)],
        "bytes_per_second": traffic,
        "share_of_bandwidth": traffic / ceilings["bytes_per_second"],
    }


HEADER = (
    "| model | images | images/s | MFLOP an image | GFLOP/s | of the ceiling | KB an image | GB/s | of the ceiling | "
    "memory | compilation, s |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def rows(model, shape, result):
    """The line of a Markdown table for the figures of `parts.measure`, those of `against` among them as "floor"."""
    reached = result["floor"]
    yield (
        f"| {model} | {'×'.join(map(str, shape))} | {statistics.median(result['images_per_second']):,.0f} | "
        f"{result['flops_per_image'] / 1e6:,.1f} | {reached['flops_per_second'] / 1e9:,.0f} | "
        f"{reached['share_of_matmul']:.0%} | {result['bytes_per_image'] / 1e3:,.0f} | "
        f"{reached['bytes_per_second'] / 1e9:,.1f} | {reached['share_of_bandwidth']:.0%} | "
        f"{result['memory_bytes'] / 2**20:,.0f} MiB | {result['compile_seconds']:.1f} |"
    )
