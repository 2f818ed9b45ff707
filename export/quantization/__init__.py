"""INT8: calibration on photos, Q/DQ pairs, what it costs, and whether it ships."""
