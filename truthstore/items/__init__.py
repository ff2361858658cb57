"""The items of this library: validation results and expectation suites."""
