"""What the machine gives: processors, memory, BLAS and ONNX Runtime."""
