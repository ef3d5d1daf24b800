"""python -m mtvae_jax.page RUN OUT.html"""

import argparse
import sys
import traceback

from mtvae_jax.errors import UserError, first_line

USAGE = """\
usage: python -m mtvae_jax.page RUN OUT.html

Makes one HTML file of a trained model, which opens from a disk and needs no
server and no network: choose a test image or draw one, reveal pixels, and see
what the model makes of them. The model runs in the browser.

RUN: the work directory of a Gaussian model with revealed pixels (multi_decoder,
single_decoder) and a p(z|m), from config.prior.joint or a second stage. The
images are the first of its test split.

Exit status: 0 done; 2 the command, the run or its data is wrong, and one line
on stderr says how to mend it; 75 stopped by Ctrl-C; 1 anything else.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; see python -m mtvae_jax.page --help")


def main(arguments):
    """Makes a page and returns the exit status."""
    if {"--help", "-h"} & set(arguments):
        print(USAGE, end="")
        return 0
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("run")
    parser.add_argument("out")
    try:
        options = parser.parse_args(arguments)
        size = _make(options.run, options.out)
        print(f"{options.out}: {size / 1e6:.1f} MB")
        return 0
    except UserError as error:
        print(f"page: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("page: stopped", file=sys.stderr)
        return 75
    except Exception:
        traceback.print_exc()
        return 1


def _make(run, out):
    """Writes the page of a run; its size in bytes."""
    # Here, because imports take seconds, and a mistyped option is told before
    from mtvae_jax.page.build import build, images_of
    from mtvae_jax.process import environment
    from mtvae_jax.trained.model import load
    from mtvae_jax.workdir.directory import user_path

    environment.configure()
    out = user_path(out)
    if not out.parent.is_dir() or out.is_dir():
        what = "is a folder" if out.is_dir() else "there is no such folder"
        raise UserError(f"{out}: {what}; give the name of a file in a folder that exists")
    model = load(run)
    images, dataset, provenance = images_of(model.config)
    page = build(model, images, dataset=dataset, provenance=provenance).encode()
    try:
        out.write_bytes(page)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({first_line(error)})") from error
    return len(page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
