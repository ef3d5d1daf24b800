"""Every formula against float64 numpy, scipy, or what its gradient must reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from mtvae_jax import losses

RNG = np.random.default_rng(3)


def test_mean_squared_error_is_the_mean_over_pixels_and_channels():
    x, y = RNG.uniform(size=(2, 4, 5, 6, 3))
    expected = [np.sum((a - b) ** 2) / (5 * 6 * 3) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(losses.mean_squared_error(jnp.asarray(x), jnp.asarray(y)), expected, rtol=1e-5)


def test_mean_squared_error_of_bfloat16_is_summed_in_float32():
    x = jnp.zeros((1, 64, 64, 1), jnp.bfloat16)
    y = jnp.full((1, 64, 64, 1), 0.1, jnp.bfloat16)
    assert losses.mean_squared_error(x, y).dtype == jnp.float32
    np.testing.assert_allclose(losses.mean_squared_error(x, y), float(jnp.bfloat16(0.1)) ** 2, rtol=1e-5)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.3, 0.4), (-2.0, 2.5)])
def test_gaussian_kl_is_the_integral(mean, std):
    p, q = stats.norm(mean, std), stats.norm(0, 1)
    expected, _ = integrate.quad(lambda z: p.pdf(z) * (p.logpdf(z) - q.logpdf(z)), mean - 12 * std, mean + 12 * std)
    one = losses.gaussian_kl(jnp.array([[mean]]), jnp.array([[2 * np.log(std)]]))
    np.testing.assert_allclose(one, [expected], rtol=1e-5, atol=1e-6)
    # Summed over dimensions, not averaged.
    three = losses.gaussian_kl(jnp.full((2, 3), mean), jnp.full((2, 3), 2 * np.log(std)))
    np.testing.assert_allclose(three, [3 * expected] * 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 7, 5), (2, 5)])
def test_vq_losses_are_means_over_positions_of_squared_norms(shape):
    z_e, z_q = RNG.normal(size=(2, *shape))
    norms = ((z_e - z_q) ** 2).sum(-1).reshape(2, -1)
    for loss in (losses.codebook_loss, losses.commitment_loss):
        np.testing.assert_allclose(loss(jnp.asarray(z_e), jnp.asarray(z_q)), norms.mean(1), rtol=1e-5)


def test_vq_losses_do_not_depend_on_the_batch_size():
    z_e, z_q = jnp.asarray(RNG.normal(size=(2, 1, 3, 3, 4)))
    doubled = losses.codebook_loss(jnp.tile(z_e, (8, 1, 1, 1)), jnp.tile(z_q, (8, 1, 1, 1)))
    np.testing.assert_allclose(doubled, jnp.repeat(losses.codebook_loss(z_e, z_q), 8), rtol=1e-6)


def test_each_vq_gradient_reaches_its_own_side_alone():
    z_e, z_q = jnp.asarray(RNG.normal(size=(2, 2, 3, 4)))

    def gradients(loss):
        return jax.grad(lambda e, q: loss(e, q).sum(), argnums=(0, 1))(z_e, z_q)

    to_encoder, to_codes = gradients(losses.codebook_loss)
    assert not to_encoder.any()
    np.testing.assert_allclose(to_codes, 2 * (z_q - z_e) / 3, rtol=1e-5)
    to_encoder, to_codes = gradients(losses.commitment_loss)
    assert not to_codes.any()
    np.testing.assert_allclose(to_encoder, 2 * (z_e - z_q) / 3, rtol=1e-5)


def test_straight_through_shows_the_code_and_passes_the_gradient_to_the_encoder():
    z_e, z_q, weight = jnp.asarray(RNG.normal(size=(3, 2, 5)))
    z_e *= 1e4  # so far from the codes that z_e + (z_q − z_e) has lost their last digits
    np.testing.assert_array_equal(losses.straight_through(z_e, z_q), z_q)
    to_encoder, to_codes = jax.grad(
        lambda e, q: (weight * losses.straight_through(e, q)).sum(), argnums=(0, 1)
    )(z_e, z_q)
    np.testing.assert_array_equal(to_encoder, weight)
    assert not to_codes.any()


def test_beta_makes_the_loss_the_negative_elbo():
    x, x_hat = RNG.uniform(size=(2, 1, 4, 4, 1))
    variance, kl, size = 0.03, 5.0, 16
    log_likelihood = stats.norm(x_hat, np.sqrt(variance)).logpdf(x).sum()
    beta = losses.beta_for_variance(variance, size)
    loss = float(losses.mean_squared_error(jnp.asarray(x), jnp.asarray(x_hat))[0]) + beta * kl
    constant = size / 2 * np.log(2 * np.pi * variance)
    assert size / (2 * variance) * loss + constant == pytest.approx(-log_likelihood + kl, rel=1e-5)
    assert losses.variance_for_beta(beta, size) == pytest.approx(variance)


def test_bits_per_dim_is_the_negative_elbo_at_the_best_variance():
    mse, kl, size = 0.004, 20.0, 784
    variances = np.geomspace(1e-4, 1e-1, 20001)
    nats = size / 2 * (np.log(2 * np.pi * variances) + mse / variances) + kl
    expected = nats.min() / size / np.log(2) + np.log2(255)
    assert variances[nats.argmin()] == pytest.approx(mse, rel=1e-3)
    assert float(losses.bits_per_dim(mse, kl, size)) == pytest.approx(expected, rel=1e-5)


def test_bits_per_dim_of_the_published_vq_vae():
    # MSE 0.056 × variance 0.0632704 and 64 codes of 9 bits for 3072 values: about 6.16 bits per value.
    assert float(losses.bits_per_dim(0.056 * 0.0632704, 64 * 9 * np.log(2), 3072)) == pytest.approx(6.16, abs=0.01)
