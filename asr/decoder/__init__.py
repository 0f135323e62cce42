"""From emissions to text: greedy, prefix beam search, n-gram, hotwords, forced alignment."""
