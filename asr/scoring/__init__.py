"""Word error rates, their intervals, and where the errors are."""
