"""Recordings -> transcripts: the code path that validation, scoring and transcription share."""
