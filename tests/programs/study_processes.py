"""Trains a run of some ten thousand epochs in a process of its own: study_processes.py CONFIG.json WORKDIR LOGS"""

import json
import sys
from pathlib import Path

from mtvae_jax.config import from_dict
from mtvae_jax.study.processes import in_processes
from mtvae_jax.study.tasks import Task

config, workdir, logs = map(Path, sys.argv[1:])
task = Task("endless", from_dict(json.loads(config.read_text())), workdir)
list(in_processes([task], logs, jobs=1, stop_requested=lambda: False))
