"""Variational autoencoders for recommendation: learn tastes, rank items, score everyone.

Importing the package is cheap: it pulls in neither MLflow nor Spark nor plotting.
"""

__version__ = "0.1.0"
