"""How grey values resemble their neighbours: the autocorrelation along z, y and x."""

from __future__ import annotations

import numpy as np
import scipy.fft
from jaxtyping import Float


def axis_autocorrelation(power: Float[np.ndarray, "kz ky kx"]) -> Float[np.ndarray, "3 lags"]:
    """Return the autocorrelation along z, y and x at lags of 0 to a quarter of the (shortest) edge, 1 at lag 0.

    Parameters
    ----------
    power : of a volume of mean 0 that was faded out at its faces, in FFT order (`frazil.volume.spectra.volume_power`).

    Notes
    -----
    Power and autocorrelation are a Fourier pair (Wiener-Khinchin). The fading is divided out by the window's own
    autocorrelation; up to a quarter of the edge, what wraps around has next to no weight in it.
    """
    lags = min(power.shape) // 4 + 1
    rows = []
    for axis, edge in enumerate(power.shape):
        others = tuple({0, 1, 2} - {axis})
        faded = scipy.fft.ifft(power.mean(axis=others, dtype=np.float64)).real[:lags]
        window = np.hanning(edge + 2)[1:-1]
        overlap = scipy.fft.ifft(np.square(np.abs(scipy.fft.fft(window)))).real[:lags]
        covariance = faded / overlap
        rows.append(covariance / covariance[0])
    return np.asarray(rows)
