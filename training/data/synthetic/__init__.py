"""Synthetic people with exact parts, IUV and instances."""
