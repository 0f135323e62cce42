"""Train, run and score your own speech recogniser."""

__version__ = "0.1.0"
