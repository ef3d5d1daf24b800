"""The Gated PixelCNN over grids of codes: one file each for a layer, the network, and how samples are drawn."""

from mtvae_jax.models.pixelcnn.network import GatedPixelCNN

__all__ = ["GatedPixelCNN"]
