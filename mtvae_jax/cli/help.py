"""What `launch.py --help` says: how it is called, and every setting with its value, its meaning and what it may be."""

import textwrap

USAGE = """\
usage: python launch.py --config=FILE[:DATASET] [--config.SECTION.FIELD=VALUE …]
                        [--workdir=DIR]
       python launch.py --workdir=DIR [--config.SECTION.FIELD=VALUE …]
       mtvae …          the same, where the package is installed

  --config=configs/gauss_multi.py
                        what to train; see configs/, of which the bare name,
                        gauss_multi, is enough everywhere
  --config=configs/gauss_multi.py:cifar10
                        on which images: mnist (the default), fashion_mnist,
                        cifar10, celeb_a, mnist_sample; or of your own
                        folder:PATH, npz:PATH, npy:PATH
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


def help_text(config, settings, sections):
    """Describes every setting. **Arguments:** `config`: whose values are shown; `settings`: its table, dotted name →
    `Setting`; `sections`: name → what it is about. **Returns:** text for a terminal.
    """
    lines = [USAGE.rstrip("\n")]
    for section in ("", *sections):
        names = [name for name in settings if name.rpartition(".")[0] == section]
        lines += ["", f"--config.{section}.FIELD=VALUE: {sections[section]}" if section else "--config.FIELD=VALUE"]
        lines += _table(names, settings, config)
    return "\n".join(lines) + "\n"


def _table(names, settings, config):
    """Yields a line a field, or more: name, value, meaning."""
    values = [_text(config[name]) for name in names]
    fields = [name.rpartition(".")[2] for name in names]
    before_value = 2 + max(map(len, fields)) + 2
    widest = max((len(value) for value in values if len(value) <= _WIDEST_VALUE), default=0)
    margin = before_value + widest + 2
    for name, field, value in zip(names, fields, values, strict=True):
        rule = settings[name].rule
        meaning = settings[name].meaning + ("" if rule.type is bool else f" ({rule.text})")
        first = f"  {field}".ljust(before_value) + value
        if len(value) > widest:
            yield from textwrap.wrap(first, WIDTH, subsequent_indent=" " * before_value)
            first = ""
        yield from textwrap.wrap(meaning, WIDTH, initial_indent=first.ljust(margin), subsequent_indent=" " * margin)


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
