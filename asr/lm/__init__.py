"""Language models as automata that score words: n-grams."""
