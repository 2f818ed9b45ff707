"""The parity report: every runtime's answers held against every other's."""
