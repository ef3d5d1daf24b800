"""The config tree of a run: one table of settings, the checks before anything starts, and a run's name."""

import hashlib
import json
import math

from ml_collections import ConfigDict

from mtvae_jax.balancing import SLOPES, VARIANTS
from mtvae_jax.conditioning import COUNTS, SAMPLINGS, exact_grid_mask
from mtvae_jax.data.loading import CROPS, UNUSED, check_settings, sides_of
from mtvae_jax.data.splits import check_arguments
from mtvae_jax.errors import UserError, number_of
from mtvae_jax.methods import METHODS
from mtvae_jax.models.decoder import HEADS, OUTPUTS
from mtvae_jax.models.latents import LATENTS
from mtvae_jax.models.merge import MERGES
from mtvae_jax.settings import (
    FIRST,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Setting,
    check_fields,
    config_of,
    flat,
    integer,
    listed,
    number,
    odd,
    one_of,
    optional,
    shortened,
    switch,
    text,
    tuple_of,
    unknown_field,
)
from mtvae_jax.trackers import TRACKERS

# Beyond all use, and below what takes a machine down before anything can be said.
_WIDEST = 65536  # channels
_DEEPEST = 256  # layers
_LARGEST_KERNEL = 99  # pixels a side

SECTIONS = {
    "data": "the images",
    "model": "the networks",
    "conditioning": "the revealed pixels",
    "loss": "the terms of the loss and their weights",
    "train": "the first stage, which trains the model",
    "prior": "the second stage, which trains p(z) and p(z|m)",
    "generation": "how generated images are judged, at the end",
}


def _training(section, **common):
    """The settings that the two stages share."""
    settings = {
        "batch_size": Setting(128, integer(1), "number of images in a step, on all devices together"),
        "learning_rate": Setting(1e-3, POSITIVE, "learning rate of AdamW"),
        "weight_decay": Setting(1e-2, NOT_NEGATIVE, "weight decay of AdamW"),
        "schedule": Setting("constant", one_of(("constant", "cosine")), "schedule of the learning rate"),
        "warmup_epochs": Setting(0.0, NOT_NEGATIVE, "number of epochs over which the learning rate rises from 0"),
        "clip_norm": Setting(None, optional(POSITIVE), "largest norm of a gradient, None for no limit"),
        "ema_decay": Setting(
            None, optional(SHARE),
            "decay of the moving average of the parameters, which is judged and kept; None: the parameters themselves",
        ),
        "patience": Setting(
            None, optional(integer(1)),
            "number of epochs without a lower validation loss after which training ends, None: never", since="0.2.0",
        ),
        "precision": Setting(
            "float32", one_of(("float32", "bfloat16")),
            "number type of the networks' arithmetic; parameters and losses are float32",
        ),
    }
    return {f"{section}.{name}": setting._replace(**common) for name, setting in settings.items()}


# A later version of this project may add settings: while they have their default, they do not change a run's name.
SETTINGS = {
    "seed": Setting(0, integer(0, 2**32 - 1)._replace(text="an integer in 0 … 2³²−1"),
                    "seed of parameters, order of images, masks and noise"),
    # ---------------------------------------------------------------------------------------------------------- images
    "data.name": Setting("mnist", text("the name of a dataset, or folder:PATH, npz:PATH or npy:PATH"),
                         "name of a dataset; folder:PATH for image files of your own, npz:PATH, npy:PATH for arrays"),
    "data.dir": Setting(None, optional(text("a folder")),
                        "folder of tensorflow-datasets, or with archives downloaded by hand", names_run=False),
    "data.validation": Setting(0.1, FRACTION,
                               "share of the training images that is held out; 0: validate on the test images"),
    "data.fold": Setting(None, optional(integer(0)), "fold of a cross-validation that is held out, counted from 0"),
    "data.num_folds": Setting(None, optional(integer(2)), "number of folds of a cross-validation"),
    "data.max_train": Setting(None, optional(integer(1)), "largest number of training images, None for all"),
    "data.substitute": Setting(
        True, switch(), "whether a run on mnist, where it cannot be had, trains on the shipped sample and says so",
        names_run=False,
    ),
    "data.size": Setting(
        None, optional(tuple_of(integer(1, 16384), "a side, or height and width, like 64 or 48,64", most=2)),
        "size to which images are brought, pixels; None where all have one (folder:PATH)", since="0.2.0",
    ),
    "data.crop": Setting("center", one_of(CROPS), "way to that size: the central piece of its shape, resized, or all "
                         "of an image, stretched (folder:PATH)", since="0.2.0"),
    "data.background": Setting("white", text("a colour, like white or #808080"),
                               "colour behind transparent pixels (folder:PATH)", since="0.2.0"),
    "data.labels": Setting(None, optional(one_of(("folders",))),
                           "labels of the images: the names of the sub-folders, or none (folder:PATH)", since="0.2.0"),
    "data.skip_broken": Setting(False, switch(), "whether files that cannot be read are left out, and counted "
                                "(folder:PATH)", since="0.2.0", names_run=False),
    # ---------------------------------------------------------------------------------------------------------- model
    "model.latent": Setting("gaussian", one_of(LATENTS), "kind of z: a normal vector, or a grid of codes"),
    "model.method": Setting("plain", one_of(METHODS), "decoders, and the pixels that they see; see the README"),
    "model.latent_dim": Setting(16, integer(1, 4096), "number of dimensions of z, or of a code"),
    "model.hidden_dims": Setting(
        (32, 64, 128, 256),
        tuple_of(integer(1, _WIDEST),
                 f"a tuple of integers of at least 1, like 32,64,128; at most 16 of at most {_WIDEST}"),
        "channels of the layers of stride 2, whose number also sets the grid of codes",
    ),
    "model.residual_layers": Setting(0, integer(0, _DEEPEST),
                                     "number of residual layers in the encoder, and in each decoder"),
    "model.residual_dim": Setting(32, integer(1, _WIDEST), "number of channels within a residual layer"),
    "model.kernel_size": Setting(3, integer(1, _LARGEST_KERNEL), "side of the kernels of stride 2, pixels"),
    "model.normalization": Setting("batch", one_of(("batch", "none")), "normalisation of feature maps"),
    "model.merge": Setting("dense", one_of(MERGES), "layer in which z and m meet: fully connected, convolutions on the "
                           "grid of z, or at every scale behind a network for any number of pixels"),
    "model.factors": Setting(0, integer(0, 1024), "number of factors of the factor analysis from which the network for "
                             "any number of pixels guesses the image; 0: none, it averages the pixels near by",
                             since="0.2.0", only_with=("model.merge", "context")),
    "model.output": Setting("sigmoid", one_of(OUTPUTS), "last activation of a decoder"),
    "model.head": Setting("strided", one_of(HEADS), "end of a decoder: a layer of stride 2 gives the image, or one of "
                          "full size and the first width does, and a 3×3 convolution the image", since="0.2.0"),
    "model.codebook_size": Setting(128, integer(2, 2**20), "number of codes (vq)"),
    "model.codebook_init": Setting("data", one_of(("data", "random")),
                                   "start of the codes: outputs of the encoder, or noise (vq)"),
    "model.codebook_ema": Setting(None, optional(SHARE), "decay of codes that are moving averages of the outputs that "
                                  "chose them; None: they follow the gradient (vq)"),
    "model.codebook_restart": Setting(0.0, FRACTION,
                                      "share of a fair use below which a code is restarted, 0: never (vq)"),
    # ----------------------------------------------------------------------------------------------- revealed pixels
    "conditioning.sampling": Setting("exact", one_of(SAMPLINGS), "sampling type of the revealed pixels"),
    "conditioning.grid_stride": Setting(4, integer(1), "distance of the pixels of the exact grid, pixels"),
    "conditioning.num_pixels": Setting(None, optional(integer(1)),
                                       "number of revealed pixels, None for as many as the grid has"),
    "conditioning.exponent": Setting(
        20.0, POSITIVE, "exponent of the single decoder's power law: the higher, the fewer pixels are revealed"
    ),
    "conditioning.gaussian_std": Setting(
        0.2, number("a number above 0 and at most 10", lambda v: 0 < v <= 10),
        "standard deviation of gaussian sampling, as a share of the side",
    ),
    "conditioning.replacement": Setting(True, switch(), "whether gaussian sampling may draw a pixel twice"),
    # ----------------------------------------------------------------------------------------------------------- loss
    "loss.beta": Setting(
        None, optional(NOT_NEGATIVE),
        "weight of the KL divergence, None for what the variance says; of the commitment term, None for 0.25",
    ),
    "loss.variance": Setting(None, optional(NOT_NEGATIVE),
                             "variance σ² of the likelihood, which stands for β = 2σ²/D; None for 0.01 (gaussian)"),
    "loss.weights": Setting((1.0,), tuple_of(NOT_NEGATIVE, "a tuple of numbers of at least 0, one a decoder, like "
                                             "1.0,0.5"), "weights of the reconstruction terms, one a decoder"),
    "loss.kl_warmup_epochs": Setting(0.0, NOT_NEGATIVE, "number of epochs over which β rises from 0 (gaussian)",
                                     since="0.1.1"),
    "loss.balancing": Setting("fixed", one_of(("fixed", "softadapt")),
                              "adaptive weights, which multiply the given ones in training", since="0.1.1"),
    **{
        f"loss.softadapt_{name}": Setting(default, rule, meaning, only_with=("loss.balancing", "softadapt"))
        for name, (default, rule, meaning) in {
            "variant": ("original", one_of(VARIANTS), "variant of SoftAdapt (Heydari et al. 2019)"),
            "slope": ("least_squares", one_of(SLOPES),
                      "slope of a part of the loss: of a straight line, or as in the authors' code"),
            "beta": (0.1, number("a number", lambda v: True),
                     "exponent of SoftAdapt; above 0, parts that fall slowly count more"),
            "window": (5, integer(2, 10_000), "number of entries over which a slope is taken"),
            "every": (50, integer(1), "number of steps whose mean is an entry"),
        }.items()
    },
    # --------------------------------------------------------------------------------------------------- first stage
    "train.epochs": Setting(100, integer(1), "number of epochs of the model"),
    **_training("train"),
    "train.figures_every": Setting(10, integer(0), "number of epochs between figures; 0: no figures at all",
                                   names_run=False),
    "train.checkpoint_seconds": Setting(
        30.0, NOT_NEGATIVE, "number of seconds at least between the checkpoints of two epochs, which is what a kill "
        "may cost; 0: one an epoch", since="0.2.0", names_run=False,
    ),
    "train.trackers": Setting(
        ("tensorboard",), tuple_of(one_of(TRACKERS), f"a tuple of {listed(TRACKERS)}, or ()", least=0),
        "experiment trackers that show both stages; all but tensorboard are extras", since="0.2.0", names_run=False,
    ),
    # --------------------------------------------------------------- second stage: a run of its own in the same folder
    "prior.epochs": Setting(None, optional(integer(0)),
                            "number of epochs of the prior, None for as many as the model's; 0: no second stage",
                            names_run=False),
    **_training("prior", names_run=False),
    **{
        f"prior.{name}": Setting(default, rule, meaning, names_run=False)
        for name, (default, rule, meaning) in {
            "num_layers": (8, integer(1, _DEEPEST), "number of gated layers"),
            "kernel_size": (3, odd(_LARGEST_KERNEL), "side of the kernels of all layers but the first, codes"),
            "first_kernel_size": (5, odd(_LARGEST_KERNEL),
                                  "side of the first layer's kernel, which does not see its own position, codes"),
            "dropout": (0.1, FRACTION, "share of channels that is dropped in training"),
            "class_conditional": (False, switch(), "whether z is predicted given the class of the image"),
            "unconditional": (0.5, number("a number in 0 … 1", lambda v: 0 <= v <= 1),
                              "share of training images whose m is left empty, so that p(z) is learned too"),
        }.items()
    },
    "prior.hidden_dim": Setting(64, integer(1, _WIDEST), "number of channels", names_run=("prior.joint", True)),
    "prior.joint": Setting(False, switch(), "whether p(z|m) is learned along with the model, not after it "
                           "(gaussian)", since="0.2.0"),
    "prior.prediction": Setting(
        1.0, NOT_NEGATIVE, "weight of the squared error of the mean of draws given m, where p(z|m) is learned along",
        since="0.2.0", only_with=("prior.joint", True),
    ),
    # --------------------------------------------------------------------------------------- judging changes neither
    **{
        f"generation.{name}": Setting(default, rule, meaning, names_run=False)
        for name, (default, rule, meaning) in {
            "num_samples": (2000, integer(0), "number of images for the Fréchet distance; 0: judge nothing"),
            "num_images": (200, integer(1), "number of test images whose hidden pixels are predicted"),
            "draws": (16, integer(2), "number of draws of z given m, for each image"),
            "inception": (None, optional(text("a file")),
                          "file of Inception-v3 weights; None: features of a classifier of these images"),
        }.items()
    },
    # ------------------------------------------------------------------------------------------ of single latents
    **{name: setting for latent in LATENTS.values() for name, setting in latent.settings.items()},
}


def thesis_config(dataset="mnist", *, latent, method):
    """Makes the config of a thesis model (3.4); a file in `configs/` changes what differs.

    **Arguments:** `dataset`: see `mtvae_jax.data.load_dataset`; `latent`: one of `LATENTS`; `method`: one
    of `METHODS`.
    **Returns:** a type-safe `ConfigDict` of `SETTINGS`. Fields that are None are worked out by `resolve` once the data
    is known. Every model has every field: one about a part that it has not, such as `model.codebook_size` for a
    Gaussian latent or `conditioning.exponent` for constant counts, changes the name of a run and nothing else.
    """
    return config_of(SETTINGS, {"data.name": dataset} | kind_defaults(latent, method, dataset))


def kind_defaults(latent, method, dataset):
    """Returns the defaults that a latent and a method set: {dotted name: value}. **Raises:** `UserError` for unknown
    ones.
    """
    for name, value, table in (("method", method, METHODS), ("latent", latent, LATENTS)):
        if not isinstance(value, str) or value not in table:
            raise UserError(f"model.{name} = {value!r}: must be {listed(table)}")
    counts = METHODS[method].counts
    return {
        "model.latent": latent,
        "model.method": method,
        "conditioning.sampling": "exact" if counts is None or COUNTS[counts].constant else "uniform",
        "loss.weights": (1.0,) * METHODS[method].num_decoders,
        **LATENTS[latent].defaults(dataset),
    }


def check(config):
    """Refuses values out of range and settings that contradict each other.

    **Raises:** `UserError`, one line that names the field and what it may be.
    """
    check_fields(config, SETTINGS)
    _check_together(config)


def resolve(config, image_shape):
    """Works out every field that depends on the data, so that the config says all there is to say about the run.

    **Arguments:** `config`: as given by the user; `image_shape`: (H, W, C).
    **Returns:** a frozen copy without None where a number is meant.
    **Raises:** `UserError` where the settings do not fit the images.
    """
    height, width, _ = image_shape
    config = config.copy_and_resolve_references()
    with config.unlocked():
        conditioning, prior = config.conditioning, config.prior
        _use_floats(config)
        if config.data.size is not None:
            config.data.size = sides_of(config.data.size)
        if conditioning.grid_stride > max(height, width):
            raise UserError(
                f"config.conditioning.grid_stride = {conditioning.grid_stride}: must be at most the longer side, "
                f"{number_of(max(height, width), 'pixel')}"
            )
        grid = int(exact_grid_mask(height, width, conditioning.grid_stride).sum())
        if conditioning.num_pixels is None:
            conditioning.num_pixels = grid
        if SAMPLINGS[conditioning.sampling].fixed_grid and conditioning.num_pixels != grid:
            raise UserError(
                f"config.conditioning.num_pixels = {conditioning.num_pixels}: exact sampling reveals the {grid} of the "
                "grid; set config.conditioning.grid_stride instead, or sampling to 'uniform' or 'gaussian'"
            )
        if conditioning.num_pixels > height * width:
            raise UserError(
                f"config.conditioning.num_pixels = {conditioning.num_pixels}: must be at most {height * width}, "
                f"the pixels of a {height}×{width} image"
            )
        latent = LATENTS[config.model.latent]
        if prior.epochs is None:
            prior.epochs = 0 if prior.joint else config.train.epochs
        if not METHODS[config.model.method].conditional_decoder:
            prior.unconditional = 1.0  # there are no revealed pixels
        elif latent.knows_prior and not prior.class_conditional:
            prior.unconditional = 0.0
        _check_normalised(config, height, width)
        latent.resolve(config, math.prod(image_shape))
    check(config)  # what was worked out may be out of range too
    return config.lock()


def _check_normalised(config, height, width):
    """Refuses batch normalisation of a single value, which leaves nothing of it."""
    layers = len(config.model.hidden_dims)
    values = math.prod(-(-side // 2**layers) for side in (height, width))  # of an image in the last feature map
    stages = {
        "train": config.model.normalization == "batch",
        "prior": config.prior.epochs > 0 and config.prior.unconditional < 1,  # the network that sees m
    }
    for section, normalised in stages.items():
        if normalised and config[section].batch_size * values == 1:
            raise UserError(
                f"config.{section}.batch_size = 1: {layers} layers of stride 2 make one value a channel of a "
                f"{height}×{width} image, and batch normalisation needs several; must be at least 2, or give fewer "
                "config.model.hidden_dims"
            )


def _use_floats(config):
    """Numbers as the fields have them: 1 and 1.0 are one run."""
    config.loss.weights = tuple(float(weight) for weight in config.loss.weights)
    for name, setting in SETTINGS.items():
        if setting.rule.type is float and config[name] is not None:
            section, field = name.split(".")
            config[section][field] = float(config[name])


def to_dict(config):
    """Returns the config as plain JSON values (tuples become lists)."""
    return json.loads(config.to_json_best_effort())


def from_dict(values):
    """Returns the config that `to_dict` was made from; a field that its version did not have yet takes its default.

    **Raises:** `UserError` for a field that does not exist or has an impossible value.
    """
    try:
        latent, method = values["model"]["latent"], values["model"]["method"]
    except (KeyError, TypeError) as error:
        raise UserError(f"the config has no field model.{error}: it was not written by this project") from error
    config = thesis_config(latent=latent, method=method)
    _fill(config, values, prefix="")
    check(config)
    return config.lock()


def data_arguments(config):
    """Returns the arguments of `mtvae_jax.data.load_dataset` that a config's section `data` stands for, beside the
    name.
    """
    data = config.data
    return {
        "directory": data.dir,
        **{name: data[name] for name in ("validation", "fold", "num_folds", "max_train", *UNUSED)},
    }


def run_hash(config):
    """Returns eight hexadecimal digits that two configs share exactly if they describe the same run."""
    return _digest(identity(to_dict(config)))


def prior_hash(config, model_step):
    """Returns the same for a second stage on the model of a step of the first."""
    return _digest({"prior": prior_settings(config), "model_step": model_step})


def prior_settings(config):
    """Returns what makes a second stage this one, as JSON values: the section `prior`, but for what came later and is
    not used.
    """
    settings = {name: value for name, value in flat(to_dict(config)).items() if name.startswith("prior.")}
    return {name.removeprefix("prior."): value for name, value in _counted(settings).items()}


def identity(values):
    """Returns what makes a run this run, as {"train.epochs": 100, …}: `to_dict`'s fields, without those that change
    nothing.
    """
    values = flat(values)
    return {name: value for name, value in _counted(values).items()
            if name not in SETTINGS or _names_run(SETTINGS[name], values)}


def _names_run(setting, values):
    """Whether another value makes another run, with the other `values` as they are."""
    if isinstance(setting.names_run, bool):
        return setting.names_run
    other, needed = setting.names_run
    return values.get(other, SETTINGS[other].default) == needed


def _counted(values):
    """The fields that tell runs apart: not those without effect, nor those that older versions did not have while they
    have their default, so that no run is renamed by a new setting."""
    counted = {}
    for name, value in values.items():
        setting = SETTINGS.get(name)
        if setting is not None:
            default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
            if setting.since != FIRST and value == default:
                continue
            if setting.only_with is not None:
                other, needed = setting.only_with
                if values.get(other, SETTINGS[other].default) != needed:
                    continue
        counted[name] = value
    return counted


def _digest(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def run_name(config, dataset_name):
    """Returns a name a person recognises: "gauss_multi-mnist"."""
    return f"{model_name(config)}-{dataset_name}"


def model_name(config):
    """Returns the config file's name for this model: "gauss_multi", "gauss_plain", …"""
    return f"{LATENTS[config.model.latent].short}_{config.model.method.split('_')[0]}"


def has_second_stage(config):
    """Tells whether there is a prior to learn: p(z) where it is not known, p(z|y) with classes, p(z|m) where a decoder
    sees pixels.
    """
    known = LATENTS[config.model.latent].knows_prior and not config.prior.class_conditional
    return (not known or METHODS[config.model.method].conditional_decoder) and config.prior.epochs > 0


def _check_together(config):
    model, conditioning, loss, train, data = config.model, config.conditioning, config.loss, config.train, config.data
    counts = METHODS[model.method].counts
    if SAMPLINGS[conditioning.sampling].fixed_grid and counts is not None and not COUNTS[counts].constant:
        others = listed([name for name, sampling in SAMPLINGS.items() if not sampling.fixed_grid])
        raise UserError(
            f"config.conditioning.sampling = {conditioning.sampling!r}: {model.method} reveals a random number of "
            f"pixels, which a fixed grid cannot; must be {others}"
        )
    decoders = METHODS[model.method].num_decoders
    if len(loss.weights) != decoders:
        raise UserError(
            f"config.loss.weights = {tuple(loss.weights)}: {model.method} has {decoders} decoder"
            f"{'s' * (decoders > 1)}, so must be {decoders} number{'s' * (decoders > 1)}"
        )
    if not any(loss.weights):
        raise UserError(f"config.loss.weights = {tuple(loss.weights)}: at least one must be above 0")
    check_arguments(data.validation, data.fold, data.num_folds, data.max_train)
    check_settings(data.name, {name: data[name] for name in UNUSED})
    for name, why in LATENTS[model.latent].refuses.items():
        default = SETTINGS[name].default
        if config[name] != default:
            raise UserError(f"config.{name} = {config[name]}: {why.format(model.latent)}; must be {default}")
    if loss.kl_warmup_epochs > train.epochs:
        raise UserError(
            f"config.loss.kl_warmup_epochs = {loss.kl_warmup_epochs}: must be at most config.train.epochs = "
            f"{train.epochs}"
        )
    if config.prior.joint and not METHODS[model.method].conditional_decoder:
        raise UserError(f"config.prior.joint = True: {model.method} has no decoder that sees pixels; must be False")
    if config.prior.joint and config.prior.epochs:
        raise UserError(
            f"config.prior.epochs = {config.prior.epochs}: p(z|m) is learned along with the model, by "
            "config.prior.joint = True, and has no epochs of its own; must be None or 0"
        )
    if config.prior.joint and config.prior.class_conditional:
        raise UserError("config.prior.class_conditional = True: p(z|m) that is learned along with the model sees no "
                        "classes; must be False, or config.prior.joint False")
    for section, settings in (("train", train), ("prior", config.prior)):
        epochs = train.epochs if settings.epochs is None else settings.epochs
        if epochs > 0 and settings.warmup_epochs >= epochs:
            raise UserError(
                f"config.{section}.warmup_epochs = {settings.warmup_epochs}: must be below config.{section}.epochs = "
                f"{epochs}"
            )


def _fill(config, values, prefix):
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in config:
            raise unknown_field(name, SETTINGS)
        if isinstance(config[key], ConfigDict):
            if not isinstance(value, dict):
                raise UserError(f"config.{name}: must be a section with fields of its own")
            _fill(config[key], value, f"{name}.")
            continue
        try:
            config[key] = tuple(value) if isinstance(value, list) else value
        except (TypeError, ValueError) as error:
            raise UserError(f"config.{name} = {shortened(repr(value))}: must be {SETTINGS[name].rule.text}") from error
