"""Figures that papers report, in plain numpy: semantic IoU; AP of boxes, GPS and keypoints; AP^p, PCP and AP^r."""
