"""The backends: one module each, loaded when first used."""
