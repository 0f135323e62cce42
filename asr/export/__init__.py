"""Trained models -> ONNX files that run without PyTorch."""
