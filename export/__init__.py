"""Export: weights -> ONNX graphs with the tensors of the serving contract."""
