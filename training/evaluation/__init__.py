"""`parsing-rcnn evaluate`: held-out pictures and published datasets, metrics, report, plots, sheets."""
