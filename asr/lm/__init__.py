"""n-gram language models, stored as back-off automata that score words or tokens."""
