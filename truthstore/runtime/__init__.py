"""Mechanisms under everything else: forks, parallel calls, the circuit breaker."""
