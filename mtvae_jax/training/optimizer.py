"""AdamW with a learning-rate schedule and gradient clipping (thesis 3.4.3)."""

import optax


def make_optimizer(settings, steps_per_epoch):
    """The optax transformation that a config's `train` or `prior` section describes.

    As in the thesis' framework, AdamW's weight decay acts on every parameter, biases and normalisation included.
    """
    transforms = [] if settings.clip_norm is None else [optax.clip_by_global_norm(settings.clip_norm)]
    transforms.append(optax.adamw(learning_rate(settings, steps_per_epoch), weight_decay=settings.weight_decay))
    return optax.chain(*transforms)


def learning_rate(settings, steps_per_epoch):
    """Learning rate as a function of the step: linear warm-up, then constant or a cosine down to zero."""
    peak = settings.learning_rate
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    total = settings.epochs * steps_per_epoch
    if settings.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(total - warmup, 1))
    else:
        after = optax.constant_schedule(peak)
    if warmup == 0:
        return after
    # Starts above zero, so that the first step moves.
    ramp = optax.linear_schedule(peak / warmup, peak, max(warmup - 1, 1))
    return optax.join_schedules([ramp, after], [warmup])
