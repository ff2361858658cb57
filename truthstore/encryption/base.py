"""Options of encryption, and what hands out the keys."""

from __future__ import annotations

import base64
import importlib
import secrets
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from truthstore.errors import StoreConfigError, one_of

__all__ = ["EncryptionConfig", "KeyProvider", "Rotation", "WrappedKey", "generate_key"]

KEY_BYTES: Final = 32
ALGORITHMS: Final = ("aes-256-gcm", "chacha20-poly1305")
INDEXES: Final = ("plain", "hashed")
TEXTS: Final = ("refused", "hashed")


class WrappedKey(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A data key, encrypted with a key of a provider.

    Attributes:
        key_id: names the key that encrypted it; no secret.
        data: what the provider made of it.
    """

    key_id: str
    data: bytes


@runtime_checkable
class KeyProvider(Protocol):
    """Has the keys that encrypt the data keys of a store, or asks a service that has them."""

    def wrap(self, key: bytes) -> WrappedKey:
        """Encrypt a data key of 32 bytes with the newest key."""
        ...

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Return the data key.

        Raises:
            StoreConfigError: the key that encrypted it is not at hand; the message names it.
            StoreCorruptError: it is damaged.
            StoreConnectionError: the service cannot be reached.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionConfig:
    """How records are encrypted.

    Attributes:
        algorithm: ``aes-256-gcm`` or ``chacha20-poly1305``, for what is written; both are read.
        index: ``plain``: fields and tags are indexed as they are; ``hashed``: strings among them by keyed hashes, but for
            states such as ``failure``.
        text: ``refused``: queries for words raise; ``hashed``: they are answered from keyed hashes of the words.
        allow_plain: read what was stored before there was encryption; `rotate` encrypts it.

    Raises:
        StoreConfigError: an unknown algorithm or index.
    """

    algorithm: str = "aes-256-gcm"
    index: str = "plain"
    text: str = "refused"
    allow_plain: bool = False

    def __post_init__(self) -> None:
        for name, known in (("algorithm", ALGORITHMS), ("index", INDEXES), ("text", TEXTS)):
            if getattr(self, name) not in known:
                raise StoreConfigError(one_of(name, getattr(self, name), known))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What `EncryptedStore.rotate` has done.

    Attributes:
        key_id: the data key that encrypts now.
        rewritten: records that were encrypted with it.
        unfinished: collections that hold records under older keys: call `rotate` again, or for these collections.
    """

    key_id: str
    rewritten: int
    unfinished: tuple[str, ...] = ()


def generate_key() -> str:
    """Make a key of 256 random bits, as text."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def library(name: str, remedy: str = "truthstore[encryption]") -> Any:
    """Return a module that not everybody has.

    Raises:
        StoreConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StoreConfigError(f"encryption needs {name}: pip install '{remedy}'") from error
