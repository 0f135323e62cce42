"""Exported models, computed by ONNX Runtime; nothing here needs PyTorch."""
