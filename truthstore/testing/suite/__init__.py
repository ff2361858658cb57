"""The conformance suites, by topic."""
