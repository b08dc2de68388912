"""Generative models p(x, z): Pyro programs and their closed forms."""

from .auxiliary_vae import AuxiliaryVAE
from .bayesian_mixture import BayesianMixture
from .ellipse import Ellipse
from .factor_analysis import FactorAnalysis
from .gaussian_mixture import GaussianMixture
from .grey_bernoulli import GreyBernoulli
from .horn import Horn
from .kind_and_code_vae import KindAndCodeVAE
from .kmeans import KMeans
from .mixture_density import MixtureDensity
from .semi_supervised_vae import SemiSupervisedVAE
from .sparse_coding import SparseCoding
from .vae import VAE

__all__ = [
    "VAE",
    "AuxiliaryVAE",
    "BayesianMixture",
    "Ellipse",
    "FactorAnalysis",
    "GaussianMixture",
    "GreyBernoulli",
    "Horn",
    "KMeans",
    "KindAndCodeVAE",
    "MixtureDensity",
    "SemiSupervisedVAE",
    "SparseCoding",
]
