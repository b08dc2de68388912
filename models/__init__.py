"""Generative models p(x, z): Pyro programs and their closed forms."""

from .factor_analysis import FactorAnalysis
from .gaussian_mixture import GaussianMixture
from .grey_bernoulli import GreyBernoulli
from .semi_supervised_vae import SemiSupervisedVAE
from .vae import VAE

__all__ = ["VAE", "FactorAnalysis", "GaussianMixture", "GreyBernoulli", "SemiSupervisedVAE"]
