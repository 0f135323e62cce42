"""Training and fine-tuning of acoustic models."""
