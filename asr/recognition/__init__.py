"""Recordings -> transcripts: the one road that validation, scoring and transcription share."""
