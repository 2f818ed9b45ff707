"""`python -m parsing_rcnn` is `parsing-rcnn`."""

from parsing_rcnn.cli import main

main()
