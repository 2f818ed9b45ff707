"""Engines behind the gateway. Now: embedded, the pipeline in this process."""
