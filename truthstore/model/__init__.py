"""Values that move between layers, and queries over them: no input, no output."""
