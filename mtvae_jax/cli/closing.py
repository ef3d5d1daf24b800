"""What a command ends with: the figures of its stages and of what it generates, in lines that a terminal can hold."""

import re
import textwrap

from mtvae_jax.errors import number_of

WIDTH = 80
_NAMES = {
    "reconstruction": "reconstruction from z",
    "reconstruction_conditioned": "from z and m",
    "reconstruction_by_count": "by number of pixels",
    "kl": "KL",
    "vq": "VQ objective",
    "bits_per_dim": "bits/dim",
    "bits_per_dim_conditioned": "bits/dim with m",
    "psnr": "PSNR",
    "psnr_conditioned": "PSNR with m",
    "ssim": "SSIM",
    "ssim_conditioned": "SSIM with m",
    "nats_conditioned": "nats given m",
    "prediction": "error of the mean given m",
    "nats_per_code_conditioned": "nats per code given m",
    "frechet_distance": "Fréchet distance",
    "mse_of_mean": "squared error of the mean",
    "mse_of_draw": "of a draw",
    "crps": "CRPS",
    "mean": "of the mean training image",
    "nearest": "of the nearest",
    "linear": "of the best linear predictor",
}
_WAYS = {
    "training_images": "training images, for comparison",
    "prior": "samples of the prior",
    "untrained_prior": "samples of an untrained prior",
    "conditional": "draws given pixels, z from p(z|m)",
    "unconditional": "draws given pixels, z from p(z)",
    "rivals": "the same pixels predicted without a z, squared error",
}
_COVERAGE = "coverage_"


def stage_result(stage, summary):
    """Writes the figures that a stage ends with.

    **Arguments:** `stage`: its name; `summary`: of its summary.json. **Returns:** a list of lines.
    """
    figures = {name.removeprefix("test/"): value for name, value in summary.items() if name.startswith("test/")}
    early = summary.get("stopped_early")
    of = f" of {early['epochs']} ({early['by']})" if early else ""
    head = f"{stage} complete: {number_of(summary['epochs'], 'epoch')}{of}, the best is epoch {summary['best_epoch']}"
    return [head, *_wrapped("test images", _said(figures))]


def judgement(generation):
    """Writes the figures of generation.json. **Returns:** an iterator of lines, some for each way to generate."""
    for part, ways in (generation or {}).items():
        for way, figures in ways.items():
            if part == "left_out":
                text = f"not judged: {_words(way).replace('/', ', ')} ({figures})"
                yield from textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
            if isinstance(figures, dict) and part != "of":
                plain = {name: value for name, value in figures.items() if not name.startswith(_COVERAGE)}
                yield from _wrapped(_WAYS.get(way, _words(way)), [*_said(plain), *_coverage(figures)])
        if "warning" in ways and part != "of":
            yield from textwrap.wrap(f"warning: {ways['warning']}", WIDTH, subsequent_indent="  ")


def _said(figures):
    return [f"{_NAMES.get(name, _words(name))} {value:.4g}" for name, value in figures.items()]


def _coverage(figures):
    """How many hidden pixels lie within the central intervals, with the pixel noise and without."""
    for end, words in (("", ""), ("_without_noise", " without pixel noise")):
        found = {name: re.fullmatch(rf"{_COVERAGE}(\d+){end}", name) for name in figures}
        levels = {name: match[1] for name, match in found.items() if match}
        if levels:
            nominal = ", ".join(levels.values())
            found = ", ".join(f"{100 * figures[name]:.0f}" for name in levels)
            yield f"{found} % within the {nominal} % intervals{words}"


def _words(name):
    return name.replace("_", " ")


def _wrapped(head, phrases):
    """Lines of whole phrases where that is possible, `head` before the first."""
    lines = [f"  {head}:"]
    for number, phrase in enumerate(phrases):
        piece = f" {phrase}" + ("," if number < len(phrases) - 1 else "")
        if len(lines[-1]) + len(piece) > WIDTH:
            lines.append("   ")
        lines[-1] += piece
    return lines
