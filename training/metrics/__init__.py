"""Figures that papers report, in plain numpy: semantic IoU, box AP, AP^p and PCP of parsed people."""
