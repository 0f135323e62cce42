"""The server: models by name, for clients of OpenAI's API, Vosk's and Wyoming's protocols."""
