"""Weights of others in this network: detectron2's DensePose, torchvision's detectors, Parsing R-CNN's zoo."""
