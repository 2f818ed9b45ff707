"""From maps over people's boxes to pixels of the picture, and to whom each pixel belongs."""
