"""What is reached of what the device can do: training against the two ceilings, in the same turns.

A model's floor is the time that its arithmetic takes at the ceiling of products, or its memory traffic at the
ceiling of the memory, whichever is longer.
"""

import statistics

from benchmarks.turns import ratio


def reached(result):
    """**Arguments:** `result`: of `parts.measure`.

    **Returns:** {"flops_per_second", "bytes_per_second"} → {"median": of training, "share": of the ceiling, as
    `turns.ratio` gives it}.
    """
    figures = {}
    for name, cost in (("flops_per_second", "flops_per_image"), ("bytes_per_second", "bytes_per_image")):
        speeds = [speed * result[cost] for speed in result["images_per_second"]]
        figures[name] = {"median": statistics.median(speeds), "share": ratio(speeds, result["ceilings"][name])}
    return figures


HEADER = (
    "| model | images | images/s | MFLOP an image | GFLOP/s | of the ceiling, % | KB an image | GB/s | "
    "of the ceiling, % | memory | compilation, s |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def rows(model, shape, result):
    """The line of a Markdown table for `parts.measure`'s figures. Shares: median (least – greatest)."""
    figures = reached(result)
    flops, traffic = figures["flops_per_second"], figures["bytes_per_second"]
    yield (
        f"| {model} | {'×'.join(map(str, shape))} | {statistics.median(result['images_per_second']):,.0f} | "
        f"{result['flops_per_image'] / 1e6:,.1f} | {flops['median'] / 1e9:,.0f} | {_share(flops)} | "
        f"{result['bytes_per_image'] / 1e3:,.0f} | {traffic['median'] / 1e9:,.1f} | {_share(traffic)} | "
        f"{result['memory_bytes'] / 2**20:,.0f} MiB | {result['compile_seconds']:.1f} |"
    )


def _share(figures):
    median, least, greatest = (100 * figures["share"][name] for name in ("median", "least", "greatest"))
    return f"{median:.0f} ({least:.0f} – {greatest:.0f})"
