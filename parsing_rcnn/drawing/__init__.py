"""What pictures of people are drawn with; `parsing_rcnn.draw` is the way in."""
