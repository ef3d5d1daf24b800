"""The config tree of a run: thesis defaults, the checks before anything starts, and what makes two runs the same."""

import difflib
import hashlib
import json
import math

import numpy as np
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from mtvae_jax.balancing import SLOPES, VARIANTS
from mtvae_jax.conditioning import exact_grid_mask
from mtvae_jax.data.splits import check_arguments
from mtvae_jax.errors import UserError
from mtvae_jax.losses import beta_for_variance, variance_for_beta
from mtvae_jax.methods import METHODS
from mtvae_jax.wording import number_of

LATENTS = ("gaussian", "vq")
SAMPLINGS = ("exact", "uniform", "gaussian")


def is_quantised(latent):
    """Whether z is a grid of codes ("vq") or a vector ("gaussian"), which is what modules ask that treat them apart.

    **Raises:** `ValueError` for any other name, so that a new latent is met by an error wherever it has to be thought
    of, and not by what was meant for another one.
    """
    if latent not in ("gaussian", "vq"):
        raise ValueError(f"latent {latent!r}: neither a grid of codes nor a vector")
    return latent == "vq"


# Where the data lies and how often a picture is drawn do not change what is learned; the second stage is a run of its
# own in the same folder, and judging it changes neither.
NOT_PART_OF_THE_RUN = ("data.dir", "data.substitute", "train.figures_every", "prior.", "generation.")

# Fields that came after the first runs, with the value under which a run is what it was without them: its name stays.
_CAME_LATER = {"loss.balancing": "fixed", "loss.kl_warmup_epochs": 0.0, "train.patience": None}
_ONLY_WITH_BALANCING = "loss.softadapt_"


def thesis_config(dataset="mnist", *, latent, method):
    """The settings of thesis 3.4 for one of its models; a file in `configs/` changes what differs.

    **Arguments:** `dataset`: see `mtvae_jax.data.load_dataset`; `latent`: one of `LATENTS`; `method`: one
    of `METHODS`.
    **Returns:** a type-safe `ConfigDict`. Fields that are None are worked out by `resolve` once the data is known.
    Every model has every field: one about a part that it has not, such as `model.codebook_size` for a Gaussian latent
    or `conditioning.exponent` for constant counts, changes the name of a run and nothing else.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise UserError(f"model.method = {method!r}: must be {_listed(tuple(METHODS))}")
    if latent not in LATENTS:
        raise UserError(f"model.latent = {latent!r}: must be {_listed(LATENTS)}")
    vq = is_quantised(latent)
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "name": dataset,
                "dir": placeholder(str),  # of tensorflow-datasets; None: its own default
                "validation": 0.1,  # share of the training images; 0: validate on the test split
                "fold": placeholder(int),
                "num_folds": placeholder(int),
                "max_train": placeholder(int),
                "substitute": True,  # where mnist cannot be had, take the sample that comes with the package
            },
            "model": {
                "latent": latent,
                "method": method,
                "latent_dim": 32 if vq else 16,  # Z, or the dimension of a code
                "hidden_dims": _hidden_dims(latent, dataset),  # layers of stride 2, so they set the grid of codes
                "residual_layers": 4 if vq else 0,  # in the encoder, and as many in each decoder
                "residual_dim": 32,
                "kernel_size": 3,  # of the layers of stride 2
                "normalization": "batch",
                "merge": "dense",  # how z and m meet: one fully connected layer, or on the grid ("spatial")
                "output": "sigmoid",
                "codebook_size": 128,
                "codebook_init": "data",  # or random
                "codebook_ema": placeholder(float),  # decay; None: codes follow the gradient of the codebook term
                "codebook_restart": 0.0,  # restarts codes used less than this share of a fair use
            },
            "conditioning": {
                "sampling": "uniform" if METHODS[method].counts == "power_law" else "exact",
                "grid_stride": 4,
                "num_pixels": placeholder(int),  # None: as many as the grid has
                "exponent": 20.0,  # single_decoder: of the power law
                "gaussian_std": 0.2,  # of the side
                "replacement": True,  # gaussian sampling draws with replacement
            },
            "loss": {
                "beta": placeholder(float),  # of KL; None: from the variance. Of the commitment term; None: 0.25
                "variance": placeholder(float),  # gaussian: σ² = β·D/2; None: from beta, or DEFAULT_VARIANCE
                "weights": (1.0,) * METHODS[method].num_decoders,  # W1, W2: one a decoder
                "kl_warmup_epochs": 0.0,  # gaussian: β rises linearly from 0, in training; val/loss has all of it
                "balancing": "fixed",  # or softadapt: adaptive weights multiply weights and β, in training
                "softadapt_variant": "original",
                "softadapt_slope": "least_squares",
                "softadapt_beta": 0.1,  # above 0: what falls slowly counts more
                "softadapt_window": 5,  # entries whose slope it is
                "softadapt_every": 50,  # steps whose mean is an entry
            },
            "train": {
                "epochs": 100,
                "batch_size": 128,
                "learning_rate": 1e-3,
                "weight_decay": 1e-2,
                "schedule": "constant",
                "warmup_epochs": 0.0,
                "clip_norm": placeholder(float),
                "ema_decay": placeholder(float),
                "patience": placeholder(int),  # epochs without a lower val/loss that end it early
                "precision": "float32",
                "figures_every": 10,  # epochs; 0: no figures
            },
            "prior": {  # the second stage: p(z) of the codes, and p(z|m)
                "epochs": placeholder(int),  # None: as many as the first stage; 0: no second stage
                "batch_size": 128,
                "learning_rate": 1e-3,
                "weight_decay": 1e-2,
                "schedule": "constant",
                "warmup_epochs": 0.0,
                "clip_norm": placeholder(float),
                "ema_decay": placeholder(float),
                "patience": placeholder(int),  # epochs without a lower val/loss that end it early
                "precision": "float32",
                "hidden_dim": 64,
                "num_layers": 8,
                "kernel_size": 3,
                "first_kernel_size": 5,
                "dropout": 0.1,
                "class_conditional": False,
                "unconditional": 0.5,  # share of training images whose m is left empty, so that p(z) is learned too
            },
            "generation": {  # how generated images are judged, at the end
                "num_samples": 2000,  # for the Fréchet distance; 0: do not judge
                "num_images": 200,  # whose hidden pixels are predicted
                "draws": 16,  # of z given m, an image
                "inception": placeholder(str),  # file of Inception-v3 weights; None: features of our own
            },
        }
    )


def _hidden_dims(latent, dataset):
    """Grids of codes of 7 × 7 for 28 × 28 images and 8 × 8 for 32 × 32, and for the 64 × 64 of CelebA too."""
    if not is_quantised(latent):
        return (32, 64, 128, 256)
    return (32, 64, 128) if dataset == "celeb_a" else (32, 64)


# Of the commitment term, as van den Oord et al. (2017) have it.
DEFAULT_COMMITMENT = 0.25

# The draft names no β. σ = 0.1 is the error at which these models settle on Fashion-MNIST (mean squared error 0.0104
# after 5 epochs), so that the loss is the negative ELBO at very nearly its own best σ².
DEFAULT_VARIANCE = 0.01


def field_names(config):
    """The dotted names of all fields: "train.epochs", …"""
    return [
        name
        for key, value in config.items(preserve_field_references=False)
        for name in ([f"{key}.{sub}" for sub in field_names(value)] if isinstance(value, ConfigDict) else [key])
    ]


def unknown_field(name, config):
    """The error for a field that does not exist, with the nearest one that does."""
    near, section = nearest_field(name, config), name.rpartition(".")[0]
    names = field_names(config)
    inside = [field for field in names if section and field.startswith(f"{section}.")]
    those = f"those of config.{section} are {', '.join(inside)}" if inside else f"the fields are {', '.join(names)}"
    return UserError(f"config.{name}: there is no such field; {f'did you mean config.{near}?' if near else those}")


def nearest_field(name, config):
    """The field of `config` that somebody means who writes `name`, with a section or without: one called so in another
    section, or abbreviated so (train.lr), or spelt nearly so; None where there is none."""
    section, _, wanted = name.rpartition(".")
    fields = {field: field.rpartition(".")[2] for field in field_names(config)}
    # Of fields that both stages have the model's first
    order = sorted(fields, key=lambda field: (not field.startswith(f"{section}."), not field.startswith("train.")))
    close = difflib.get_close_matches(wanted, fields.values(), n=1, cutoff=0.7)
    for meant in (
        lambda last: last == wanted,
        lambda last: "_" in last and "".join(word[0] for word in last.split("_")) == wanted,
        lambda last: last in wanted.split(".") or f"_{last}" in wanted,
        lambda last: last in close,
    ):
        for field in order:
            if meant(fields[field]):
                return field
    return None


_TYPES = {int: "an integer", float: "a number", str: "text", bool: "True or False", ConfigDict: "set field by field"}


def allowed_values(name, config):
    """What a field of `config` may be, as text for a message."""
    *sections, field = name.split(".")
    for section in sections:
        config = config[section]
    return _RULES[name][1] if name in _RULES else _TYPES.get(config.get_type(field), "of another type")


def check(config):
    """Refuses values out of range and settings that contradict each other.

    **Raises:** `UserError`, one line that names the field and what it may be.
    """
    known = thesis_config(latent="gaussian", method="plain")
    expected = field_names(known)
    for name in field_names(config):
        if name in known and name not in expected:
            raise UserError(f"config.{name} = {config[name]!r}: must be a section with fields of its own")
        if name not in expected:
            raise unknown_field(name, known)
    for name in expected:
        _check_field(config, name)
    _check_together(config)


def resolve(config, image_shape):
    """Works out every field that depends on the data, so that the config says all there is to say about the run.

    **Arguments:** `config`: as given by the user; `image_shape`: (H, W, C).
    **Returns:** a frozen copy without None where a number is meant.
    **Raises:** `UserError` where the settings do not fit the images.
    """
    height, width, _ = image_shape
    num_values = math.prod(image_shape)
    config = config.copy_and_resolve_references()
    with config.unlocked():
        conditioning, loss, prior = config.conditioning, config.loss, config.prior
        _use_floats(config)
        if conditioning.grid_stride > max(height, width):
            raise UserError(
                f"config.conditioning.grid_stride = {conditioning.grid_stride}: must be at most the longer side, "
                f"{number_of(max(height, width), 'pixel')}"
            )
        grid = int(exact_grid_mask(height, width, conditioning.grid_stride).sum())
        if conditioning.num_pixels is None:
            conditioning.num_pixels = grid
        if conditioning.sampling == "exact" and conditioning.num_pixels != grid:
            raise UserError(
                f"config.conditioning.num_pixels = {conditioning.num_pixels}: exact sampling reveals the {grid} of the "
                "grid; set config.conditioning.grid_stride instead, or sampling to 'uniform' or 'gaussian'"
            )
        if conditioning.num_pixels > height * width:
            raise UserError(
                f"config.conditioning.num_pixels = {conditioning.num_pixels}: must be at most {height * width}, "
                f"the pixels of a {height}×{width} image"
            )
        if prior.epochs is None:
            prior.epochs = config.train.epochs
        if not METHODS[config.model.method].conditional_decoder:
            prior.unconditional = 1.0  # there are no revealed pixels
        elif not is_quantised(config.model.latent):
            prior.unconditional = 0.0  # p(z) = N(0, I) is known
        _check_normalised(config, height, width)
        if is_quantised(config.model.latent):
            loss.beta = DEFAULT_COMMITMENT if loss.beta is None else loss.beta
            check(config)
            return config.lock()
        if loss.beta is None:
            loss.variance = DEFAULT_VARIANCE if loss.variance is None else loss.variance
            loss.beta = beta_for_variance(loss.variance, num_values)
        variance = variance_for_beta(loss.beta, num_values)
        if loss.variance is not None and not math.isclose(loss.variance, variance, rel_tol=1e-6):
            raise UserError(
                f"config.loss.beta = {loss.beta} and config.loss.variance = {loss.variance}: each gives the other "
                f"(β = 2σ²/D, D = {num_values}); set one of them"
            )
        loss.variance = variance if loss.variance is None else loss.variance
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
    types = thesis_config(latent=config.model.latent, method=config.model.method)
    for section, fields in types.items(preserve_field_references=False):
        for field in fields if isinstance(fields, ConfigDict) else ():
            if fields.get_type(field) is float and config[section][field] is not None:
                config[section][field] = float(config[section][field])


def to_dict(config):
    """The config as plain JSON values (tuples become lists)."""
    return json.loads(config.to_json_best_effort())


def from_dict(values):
    """The config that `to_dict` was made from; a field that its version did not have yet takes its default.

    **Raises:** `UserError` for a field that does not exist or has an impossible value.
    """
    try:
        latent, method = values["model"]["latent"], values["model"]["method"]
    except (KeyError, TypeError) as error:
        raise UserError(f"the config has no field model.{error}: it was not written by this project") from error
    config = thesis_config(latent=latent, method=method)
    _fill(config, values, prefix="", root=config)
    check(config)
    return config.lock()


def run_hash(config):
    """Eight hexadecimal digits that two configs share exactly if they describe the same run."""
    return hashlib.sha256(json.dumps(identity(to_dict(config)), sort_keys=True).encode()).hexdigest()[:8]


def identity(values):
    """What makes a run this run, as {"train.epochs": 100, …}: `to_dict`'s fields, without those that change nothing."""
    flat = _flat(values)
    without = NOT_PART_OF_THE_RUN
    if flat.get("loss.balancing", "fixed") == "fixed":
        without += (_ONLY_WITH_BALANCING,)
    return {
        name: value
        for name, value in flat.items()
        if not name.startswith(without) and (name not in _CAME_LATER or value != _CAME_LATER[name])
    }


def prior_settings(config):
    """What makes a second stage this one, as JSON values: the section, without what came later and is not used."""
    values = to_dict(config)["prior"]
    return {name: value for name, value in values.items() if (name, value) != ("patience", None)}


def run_name(config, dataset_name):
    """A name a person recognises: "gauss_multi-mnist"."""
    return f"{model_name(config)}-{dataset_name}"


def model_name(config):
    """The config file's name for this model: "gauss_multi", "gauss_plain", …"""
    return f"{config.model.latent.replace('gaussian', 'gauss')}_{config.model.method.split('_')[0]}"


# ---------------------------------------------------------------------------------------------------------- the checks


_MOST = 2**31 - 1  # counts are 32 bits on the devices
# Beyond all use, and below what takes a machine down before anything can be said.
_WIDEST = 65536  # channels
_DEEPEST = 256  # layers
_LARGEST_KERNEL = 99  # pixels a side


def _listed(values):
    *most, last = [repr(v) if isinstance(v, str) else str(v) for v in values]
    return f"{', '.join(most)} or {last}" if most else last


def _one_of(values):
    # Of their type, because 1 == True to Python.
    return lambda v: isinstance(v, type(values[0])) and v in values, _listed(values)


def _number(text, test):
    # Both as it was written and as the devices have it: 1e-50 is not above 0 there.
    def allowed(value):
        return math.isfinite(_float32(value)) and test(value) and test(_float32(value))

    return lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and allowed(v), text


def _float32(value):
    """A number as it is in float32: infinite or 0 where that has none so large or so small."""
    try:
        with np.errstate(over="ignore", under="ignore"):
            rounded = float(np.float32(value))
    except OverflowError:
        return math.copysign(math.inf, value)
    return 0.0 if abs(rounded) < np.finfo(np.float32).tiny else rounded


def _integer(low, high=None):
    test, text = _is_integer(low, _MOST if high is None else high), f"an integer of at least {low}"
    return test, text if high is None else f"an integer in {low} … {high}"


def _is_integer(low, high):
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high


def _optional(rule):
    test, text = rule
    return lambda v: v is None or test(v), f"{text}, or None"


def _tuple_of(rule, text, most=16):
    test, _ = rule
    return lambda v: isinstance(v, (tuple, list)) and 0 < len(v) <= most and all(test(x) for x in v), text


_POSITIVE = _number("a number above 0", lambda v: v > 0)
_NOT_NEGATIVE = _number("a number of at least 0", lambda v: v >= 0)
_SHARE = _number("a number above 0 and below 1", lambda v: 0 < v < 1)


def _odd():
    test, _ = _integer(1, _LARGEST_KERNEL)
    return lambda v: test(v) and v % 2 == 1, f"an odd integer in 1 … {_LARGEST_KERNEL}"


def _training(section):
    """The rules that the two stages share."""
    return {
        f"{section}.batch_size": _integer(1),
        f"{section}.learning_rate": _POSITIVE,
        f"{section}.weight_decay": _NOT_NEGATIVE,
        f"{section}.schedule": _one_of(("constant", "cosine")),
        f"{section}.warmup_epochs": _NOT_NEGATIVE,
        f"{section}.clip_norm": _optional(_POSITIVE),
        f"{section}.ema_decay": _optional(_SHARE),
        f"{section}.patience": _optional(_integer(1)),
        f"{section}.precision": _one_of(("float32", "bfloat16")),
    }


_RULES = {
    "seed": (_is_integer(0, 2**32 - 1), "an integer in 0 … 2³²−1"),
    "data.name": (lambda v: isinstance(v, str) and v != "", "the name of a dataset or npz:PATH"),
    "data.dir": _optional((lambda v: isinstance(v, str) and v != "", "a folder")),
    "data.validation": _number("a number of at least 0 and below 1", lambda v: 0 <= v < 1),
    "data.fold": _optional(_integer(0)),
    "data.num_folds": _optional(_integer(2)),
    "data.max_train": _optional(_integer(1)),
    "data.substitute": _one_of((True, False)),
    "model.latent": _one_of(LATENTS),
    "model.method": _one_of(tuple(METHODS)),
    "model.latent_dim": _integer(1, 4096),
    "model.hidden_dims": _tuple_of(
        _integer(1, _WIDEST), f"a tuple of integers of at least 1, like 32,64,128; at most 16 of at most {_WIDEST}"
    ),
    "model.residual_layers": _integer(0, _DEEPEST),
    "model.residual_dim": _integer(1, _WIDEST),
    "model.kernel_size": _integer(1, _LARGEST_KERNEL),
    "model.normalization": _one_of(("batch", "none")),
    "model.merge": _one_of(("dense", "spatial")),
    "model.output": _one_of(("sigmoid", "linear")),
    "model.codebook_size": _integer(2, 2**20),
    "model.codebook_init": _one_of(("data", "random")),
    "model.codebook_ema": _optional(_SHARE),
    "model.codebook_restart": _number("a number of at least 0 and below 1", lambda v: 0 <= v < 1),
    "conditioning.sampling": _one_of(SAMPLINGS),
    "conditioning.grid_stride": _integer(1),
    "conditioning.num_pixels": _optional(_integer(1)),
    "conditioning.exponent": _POSITIVE,
    "conditioning.gaussian_std": _number("a number above 0 and at most 10", lambda v: 0 < v <= 10),
    "conditioning.replacement": _one_of((True, False)),
    "loss.beta": _optional(_NOT_NEGATIVE),
    "loss.variance": _optional(_NOT_NEGATIVE),
    "loss.weights": _tuple_of(_NOT_NEGATIVE, "a tuple of numbers of at least 0, one a decoder, like 1.0,0.5"),
    "loss.kl_warmup_epochs": _NOT_NEGATIVE,
    "loss.balancing": _one_of(("fixed", "softadapt")),
    "loss.softadapt_variant": _one_of(VARIANTS),
    "loss.softadapt_slope": _one_of(SLOPES),
    "loss.softadapt_beta": _number("a number", lambda v: True),
    "loss.softadapt_window": _integer(2, 10_000),
    "loss.softadapt_every": _integer(1),
    **_training("train"),
    "train.epochs": _integer(1),
    "train.figures_every": _integer(0),
    **_training("prior"),
    "prior.epochs": _optional(_integer(0)),
    "prior.hidden_dim": _integer(1, _WIDEST),
    "prior.num_layers": _integer(1, _DEEPEST),
    "prior.kernel_size": _odd(),
    "prior.first_kernel_size": _odd(),
    "prior.dropout": _number("a number of at least 0 and below 1", lambda v: 0 <= v < 1),
    "prior.class_conditional": _one_of((True, False)),
    "prior.unconditional": _number("a number in 0 … 1", lambda v: 0 <= v <= 1),
    "generation.num_samples": _integer(0),
    "generation.num_images": _integer(1),
    "generation.draws": _integer(2),
    "generation.inception": _optional((lambda v: isinstance(v, str) and v != "", "a file")),
}


def _check_field(config, name):
    value = config
    for part in name.split("."):
        if part not in value:
            raise UserError(f"config.{name}: is missing")
        value = value[part]
    test, allowed = _RULES[name]
    if not test(value):
        choices = [choice.strip("' ") for choice in allowed.replace(" or", ",").split(",")]
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"config.{name} = {_shortened(repr(value))}: {_as_seen(value, allowed)}must be {allowed}{hint}")


def _shortened(text):
    return text if len(text) <= 100 else f"{text[:100]}…"


def _as_seen(value, allowed):
    """What a number is on the devices, where that is why it is refused."""
    if isinstance(value, int) and "integer" in allowed:
        return "is too large, " if value > _MOST and "…" not in allowed else ""
    if not isinstance(value, (int, float)) or value != value or value in (math.inf, -math.inf):
        return ""
    rounded = _float32(value)
    return f"is {rounded:g} in float32, " if rounded != value and rounded in (0.0, 1.0, math.inf, -math.inf) else ""


def _check_together(config):
    model, conditioning, loss, train, data = config.model, config.conditioning, config.loss, config.train, config.data
    if METHODS[model.method].counts == "power_law" and conditioning.sampling == "exact":
        raise UserError(
            f"config.conditioning.sampling = 'exact': {model.method} reveals a random number of pixels, which a fixed "
            "grid cannot; must be 'uniform' or 'gaussian'"
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
    if not is_quantised(model.latent) and config.prior.class_conditional:
        raise UserError("config.prior.class_conditional = True: is for the codes of vq; must be False for gaussian")
    if is_quantised(model.latent) and loss.variance is not None:
        raise UserError(
            f"config.loss.variance = {loss.variance}: says what the weight of a KL stands for, and vq has none; "
            "set config.loss.beta, the weight of the commitment term"
        )
    if is_quantised(model.latent) and loss.kl_warmup_epochs > 0:
        raise UserError(
            f"config.loss.kl_warmup_epochs = {loss.kl_warmup_epochs}: is for the KL of gaussian; must be 0 for vq"
        )
    if loss.kl_warmup_epochs > train.epochs:
        raise UserError(
            f"config.loss.kl_warmup_epochs = {loss.kl_warmup_epochs}: must be at most config.train.epochs = "
            f"{train.epochs}"
        )
    for section, settings in (("train", train), ("prior", config.prior)):
        epochs = train.epochs if settings.epochs is None else settings.epochs
        if epochs > 0 and settings.warmup_epochs >= epochs:
            raise UserError(
                f"config.{section}.warmup_epochs = {settings.warmup_epochs}: must be below config.{section}.epochs = "
                f"{epochs}"
            )


# ------------------------------------------------------------------------------------------------- reading a saved one


def _fill(config, values, prefix, root):
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in config:
            raise unknown_field(name, root)
        if isinstance(config[key], ConfigDict):
            if not isinstance(value, dict):
                raise UserError(f"config.{name}: must be a section with fields of its own")
            _fill(config[key], value, f"{name}.", root)
            continue
        try:
            config[key] = tuple(value) if isinstance(value, list) else value
        except (TypeError, ValueError) as error:
            raise UserError(f"config.{name} = {_shortened(repr(value))}: must be {_RULES[name][1]}") from error


def _flat(values, prefix=""):
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
