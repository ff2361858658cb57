"""Keys in a file that a passphrase opens, by Argon2id (RFC 9106)."""

from __future__ import annotations

import os
import secrets
from typing import Final, Self

import msgspec

from truthstore.encryption.base import generate_key, library
from truthstore.encryption.local import NONCE, MemoryKeys
from truthstore.errors import StoreConfigError

__all__ = ["PassphraseKeys"]

MOST: Final = {"memory_kib": 4 << 20, "iterations": 100, "lanes": 64}
"""What a file may ask for: a forged one must not take all memory or time."""


class _File(msgspec.Struct, frozen=True, kw_only=True):
    salt: bytes
    memory_kib: int
    iterations: int
    lanes: int
    keys: bytes = b""


class PassphraseKeys(MemoryKeys):
    """Keys in a file, encrypted under a passphrase.

    Args:
        path: the file, made once with `create`.
        passphrase: the passphrase, or
        variable: the environment variable that holds it.

    Raises:
        StoreConfigError: there is no such file, the passphrase does not open it, or it is damaged.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        passphrase: str | None = None,
        *,
        variable: str = "TRUTHSTORE_PASSPHRASE",
    ) -> None:
        self._path = os.fspath(path)
        given = passphrase or os.environ.get(variable)
        if not given:
            raise StoreConfigError(f"{self._path} needs a passphrase: give passphrase=, or set {variable}")
        try:
            with open(self._path, "rb") as file:
                self._file = msgspec.json.decode(file.read(), type=_File)
        except FileNotFoundError as error:
            raise StoreConfigError(f"there is no key file {self._path}: make it with PassphraseKeys.create") from error
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreConfigError(f"the key file {self._path} cannot be read: restore it") from error
        if any(not 0 < getattr(self._file, name) <= most for name, most in MOST.items()):
            raise StoreConfigError(
                f"the key file {self._path} asks for more memory or time than makes sense: restore it"
            )
        self._secret = _derived(given, self._file)
        try:
            keys = _aead(self._secret).decrypt(self._file.keys[:NONCE], self._file.keys[NONCE:], _settings(self._file))
        except (library("cryptography.exceptions").InvalidTag, ValueError) as error:
            raise StoreConfigError(f"the passphrase does not open {self._path}, or the file is damaged") from error
        self._texts = keys.decode().split(",")
        super().__init__(*self._texts)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        passphrase: str,
        *,
        memory_kib: int = 64 << 10,
        iterations: int = 3,
        lanes: int = 4,
    ) -> Self:
        """Make a file with a new key; the numbers are those of Argon2id, by default the second choice of RFC 9106.

        Raises:
            StoreConfigError: there is one already.
        """
        if not passphrase:
            raise ValueError("a passphrase is not empty")
        file = _File(salt=secrets.token_bytes(16), memory_kib=memory_kib, iterations=iterations, lanes=lanes)
        data = _sealed(_derived(passphrase, file), file, [generate_key()])
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise StoreConfigError(f"{os.fspath(path)} exists already: it holds keys that are needed") from error
        _write(descriptor, data)
        return cls(path, passphrase)

    def add_key(self) -> Self:
        """Put a new key before the others, and return the keys that there are then: give these to the store, and `rotate` it."""
        self._texts.insert(0, generate_key())
        beside = f"{self._path}.{secrets.token_hex(4)}"
        _write(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), _sealed(self._secret, self._file, self._texts)
        )
        os.replace(beside, self._path)
        MemoryKeys.__init__(self, *self._texts)
        return self


def _aead(key: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN202  # of an optional library
    return library("cryptography.hazmat.primitives.ciphers.aead").AESGCM(key)


def _derived(passphrase: str, file: _File) -> bytes:
    argon2 = library("cryptography.hazmat.primitives.kdf.argon2")
    kdf = argon2.Argon2id(
        salt=file.salt, length=32, iterations=file.iterations, lanes=file.lanes, memory_cost=file.memory_kib
    )
    key: bytes = kdf.derive(passphrase.encode())
    return key


def _settings(file: _File) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(file, keys=b""))


def _sealed(secret: bytes, file: _File, keys: list[str]) -> bytes:
    nonce = secrets.token_bytes(NONCE)
    sealed = nonce + _aead(secret).encrypt(nonce, ",".join(keys).encode(), _settings(file))
    return msgspec.json.encode(msgspec.structs.replace(file, keys=sealed))


def _write(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
