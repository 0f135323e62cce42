"""Manifests of utterances, and their road to batches."""
