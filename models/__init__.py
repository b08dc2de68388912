"""Generative models p(x, z): Pyro programs and their closed forms."""

from .bayesian_mixture import BayesianMixture
from .ellipse import Ellipse
from .factor_analysis import FactorAnalysis
from .gaussian_mixture import GaussianMixture
from .grey_bernoulli import GreyBernoulli
from .horn import Horn
from .kmeans import KMeans
from .mixture_density import MixtureDensity
from .semi_supervised_vae import SemiSupervisedVAE
from .sparse_coding import SparseCoding
from .vae import VAE

__all__ = [
    "VAE",
    "BayesianMixture",
    "Ellipse",
    "FactorAnalysis",
    "GaussianMixture",
    "GreyBernoulli",
    "Horn",
    "KMeans",
    "MixtureDensity",
    "SemiSupervisedVAE",
    "SparseCoding",
]
