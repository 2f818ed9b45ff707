"""The parity report: the answers of every runtime are compared with those of every other."""
