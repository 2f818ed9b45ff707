"""TensorRT engines of a model repository: graphs as its parser takes them, shapes, builder, runtime."""
