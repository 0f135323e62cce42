"""A recipe from its corpus to its score."""
