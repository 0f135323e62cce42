"""Transcription on a Ray cluster; no other package depends on Ray."""
