"""The compiler from queries to SQL."""
