"""A bundle on ONNX Runtime: losses, logits and answers."""
