"""What lies in a folder of runs: a list, a comparison, and what can go. `python -m mtvae_jax.runs --help` teaches it.

It reads the files of a work directory and nothing else, so that it starts at once, also where there is no accelerator:
nothing here imports JAX.
"""
