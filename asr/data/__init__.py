"""Manifests of utterances: import, checks, augmentation, shards and batches for training."""
