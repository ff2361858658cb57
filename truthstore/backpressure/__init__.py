"""A store that is asked no faster than it answers: adaptive concurrency, a rate, signals of overload and a circuit breaker."""

from truthstore.backpressure.base import BackpressureConfig
from truthstore.backpressure.store import BackpressureStore
from truthstore.runtime.circuit import CircuitBreaker, CircuitConfig, CircuitState

__all__ = ["BackpressureConfig", "BackpressureStore", "CircuitBreaker", "CircuitConfig", "CircuitState"]
