"""Values that move between layers, and what can be asked of them: no input, no output."""
