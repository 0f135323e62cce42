"""Texts as they are compared, and the units a model writes."""
