"""The network: plain modules composed by constructor arguments."""
