"""Word error rates, their confidence intervals, and error analysis."""
