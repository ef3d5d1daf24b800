"""AdamW with a learning-rate schedule and gradient clipping (thesis 3.4.3)."""

import optax


def make_optimizer(config, steps_per_epoch):
    """The optax transformation that a config's `train` section describes.

    As in the thesis' framework, AdamW's weight decay acts on every parameter, biases and normalisation included.
    """
    train = config.train
    transforms = [] if train.clip_norm is None else [optax.clip_by_global_norm(train.clip_norm)]
    transforms.append(optax.adamw(learning_rate(config, steps_per_epoch), weight_decay=train.weight_decay))
    return optax.chain(*transforms)


def learning_rate(config, steps_per_epoch):
    """Learning rate as a function of the step: linear warm-up, then constant or a cosine down to zero."""
    train = config.train
    warmup = round(train.warmup_epochs * steps_per_epoch)
    total = train.epochs * steps_per_epoch
    if train.schedule == "cosine":
        after = optax.cosine_decay_schedule(train.learning_rate, max(total - warmup, 1))
    else:
        after = optax.constant_schedule(train.learning_rate)
    if warmup == 0:
        return after
    # Starts above zero, so that the first step moves.
    ramp = optax.linear_schedule(train.learning_rate / warmup, train.learning_rate, max(warmup - 1, 1))
    return optax.join_schedules([ramp, after], [warmup])
