"""The page at `/`: transcribe a file or a microphone in a browser, listen, correct, download."""
