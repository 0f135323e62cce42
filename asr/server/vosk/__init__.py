"""The WebSocket protocol of vosk-server, whose clients work unchanged."""
