"""Client of Parsing R-CNN Serving."""
