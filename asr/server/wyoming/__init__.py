"""The protocol of Wyoming, which Home Assistant speaks with its voice services."""
