"""Readers, compositions and batches."""
