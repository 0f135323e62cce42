"""Samples -> features -> emissions, and the file that holds a model."""
