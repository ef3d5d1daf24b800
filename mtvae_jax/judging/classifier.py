"""A small convolutional classifier, whose last hidden layer describes images to the metrics of generation."""

from flax import linen as nn

from mtvae_jax.models.layers import Conv, NormActivation


class Classifier(nn.Module):
    """Convolutions of stride 2, a fully connected layer of features, and one of logits.

    Each layer but the last is followed by batch normalisation and LeakyReLU, so that no feature outweighs the others
    by its scale alone. The number of parameters depends on the size of the images that it is made for.

    **Arguments:** `num_classes`; `widths`: channels of the convolutions; `num_features`: F.
    """

    num_classes: int
    widths: tuple[int, ...] = (32, 64, 128)
    num_features: int = 128
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, train=False):
        """Classifies images.

        **Arguments:** `images`: float [B, H, W, C] in [0, 1]; `train`: normalise by the batch's own statistics.

        **Returns:** (features float [B, F], logits float [B, `num_classes`]).
        """
        x = images - 0.5
        for layer, width in enumerate(self.widths):
            x = Conv(width, stride=2, use_bias=False, name=f"conv_{layer}")(x)
            x = self._norm_activation(f"norm_{layer}")(x, train)
        x = x.reshape(len(x), -1)
        x = nn.Dense(self.num_features, use_bias=False, name="features")(x)
        features = self._norm_activation("norm_features")(x, train)
        return features, nn.Dense(self.num_classes, name="logits")(features)

    def _norm_activation(self, name):
        return NormActivation(axis_name=self.axis_name, name=name)
