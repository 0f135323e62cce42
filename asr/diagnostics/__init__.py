"""Benchmarks of a model, and a check of the installation."""
