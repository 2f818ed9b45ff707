"""Parsing R-CNN Serving: the vocabulary that training, export, server and clients share."""

__version__ = "0.1.0"
