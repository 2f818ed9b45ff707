"""Engines behind the gateway: embedded, and Triton."""
