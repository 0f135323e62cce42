"""What needs more than one machine; the rest of the package does not know it."""
