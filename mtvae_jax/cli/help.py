"""What `launch.py --help` says: how it is called, and every setting with its value, its meaning and what it may be."""

import textwrap

from mtvae_jax.config import allowed_values

USAGE = """\
usage: python launch.py --config=FILE[:DATASET] [--config.SECTION.FIELD=VALUE …]
                        [--workdir=DIR]
       python launch.py --workdir=DIR [--config.SECTION.FIELD=VALUE …]

  --config=configs/gauss_multi.py
                        what to train; see configs/
  --config=configs/gauss_multi.py:cifar10
                        on which images: mnist (the default), fashion_mnist,
                        cifar10, celeb_a, mnist_sample, or npz:PATH for arrays
                        of your own
  --config.train.epochs=20
                        any setting; --config.model.hidden_dims=32,64 for one of
                        several values
  --config=configs/thesis.py:all
                        a study: many runs and one report; see configs/thesis.py
  --workdir=DIR         the folder that everything is written to; by default
                        runs/NAME-HASH, so that the same command goes on with
                        the same run
  --dry_run             say what the command would do: settings, data,
                        parameters, memory and time; train and write nothing
  --finish              end the stage that is under way with its best epoch so
                        far; what comes after it, judging too, is done as usual
  --version             the version of the project
  --help                this text; with a --config the settings of that one

A --workdir without a --config goes on with the run in it, as it was configured:
to its end, or with other settings of the second stage
(--config.prior.hidden_dim=128) to another prior for the same model.

Exit status: 0 done; 2 the command, a setting or a file is wrong, and one line
says how to mend it; 75 stopped by a signal or Ctrl-C, the same command goes on;
1 anything else.
"""

WIDTH = 80
_WIDEST_VALUE = 14  # columns; a longer value has its meaning below it
_TRAINING = {
    "batch_size": "images in a step, on all devices together",
    "learning_rate": "learning rate of AdamW",
    "weight_decay": "weight decay of AdamW",
    "schedule": "course of the learning rate after the warm-up",
    "warmup_epochs": "epochs in which the learning rate rises from 0",
    "clip_norm": "largest norm of a gradient, None for any",
    "ema_decay": "decay of the averaged parameters that are judged and kept, None for the parameters themselves",
    "patience": "epochs without a lower validation loss after which it ends, None: to the last epoch",
    "precision": "precision of what is computed; parameters and losses are float32",
}
SECTIONS = {
    "data": "the images",
    "model": "the networks",
    "conditioning": "the pixels that are revealed",
    "loss": "the terms of the loss and their weights",
    "train": "the first stage, which trains the model",
    "prior": "the second stage, which trains p(z) and p(z|m)",
    "generation": "how generated images are judged at the end",
    "slurm": "the jobs of a cluster",
}
MEANINGS = {
    "seed": "seed of parameters, order, masks and noise",
    "data.name": "name of a dataset, or npz:PATH for arrays of your own",
    "data.dir": "folder of tensorflow-datasets, or with archives downloaded by hand",
    "data.validation": "share of the training images that is held out; 0: validate on the test images",
    "data.fold": "number of the fold that is held out in a cross-validation, counted from 0",
    "data.num_folds": "number of folds of a cross-validation",
    "data.max_train": "largest number of training images, None for all",
    "data.substitute": "where mnist cannot be had, train on the sample that comes with the package, and say so",
    "model.latent": "kind of z: a normal vector, or a grid of codes",
    "model.method": "what the decoders see, as the README has it",
    "model.latent_dim": "dimensions of z, or of a code",
    "model.hidden_dims": "channels of the layers of stride 2, whose number also sets the grid of codes",
    "model.residual_layers": "number of residual layers in the encoder, and in each decoder",
    "model.residual_dim": "channels within a residual layer",
    "model.kernel_size": "side of the kernels in the layers of stride 2",
    "model.normalization": "normalisation of feature maps",
    "model.merge": "how z and m meet: in one fully connected layer, or by convolutions on the grid",
    "model.output": "last function of a decoder",
    "model.codebook_size": "number of codes",
    "model.codebook_init": "what codes start as: outputs of the encoder, or noise",
    "model.codebook_ema": "decay of codes that are averages of outputs; None: they follow the gradient",
    "model.codebook_restart": "share of a fair use below which a code is restarted; 0: never",
    "conditioning.sampling": "where revealed pixels lie: on a grid, anywhere, or near the middle",
    "conditioning.grid_stride": "distance between neighbours of the grid, in pixels",
    "conditioning.num_pixels": "number of revealed pixels, None for as many as the grid has",
    "conditioning.exponent": "exponent of the single decoder's power law: the higher, the fewer pixels",
    "conditioning.gaussian_std": "standard deviation of gaussian sampling, in shares of the side",
    "conditioning.replacement": "whether gaussian sampling may draw a pixel twice",
    "loss.beta": "weight of the KL divergence, None for what the variance says; of the commitment term, None for 0.25",
    "loss.variance": "σ² of the likelihood, which stands for β = 2σ²/D; None for 0.01",
    "loss.weights": "weights of the reconstruction terms",
    "loss.kl_warmup_epochs": "epochs in which β rises from 0",
    "loss.balancing": "adaptive weights on top of the given ones",
    "loss.softadapt_variant": "variant of SoftAdapt, as Heydari et al. 2019 name them",
    "loss.softadapt_slope": "slope of a straight line through the window, or as in the authors' code",
    "loss.softadapt_beta": "sharpness of SoftAdapt; above 0, terms that fall slowly count more",
    "loss.softadapt_window": "number of entries whose slope is taken",
    "loss.softadapt_every": "number of steps whose mean is an entry",
    "train.epochs": "number of times that the model sees every training image",
    "train.figures_every": "epochs from one set of figures to the next; 0: no figures",
    **{f"train.{name}": meaning for name, meaning in _TRAINING.items()},
    "prior.epochs": "epochs of the prior; None: as many as the model's; 0: no second stage",
    **{f"prior.{name}": meaning for name, meaning in _TRAINING.items()},
    "prior.hidden_dim": "channels of a layer",
    "prior.num_layers": "number of gated layers",
    "prior.kernel_size": "side of all kernels but the first",
    "prior.first_kernel_size": "side of the first kernel, which does not see its own position",
    "prior.dropout": "share of channels that are left out of a step",
    "prior.class_conditional": "whether codes are learned given the class of the image",
    "prior.unconditional": "share of training images whose m is left empty, so that p(z) is learned too",
    "generation.num_samples": "number of images for the Fréchet distance; 0: judge nothing",
    "generation.num_images": "number of images whose hidden pixels are predicted",
    "generation.draws": "number of draws of z given m, for each image",
    "generation.inception": "file of Inception-v3 weights; None: features of a classifier of these images",
}
STUDY_MEANINGS = {
    "study": "name of the study; see configs/thesis.py",
    "protocol": "how much to run: a look, hours on two cores, or the thesis' own settings",
    "datasets": "names as in data.name, a comma between them",
    "seeds": "number of seeds that everything is run with",
    "folds": "number of folds of the cross-validation",
    "epochs": "epochs of each run",
    "max_train": "largest number of training images",
    "data_dir": "folder of tensorflow-datasets",
    "runs": "folder of all runs, shared with those trained by hand",
    "where": "where runs run: in this process, in several at the same time, or as jobs of a cluster",
    "jobs": "number of runs at the same time; None: one a device, or as many as Slurm starts",
    "replicates": "number of runs side by side in one program, here; None: 8 on a GPU, 1 on a CPU",
    "slurm.partition": "partition of the cluster, None for its default",
    "slurm.minutes": "time of one job; a run that is stopped goes on in its next one",
    "slurm.cpus": "cores of one job",
    "slurm.gpus": "GPUs of one job",
    "slurm.memory": "memory of one job",
    "earlier": "results.parquet of earlier reports: their runs count, and are not trained again",
    "report_only": "whether to write the report on what is there, and train nothing",
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
    """Yields a line a field, or more: name, value, meaning."""
    values = [_text(config[name]) for name in names]
    fields = [name.rpartition(".")[2] for name in names]
    before_value = 2 + max(map(len, fields)) + 2
    widest = max((len(value) for value in values if len(value) <= _WIDEST_VALUE), default=0)
    margin = before_value + widest + 2
    for name, field, value in zip(names, fields, values, strict=True):
        meaning = meanings[name]
        if meanings is MEANINGS and not isinstance(config[name], bool):
            meaning += f" ({allowed_values(name, config)})"
        first = f"  {field}".ljust(before_value) + value
        if len(value) > widest:
            yield from textwrap.wrap(first, WIDTH, subsequent_indent=" " * before_value)
            first = ""
        first = first.ljust(margin)
        yield from textwrap.wrap(meaning, WIDTH, initial_indent=first, subsequent_indent=" " * margin)


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
