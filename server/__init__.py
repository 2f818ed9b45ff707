"""The gateway: FastAPI in front of an engine that follows `parsing_rcnn.analyzer.Analyzer`."""
