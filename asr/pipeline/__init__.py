"""The stages of a recipe: prepare the corpus, learn the tokenizer, train, tune, score."""
