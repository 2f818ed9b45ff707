"""Training: data + model -> weights (torch)."""
