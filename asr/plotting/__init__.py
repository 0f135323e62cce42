"""Plots and pictures, drawn with matplotlib."""
