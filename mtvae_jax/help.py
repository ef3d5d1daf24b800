"""What `launch.py --help` says: how it is called, and every setting with its value, its meaning and what it may be."""

import textwrap

from mtvae_jax.config import allowed_values

USAGE = """\
usage: python launch.py --config=FILE[:DATASET] [--config.SECTION.FIELD=VALUE …] [--workdir=DIR]
       python launch.py --workdir=DIR [--config.SECTION.FIELD=VALUE …]

  --config=configs/gauss_multi.py     what to train; see configs/
  --config=configs/gauss_multi.py:cifar10
                                      on mnist (the default), fashion_mnist, cifar10, celeb_a,
                                      mnist_sample or npz:PATH, arrays of your own
  --config.train.epochs=20            any setting; --config.model.hidden_dims=32,64 for several
  --config=configs/thesis.py:all      a study: many runs and one report; see configs/thesis.py
  --workdir=DIR                       where everything is written; runs/NAME-HASH by default, so
                                      that the same command goes on with the same run
  --dry_run                           say what the command would do: settings, data, parameters,
                                      memory and time; train nothing, write nothing
  --help                              with a --config the settings of that one

A --workdir without a --config goes on with the run in it, as it was configured: to its end, or with
other settings of the second stage (--config.prior.hidden_dim=128) to another prior for the same
model.

Exit status: 0 done; 2 the command, a setting or a file is wrong, and one line says how to mend it;
75 stopped by SIGTERM or Ctrl-C, the same command goes on; 1 anything else.
"""

_WIDTH = 100
_TRAINING = {
    "batch_size": "images a step, of all devices together",
    "learning_rate": "of AdamW",
    "weight_decay": "of AdamW",
    "schedule": "of the learning rate",
    "warmup_epochs": "in which the learning rate rises from 0",
    "clip_norm": "largest norm of a gradient",
    "ema_decay": "of the averaged parameters that are judged and kept, None for the parameters themselves",
    "precision": "of what is computed; parameters and losses are float32",
}
SECTIONS = {
    "data": "images",
    "model": "networks",
    "conditioning": "the pixels that are revealed",
    "loss": "terms and their weights",
    "train": "the first stage: the model",
    "prior": "the second stage: p(z) of codes, and p(z|m)",
    "generation": "how generated images are judged, at the end",
    "slurm": "a job",
}
MEANINGS = {
    "seed": "of parameters, order, masks and noise",
    "data.name": "a dataset by name, or npz:PATH for arrays of your own",
    "data.dir": "of tensorflow-datasets, or with archives downloaded by hand",
    "data.validation": "share of the training images that is held out; 0: validate on the test images",
    "data.fold": "which fold of a cross-validation is held out, counted from 0",
    "data.num_folds": "of a cross-validation",
    "data.max_train": "training images at most, None for all",
    "data.substitute": "where mnist cannot be had, train on the sample that comes with the package, and say so",
    "model.latent": "z is a normal vector, or a grid of codes",
    "model.method": "what the decoders see, as the README has it",
    "model.latent_dim": "dimensions of z, or of a code",
    "model.hidden_dims": "channels of the layers of stride 2, which also set the grid of codes",
    "model.residual_layers": "in the encoder, and as many in each decoder",
    "model.residual_dim": "channels within a residual layer",
    "model.kernel_size": "of the layers of stride 2",
    "model.normalization": "of feature maps",
    "model.merge": "how z and m meet: in one fully connected layer, or by convolutions on the grid",
    "model.output": "of a decoder",
    "model.codebook_size": "number of codes",
    "model.codebook_init": "codes start as outputs of the encoder, or as noise",
    "model.codebook_ema": "decay of codes that are averages of outputs; None: they follow the gradient",
    "model.codebook_restart": "restarts codes that are used less than this share of a fair use",
    "conditioning.sampling": "where revealed pixels lie: on a grid, anywhere, or near the middle",
    "conditioning.grid_stride": "pixels between two of the grid",
    "conditioning.num_pixels": "how many of them, None for as many as the grid has",
    "conditioning.exponent": "of the single decoder's power law: the higher, the fewer pixels",
    "conditioning.gaussian_std": "of gaussian sampling, in shares of the side",
    "conditioning.replacement": "gaussian sampling may draw a pixel twice",
    "loss.beta": "of the KL divergence, None for what the variance says; of the commitment term, None for 0.25",
    "loss.variance": "σ² of the likelihood, which stands for β = 2σ²/D; None for 0.01",
    "loss.weights": "of the reconstruction terms",
    "loss.kl_warmup_epochs": "in which β rises from 0",
    "loss.balancing": "adaptive weights on top of the given ones",
    "loss.softadapt_variant": "of Heydari et al. 2019",
    "loss.softadapt_slope": "of a straight line through the window, or as in the authors' code",
    "loss.softadapt_beta": "above 0: what falls slowly counts more",
    "loss.softadapt_window": "entries whose slope it is",
    "loss.softadapt_every": "steps whose mean is an entry",
    "train.epochs": "of the model",
    "train.figures_every": "epochs, and at the end; 0: no figures",
    **{f"train.{name}": meaning for name, meaning in _TRAINING.items()},
    "prior.epochs": "None: as many as the model's; 0: no second stage",
    **{f"prior.{name}": meaning for name, meaning in _TRAINING.items()},
    "prior.hidden_dim": "channels",
    "prior.num_layers": "gated layers",
    "prior.kernel_size": "of all but the first",
    "prior.first_kernel_size": "of the first, which does not see its own position",
    "prior.dropout": "share of channels",
    "prior.class_conditional": "codes given the class of the image",
    "prior.unconditional": "share of training images whose m is left empty, so that p(z) is learned too",
    "generation.num_samples": "for the Fréchet distance; 0: judge nothing",
    "generation.num_images": "whose hidden pixels are predicted",
    "generation.draws": "of z given m, an image",
    "generation.inception": "file of Inception-v3 weights; None: features of a classifier of these images",
}
STUDY_MEANINGS = {
    "study": "which: see configs/thesis.py",
    "protocol": "how much: a look, hours on two cores, or the thesis' own settings",
    "datasets": "names as in data.name, a comma between them",
    "seeds": "runs of everything",
    "folds": "of the cross-validation",
    "epochs": "of each run",
    "max_train": "training images at most",
    "data_dir": "of tensorflow-datasets",
    "runs": "the folder of all runs, shared with those trained by hand",
    "where": "in this process, in several at the same time, or as jobs of a cluster",
    "jobs": "runs at the same time; None: one a device, or as many as Slurm starts",
    "replicates": "runs side by side in one program, here; None: 8 on a GPU, 1 on a CPU",
    "slurm.partition": "None for the cluster's default",
    "slurm.minutes": "of one job; a run that is stopped goes on in its next one",
    "slurm.cpus": "of one job",
    "slurm.gpus": "of one job",
    "slurm.memory": "of one job",
    "earlier": "results.parquet of earlier reports: their runs count, and are not trained again",
    "report_only": "write the report on what is there, and train nothing",
}


def help_text(config):
    """**Arguments:** `config`: of a run or of a study, whose values are shown. **Returns:** text for a terminal."""
    meanings = STUDY_MEANINGS if "study" in config else MEANINGS
    lines = [USAGE.rstrip("\n")]
    for section in ("", *SECTIONS):
        names = [name for name in meanings if name.rpartition(".")[0] == section]
        if names:
            lines += ["", f"--config.{section}.FIELD=VALUE: {SECTIONS[section]}" if section else "--config.FIELD=VALUE"]
            lines += _table(names, meanings, config)
    return "\n".join(lines) + "\n"


def _table(names, meanings, config):
    """A line a field, or more: name, value, meaning."""
    values = [_text(config[name]) for name in names]
    fields = [name.rpartition(".")[2] for name in names]
    margin = 2 + max(map(len, fields)) + 2 + min(max(map(len, values)), 16) + 2
    for name, field, value in zip(names, fields, values, strict=True):
        meaning = meanings[name]
        if meanings is MEANINGS and not isinstance(config[name], bool):
            meaning += f" ({allowed_values(name, config)})"
        first = f"  {field:{max(map(len, fields))}}  {value}".ljust(margin - 2) + "  "
        yield from textwrap.wrap(meaning, _WIDTH, initial_indent=first, subsequent_indent=" " * margin)


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
