"""From maps over people's boxes to pixels of the picture, and who each pixel belongs to."""
