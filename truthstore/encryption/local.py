"""Keys that are given: in the program, or in the environment."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets

from truthstore.encryption.base import KEY_BYTES, KeyProvider, WrappedKey, library
from truthstore.errors import StoreConfigError, StoreCorruptError
from truthstore.runtime.recipe import Recipe

__all__ = ["EnvironmentKeys", "MemoryKeys"]

NONCE: int = 12


class MemoryKeys(Recipe, KeyProvider):
    """Keys that the program gives.

    Args:
        keys: each from `generate_key`, or 32 bytes. The first one encrypts, the others are for what they encrypted.

    Raises:
        StoreConfigError: one is no key.
    """

    def __init__(self, *keys: str | bytes) -> None:
        self._keys = {_key_id(key): key for key in map(_key, keys)}
        if not self._keys:
            raise StoreConfigError("no key is given: make one with generate_key() and keep it in a safe place")
        self._aead = library("cryptography.hazmat.primitives.ciphers.aead").AESGCM

    def wrap(self, key: bytes) -> WrappedKey:
        """Encrypt a data key with the first key."""
        key_id, own = next(iter(self._keys.items()))
        nonce = secrets.token_bytes(NONCE)
        return WrappedKey(key_id=key_id, data=nonce + self._aead(own).encrypt(nonce, key, key_id.encode()))

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Return the data key; raise as `KeyProvider.unwrap` does."""
        own = self._keys.get(wrapped.key_id)
        if own is None:
            raise StoreConfigError(
                f"what is stored is encrypted under the key {wrapped.key_id}, and the keys given are "
                f"{', '.join(self._keys)}: give that key too"
            )
        try:
            key: bytes = self._aead(own).decrypt(wrapped.data[:NONCE], wrapped.data[NONCE:], wrapped.key_id.encode())
        except (library("cryptography.exceptions").InvalidTag, ValueError) as error:
            raise StoreCorruptError(f"a data key under the key {wrapped.key_id} is damaged") from error
        return key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._keys)})"


class EnvironmentKeys(MemoryKeys):
    """Keys in an environment variable, separated by commas; the first one encrypts.

    Args:
        variable: its name.

    Raises:
        StoreConfigError: it is not set, or holds no keys.
    """

    def __init__(self, variable: str = "TRUTHSTORE_KEYS") -> None:
        value = os.environ.get(variable)
        if not value:
            raise StoreConfigError(
                f"the environment variable {variable} is not set: put a key from generate_key() there"
            )
        try:
            super().__init__(*filter(None, map(str.strip, value.split(","))))
        except StoreConfigError as error:
            raise StoreConfigError(f"the environment variable {variable}: {error}") from None


def _key(given: str | bytes) -> bytes:
    try:
        key = base64.b64decode(given, altchars=b"-_", validate=True) if isinstance(given, str) else bytes(given)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise StoreConfigError(f"a key is text from generate_key(), or {KEY_BYTES} bytes: this is neither") from None
    return key


def _key_id(key: bytes) -> str:
    """Return the name of a key: of one that is random, a hash says nothing."""
    return hashlib.sha256(b"truthstore key id\0" + key).hexdigest()[:16]
