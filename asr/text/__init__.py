"""Text normalization, and the tokenizers that convert text to token ids and back."""
