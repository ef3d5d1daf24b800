"""AdamW with a learning-rate schedule and gradient clipping (thesis 3.4.3)."""

import optax

# Names of `train.schedule` → function of the peak and the number of steps behind the warm-up.
SCHEDULES = {"constant": lambda peak, steps: optax.constant_schedule(peak), "cosine": optax.cosine_decay_schedule}


def make_optimizer(settings, steps_per_epoch):
    """Returns the optax transformation that a config's `train` or `prior` section describes.

    As in the thesis' framework, AdamW's weight decay acts on every parameter, biases and normalisation included.
    """
    transforms = [] if settings.clip_norm is None else [optax.clip_by_global_norm(settings.clip_norm)]
    transforms.append(optax.adamw(learning_rate(settings, steps_per_epoch), weight_decay=settings.weight_decay))
    return optax.chain(*transforms)


def learning_rate(settings, steps_per_epoch):
    """Returns the learning rate as a function of the step: linear warm-up, then constant or a cosine down to zero."""
    peak = settings.learning_rate
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    total = settings.epochs * steps_per_epoch
    after = SCHEDULES[settings.schedule](peak, max(total - warmup, 1))
    if warmup == 0:
        return after
    # Starts above zero, so that the first step moves.
    ramp = optax.linear_schedule(peak / warmup, peak, max(warmup - 1, 1))
    return optax.join_schedules([ramp, after], [warmup])
