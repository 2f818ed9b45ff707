"""`parsing-rcnn predict`: many pictures in, their files out."""
