"""Oriented energy against plain convolutions of SciPy, and closed forms."""

import numpy as np
import pytest
import torch
from scipy import ndimage, special

from pagrepro.errors import DataError
from pagrepro.oriented_energy import blur, derivatives, gaussian_taps, oriented_energy

FORMS = ("blurred_root", "gaussian_squared", "sobel_squared")


def image(height=9, width=11, channels=3, n=2):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, channels, height, width, generator=generator, dtype=torch.float64)


def reference(x, form):
    """(H, W) energy of one image (C, H, W), written with SciPy; "mirror" is torch's "reflect"."""
    offsets = np.arange(-3, 4)
    taps = special.ive(np.abs(offsets), 1.0)
    gaussian = np.outer(taps, taps) / taps.sum() ** 2
    u, v = np.meshgrid([-1, 0, 1], [-1, 0, 1])
    derivative = np.where(u == 0, 0, u / np.maximum(u**2 + v**2, 1))

    def correlate(z, kernel):
        return ndimage.correlate(z, kernel, mode="mirror")

    total = np.zeros(x.shape[1:])
    for channel in x:
        if form == "sobel_squared":
            parts = [ndimage.sobel(channel, axis, mode="mirror") for axis in (0, 1)]
        else:
            blurred = correlate(channel, gaussian)
            parts = [correlate(blurred, kernel) for kernel in (derivative, derivative.T)]
        total += sum(part**2 for part in parts)
    return correlate(np.sqrt(total), gaussian) if form == "blurred_root" else total


@pytest.mark.parametrize("form", FORMS)
def test_equals_a_reference_convolution(form):
    x = image()
    found = oriented_energy(x, form)
    assert found.shape == (2, 9, 11)
    for one, energy in zip(x, found):
        np.testing.assert_allclose(energy.numpy(), reference(one.numpy(), form), rtol=1e-10, atol=1e-14)


def test_taps_are_the_discrete_gaussian():
    taps = np.array(gaussian_taps())
    expected = special.ive(np.abs(np.arange(-3, 4)), 1.0)
    np.testing.assert_allclose(taps, expected / expected.sum(), rtol=1e-12)
    assert taps.sum() == pytest.approx(1, abs=1e-15)


def test_a_ramp():
    """Slope a along the width, b along the height: constant derivatives 4 a and 4 b inside of the image."""
    steps = torch.arange(20, dtype=torch.float64)
    x = (0.03 * steps[None, :] - 0.01 * steps[:, None]).expand(1, 3, 20, 20)
    inside = (slice(None), slice(7, 13), slice(7, 13))
    squared = 3 * (0.03**2 + 0.01**2)
    for form, factor in (("sobel_squared", 64), ("gaussian_squared", 16)):
        expected = torch.full((1, 6, 6), factor * squared, dtype=torch.float64)
        torch.testing.assert_close(oriented_energy(x, form)[inside], expected)
    root = torch.full((1, 6, 6), 4 * squared**0.5, dtype=torch.float64)
    torch.testing.assert_close(oriented_energy(x)[inside], root)
    torch.testing.assert_close(blur(x)[0, 0][7:13, 7:13], x[0, 0][7:13, 7:13])
    assert derivatives(x)[0, 0, 0, 10, 10].item() == pytest.approx(0.12)
    # Reflected, the ramp has a kink at the border.
    assert derivatives(x)[0, 0, 0, :, 0].abs().max().item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("form", FORMS)
def test_contrast_offset_and_orientation(form):
    x = image()
    power = 1 if form == "blurred_root" else 2
    torch.testing.assert_close(oriented_energy(0.5 * x + 7, form), 0.5**power * oriented_energy(x, form))
    turned = oriented_energy(x.transpose(2, 3), form).transpose(1, 2)
    torch.testing.assert_close(turned, oriented_energy(x, form))
    flat = torch.full((1, 3, 8, 8), 0.3, dtype=torch.float64)
    assert oriented_energy(flat, form).abs().max() < 1e-12


def test_wrong_inputs_are_refused():
    with pytest.raises(DataError, match="at least 4 x 4"):
        oriented_energy(torch.zeros(2, 1, 3, 8))
    with pytest.raises(DataError, match="images"):
        oriented_energy(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="sobel_squared"):
        oriented_energy(torch.zeros(1, 1, 8, 8), "canny")
