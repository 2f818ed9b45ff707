"""The parts of `parsing_rcnn.draw`, which is the public module for pictures of people."""
