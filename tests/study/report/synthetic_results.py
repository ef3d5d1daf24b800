"""A whole study with made-up numbers: every run of the small protocol, with effects that are known."""

import dataclasses
import math
import zlib

import numpy as np

from mtvae_jax.study.catalogue import plan
from mtvae_jax.study.protocols import PROTOCOLS
from mtvae_jax.study.report import Pictures, Results, SamplingTypes
from mtvae_jax.study.verdicts import judge_claims

DATASETS = ("fashion_mnist", "npz:data/natural_32.npz")
EPOCHS = 12


def synthetic_results(study="all", *, datasets=DATASETS, seeds=3, epochs=EPOCHS, images=True):
    """`Results` of `study` with `seeds` replicates on `datasets`."""
    protocol = dataclasses.replace(PROTOCOLS["small"], datasets=datasets, seeds=seeds, epochs=epochs)
    rows = [_row(factors) for factors in plan(study, protocol)]
    return Results(
        study=study,
        protocol="small",
        settings={"seeds": seeds, "folds": 3, "epochs": epochs, "max_train": 10_000, "exponents": (20.0, 40.0, 60.0)},
        date="2026-11-23",
        device="1 × cpu (x86_64)",
        versions={"python": "3.11.7", "jax": "0.10.2", "flax": "0.12.8"},
        hours=3.4567,
        data={
            dataset: {
                "image_shape": [28, 28, 1] if index == 0 else [32, 32, 3],
                "images": {"train": 10_000, "validation": 5_000, "test": 10_000},
                "fingerprint": f"2e8aa237a491ca0{index}",
                "provenance": "tensorflow-datasets fashion_mnist 3.0.1" if index == 0 else "npz:/home/natural_32.npz",
            }
            for index, dataset in enumerate(datasets)
        },
        planned=len(rows),
        complete=len(rows),
        rows=rows,
        claims=[result.to_dict() for result in judge_claims(rows)],
        curves={row["run"]: _records(row, epochs) for row in rows},
        pictures=tuple(_pictures(dataset) for dataset in datasets[:1] if images),
        sampling_types=_sampling_types(datasets[0]) if images else None,
    )


def _row(factors):
    values = dataclasses.asdict(factors)
    run = f"run-{zlib.crc32(repr(sorted(values.items(), key=str)).encode()):08x}"
    return {**values, "run": run, "workdir": f"runs/{run}", "status": "complete", "error": None, "best_epoch": EPOCHS,
            "parameters": 826_561, **_figures(factors, np.random.default_rng(zlib.crc32(run.encode())))}


def _figures(f, rng):
    """What a run measures: the effects of the thesis, more or less, with 1 % of noise, half of it the seed's own."""
    shared = np.random.default_rng([f.seed, zlib.crc32(f.dataset.encode())])
    noise = lambda size=0.006: 1 + shared.normal(0, 0.01) + rng.normal(0, size)  # noqa: E731
    hard = 1.0 if f.dataset == "fashion_mnist" else 1.8
    multi, single = f.method == "multi_decoder", f.method == "single_decoder"
    high = (f.exponent or 20) / 20
    depth = f.depth or 4
    if f.latent == "gaussian":
        scale = (f.beta or 2.55e-5) / 2.55e-5
        reconstruction = 0.0145 * scale**0.35 * (0.96 if multi else 1.06 - 0.012 * high if single else 1)
        kl = 17.8 * scale**-0.4 * (1.04 if multi else 0.62 + 0.05 * high if single else 1)
        kl *= 1.12 if f.sampling == "gaussian" else 1
        collapse = max(0.15, 1 - 0.11 * max(0, depth - 2) * (0.5 if f.kl_warmup else 1))
        result = {"test/kl": kl * collapse * noise(0.01), "test/active_units": float(round(16 * collapse)),
                  "test/bits_per_dim": 7.02 * noise(0.001)}
        result |= {"generation/frechet_distance": 40 * (0.9 if single else 1) * noise(0.02),
                   "generation/precision": 0.7 * noise(), "generation/recall": 0.6 * noise()}
        result |= {"kl_per_unit": result["test/kl"] / 16, "active_share": result["test/active_units"] / 16}
    else:
        reconstruction = 0.0080 * (0.97 if multi else 0.985 - 0.01 * high if single else 1)
        result = {"test/vq": 0.021 * (0.93 if multi else 0.72 if single else 1) * noise(0.02),
                  "test/perplexity": 84.0 * noise(0.02),
                  "test/quantisation_error": 0.01 * noise(0.02)}
    result["test/reconstruction"] = hard * reconstruction * noise()
    result["generalisation_gap"] = (6.0 if f.method == "plain" else 4.0) * noise(0.05)
    result["fluctuation"] = 0.4 * noise(0.1) * (0.8 if f.balancing.startswith("soft") else 1)
    if f.method != "plain":
        result["conditioned_gap"] = 100 * (1 - (0.8 if multi else 0.97))
        result["test/reconstruction_conditioned"] = result["test/reconstruction"] * (0.8 if multi else 0.97)
    return result


def _records(row, epochs):
    rng = np.random.default_rng(zlib.crc32(row["run"].encode()))
    records = []
    for epoch in range(1, epochs + 1):
        record = {"epoch": epoch, "step": 78 * epoch}
        for name, value in row.items():
            if name.startswith("test/"):
                shape = 1 + (0.9 if "recon" in name else -0.25 if "kl" in name else 0.5) * math.exp(-epoch / 2)
                record[name.replace("test", "val")] = value * shape * (1 + rng.normal(0, 0.004))
        records.append(record)
    return records


def _pictures(dataset):
    rng = np.random.default_rng(0)
    images = rng.random((6, 28, 28, 1)) * np.linspace(0, 1, 28)[:, None, None]
    masks = rng.random((6, 28, 28, 1)) < 0.06
    return Pictures(figure="4.1", dataset=dataset, model="gauss_multi, exact sampling, seed 0", images=images,
                    masks=masks, reconstruction=images * 0.8, reconstruction_conditioned=images * 0.9)


def _sampling_types(dataset):
    rng = np.random.default_rng(1)
    grid = np.zeros((28, 28, 1), bool)
    grid[2::4, 2::4] = True
    return SamplingTypes(dataset=dataset, image=rng.random((28, 28, 1)),
                         masks={"Exact": grid, "Uniform": rng.permutation(grid.ravel()).reshape(grid.shape)})
