"""What pyproject.toml cannot say: the folder configs/ lies in the wheel as a part of the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mtvae_jax*"]), "mtvae_jax.shipped_configs"],
    package_dir={"mtvae_jax.shipped_configs": "configs"},
)
