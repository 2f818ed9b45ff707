"""Measurements: evaluation sets, speed, and the tables made from them."""
