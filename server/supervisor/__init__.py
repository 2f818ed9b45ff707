"""`parsing-rcnn triton`: a tritonserver found, started, watched, and ended."""
