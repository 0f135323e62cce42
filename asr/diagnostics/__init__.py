"""Speed, memory and what is installed."""
