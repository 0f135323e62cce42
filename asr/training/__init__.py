"""From a model with random weights to one that recognizes."""
