"""The conformance suites, by what they ask."""
