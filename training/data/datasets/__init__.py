"""Readers of the datasets of the paper, in the layouts in which they are published."""
