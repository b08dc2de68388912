r"""Which dimensions of a code carry anything of the data:  A_d = Var over n of E_q[z_nd | x_n]."""

import numpy as np
import xarray as xr

__all__ = ["ACTIVE", "active_units"]

ACTIVE = 0.01
"""Of the prior's variance, from which on a unit counts as active."""
FEWEST = 20
"""Data that a variance over data is taken of."""


def active_units(posterior: xr.Dataset, prior: xr.Dataset, plate: str | None) -> xr.Dataset:
    r"""A_d over the prior's variance, for every dimension of every continuous latent inside the data plate.

    .. math:: A_d = \frac{\operatorname{Var}_n(E_q[z_{nd} \mid x_n])}{\operatorname{Var}_p(z_d)}

    which is near 0 where the guide gives every datum the same code (posterior collapse), and near 1 where it tells
    them apart. The variance of the mean over S draws is taken off, so that a collapsed unit has 0 but for noise.

    Args:
        posterior: draws of a guide, over (chain, draw, ...).
        prior: draws of the prior, likewise.
        plate: the data plate.

    Returns:
        A variable for each such latent, over what its dimensions are without the data. Empty where there are fewer
        than 20 data.

    Reference: Y. Burda, R. Grosse, R. Salakhutdinov (2016), Importance weighted autoencoders, appendix C, ICLR.
    https://arxiv.org/abs/1509.00519
    """
    if posterior.sizes.get(plate, 0) < FEWEST:
        return xr.Dataset()
    local = {str(n): z for n, z in posterior.items() if plate in z.dims and np.issubdtype(z.dtype, np.floating)}
    draws = ("chain", "draw")

    def active(name: str, z: xr.DataArray) -> xr.DataArray:
        noise = z.var(draws).mean(plate) / z.sizes["draw"]
        return (z.mean(draws).var(plate, ddof=1) - noise) / prior[name].var((*draws, plate))

    return xr.Dataset({name: active(name, z) for name, z in local.items() if name in prior}).assign_attrs(active=ACTIVE)
