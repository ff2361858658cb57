"""Machinery under the backends. Nothing here is a public promise."""
