"""Where keys come from: the program, the environment, a file with a passphrase, AWS (as moto plays it), Google and Azure.

The last two are played by doubles that have the documented calls of the clients, and no more: `create_autospec` refuses any
other call or parameter, the errors are those of the libraries. No server of theirs has been asked.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.encryption.conftest import result
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.encryption import (
    AwsKmsKeys,
    AzureKeyVaultKeys,
    EncryptedStore,
    EnvironmentKeys,
    GoogleKmsKeys,
    KeyProvider,
    MemoryKeys,
    PassphraseKeys,
    WrappedKey,
    generate_key,
)
from truthstore.errors import StoreConfigError, StoreConnectionError, StoreCorruptError, StoreError

QUICK = {"memory_kib": 64, "iterations": 1, "lanes": 1}
DATA_KEY = bytes(range(32))
GOOGLE = "projects/p/locations/global/keyRings/r/cryptoKeys/k"
AZURE = "https://vault.vault.azure.net/keys/k"


class GoogleDouble:
    """Encrypts with a key of its own."""

    def __init__(self) -> None:
        from google.cloud import kms

        self.key = AESGCM(AESGCM.generate_key(256))
        self.down: Exception | None = None
        self.client = create_autospec(kms.KeyManagementServiceClient, instance=True)
        self.client.encrypt.side_effect = self._encrypt
        self.client.decrypt.side_effect = self._decrypt

    def _encrypt(self, *, request: Any) -> Any:
        from google.cloud import kms

        if self.down:
            raise self.down
        asked = kms.EncryptRequest(request)  # refuses unknown members
        nonce = os.urandom(12)
        data = nonce + self.key.encrypt(nonce, asked.plaintext, asked.additional_authenticated_data)
        return kms.EncryptResponse(name=f"{asked.name}/cryptoKeyVersions/1", ciphertext=data)

    def _decrypt(self, *, request: Any) -> Any:
        from cryptography.exceptions import InvalidTag
        from google.api_core.exceptions import InvalidArgument, NotFound
        from google.cloud import kms

        if self.down:
            raise self.down
        asked = kms.DecryptRequest(request)
        if asked.name != GOOGLE:
            raise NotFound(f"{asked.name} not found")
        try:
            data = self.key.decrypt(asked.ciphertext[:12], asked.ciphertext[12:], asked.additional_authenticated_data)
        except (InvalidTag, ValueError):
            raise InvalidArgument("Decryption failed") from None
        return kms.DecryptResponse(plaintext=data)


class AzureDouble:
    """Wraps with an RSA key of its own, of version 1."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.down: Exception | None = None
        self.asked: list[str] = []
        self.padding = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)

    def make_client(self, key_id: str) -> Any:
        from azure.keyvault.keys.crypto import CryptographyClient

        self.asked.append(key_id)
        client = create_autospec(CryptographyClient, instance=True)
        client.wrap_key.side_effect = self._wrap
        client.unwrap_key.side_effect = self._unwrap
        return client

    def _wrap(self, algorithm: Any, key: bytes) -> Any:
        if self.down:
            raise self.down
        assert algorithm == "RSA-OAEP-256"
        return SimpleNamespace(key_id=f"{AZURE}/1", encrypted_key=self.key.public_key().encrypt(key, self.padding))

    def _unwrap(self, algorithm: Any, data: bytes) -> Any:
        from azure.core.exceptions import HttpResponseError

        if self.down:
            raise self.down
        try:
            return SimpleNamespace(key=self.key.decrypt(data, self.padding))
        except ValueError:
            error = HttpResponseError("BadParameter")
            error.status_code = 400
            raise error from None


@pytest.fixture
def aws(monkeypatch):
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client: Any = boto3.client("kms", region_name="eu-central-1")
        yield client, client.create_key()["KeyMetadata"]["Arn"]


@pytest.fixture(params=["memory", "environment", "passphrase", "aws", "google", "azure"])
def provider(request: pytest.FixtureRequest, tmp_path, monkeypatch) -> KeyProvider:
    if request.param == "memory":
        return MemoryKeys(generate_key())
    if request.param == "environment":
        monkeypatch.setenv("TRUTHSTORE_KEYS", f"{generate_key()}, {generate_key()}")
        return EnvironmentKeys()
    if request.param == "passphrase":
        return PassphraseKeys.create(tmp_path / "keys", "open sesame", **QUICK)
    if request.param == "aws":
        client, arn = request.getfixturevalue("aws")
        return AwsKmsKeys(arn, client)
    if request.param == "google":
        return GoogleKmsKeys(GOOGLE, GoogleDouble().client)
    return AzureKeyVaultKeys(AZURE, make_client=AzureDouble().make_client)


def test_a_data_key_comes_back(provider: KeyProvider):
    assert isinstance(provider, KeyProvider)
    wrapped = provider.wrap(DATA_KEY)
    assert provider.unwrap(wrapped) == DATA_KEY
    assert DATA_KEY not in wrapped.data
    data = MemoryData()
    EncryptedStore(MemoryStore(data=data), provider).save(result(1))
    assert EncryptedStore(MemoryStore(data=data), provider).get("run-1") == result(1)


def test_a_damaged_one_does_not(provider: KeyProvider):
    wrapped = provider.wrap(DATA_KEY)
    for data in (wrapped.data[:-1], bytes([wrapped.data[0] ^ 1]) + wrapped.data[1:], b"x"):
        with pytest.raises((StoreCorruptError, StoreConfigError)):
            provider.unwrap(WrappedKey(key_id=wrapped.key_id, data=data))


class TestEnvironment:
    def test_what_is_missing_is_said(self, monkeypatch):
        monkeypatch.delenv("TRUTHSTORE_KEYS", raising=False)
        with pytest.raises(StoreConfigError, match="TRUTHSTORE_KEYS is not set: put a key from generate_key"):
            EnvironmentKeys()
        monkeypatch.setenv("OTHER", "hunter2")
        with pytest.raises(StoreConfigError, match="OTHER: a key is text") as caught:
            EnvironmentKeys("OTHER")
        assert "hunter2" not in str(caught.value)


class TestPassphrase:
    def test_another_process_opens_it(self, tmp_path, monkeypatch):
        path = tmp_path / "keys"
        wrapped = PassphraseKeys.create(path, "open sesame", **QUICK).wrap(DATA_KEY)
        assert PassphraseKeys(path, "open sesame").unwrap(wrapped) == DATA_KEY
        monkeypatch.setenv("TRUTHSTORE_PASSPHRASE", "open sesame")
        assert PassphraseKeys(path).unwrap(wrapped) == DATA_KEY
        assert os.stat(path).st_mode & 0o077 == 0

    def test_what_is_wrong_is_said(self, tmp_path, monkeypatch):
        path = tmp_path / "keys"
        monkeypatch.delenv("TRUTHSTORE_PASSPHRASE", raising=False)
        with pytest.raises(StoreConfigError, match=r"make it with PassphraseKeys\.create"):
            PassphraseKeys(path, "open sesame")
        PassphraseKeys.create(path, "open sesame", **QUICK)
        with pytest.raises(StoreConfigError, match="does not open") as caught:
            PassphraseKeys(path, "hunter2")
        assert "hunter2" not in str(caught.value)
        with pytest.raises(StoreConfigError, match="needs a passphrase"):
            PassphraseKeys(path)
        with pytest.raises(StoreConfigError, match="exists already"):
            PassphraseKeys.create(path, "open sesame", **QUICK)

    def test_a_forged_file_takes_no_memory(self, tmp_path):
        path = tmp_path / "keys"
        PassphraseKeys.create(path, "open sesame", **QUICK)
        path.write_text(path.read_text().replace('"memory_kib":64', '"memory_kib":999999999'))
        with pytest.raises(StoreConfigError, match="more memory or time than makes sense"):
            PassphraseKeys(path, "open sesame")
        path.write_text("{}")
        with pytest.raises(StoreConfigError, match="cannot be read"):
            PassphraseKeys(path, "open sesame")

    def test_a_new_key_goes_before_the_old(self, tmp_path):
        keys = PassphraseKeys.create(tmp_path / "keys", "open sesame", **QUICK)
        old = keys.wrap(DATA_KEY)
        new = keys.add_key().wrap(DATA_KEY)
        assert old.key_id != new.key_id
        again = PassphraseKeys(tmp_path / "keys", "open sesame")
        assert again.unwrap(old) == again.unwrap(new) == DATA_KEY
        assert again.wrap(DATA_KEY).key_id == new.key_id


class TestServices:
    def test_a_key_that_aws_does_not_let_use_is_named(self, aws):
        from botocore.stub import Stubber

        client, arn = aws
        wrapped = AwsKmsKeys(arn, client).wrap(DATA_KEY)
        with pytest.raises(StoreConfigError, match="the key alias/nothing: NotFoundException"):
            AwsKmsKeys("alias/nothing", client).wrap(DATA_KEY)
        kinds: dict[str, type[StoreError]] = {
            "AccessDeniedException": StoreConfigError,
            "InvalidCiphertextException": StoreCorruptError,
            "ThrottlingException": StoreConnectionError,
        }
        for code, kind in kinds.items():
            with Stubber(client) as stub:
                stub.add_client_error("decrypt", code)
                with pytest.raises(kind, match=f"the key {arn}") as caught:
                    AwsKmsKeys(arn, client).unwrap(wrapped)
            assert caught.value.retryable is (kind is StoreConnectionError)

    def test_a_key_of_google(self):
        from google.api_core.exceptions import PermissionDenied, ServiceUnavailable

        double = GoogleDouble()
        keys = GoogleKmsKeys(GOOGLE, double.client)
        wrapped = keys.wrap(DATA_KEY)
        assert wrapped.key_id == GOOGLE
        double.down = PermissionDenied("no")
        with pytest.raises(StoreConfigError, match=f"the key {GOOGLE}"):
            keys.unwrap(wrapped)
        double.down = ServiceUnavailable("later")
        with pytest.raises(StoreConnectionError, match=f"the key {GOOGLE}") as caught:
            keys.unwrap(wrapped)
        assert caught.value.retryable

    def test_a_key_of_azure_is_unwrapped_by_its_version(self):
        from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

        double = AzureDouble()
        keys = AzureKeyVaultKeys(AZURE, make_client=double.make_client)
        wrapped = keys.wrap(DATA_KEY)
        keys.unwrap(wrapped)
        assert double.asked == [AZURE, f"{AZURE}/1"]
        double.down = ClientAuthenticationError("no")
        with pytest.raises(StoreConfigError, match=f"the key {AZURE}/1"):
            keys.unwrap(wrapped)
        double.down = ServiceRequestError("later")
        with pytest.raises(StoreConnectionError) as caught:
            keys.unwrap(wrapped)
        assert caught.value.retryable


@pytest.mark.parametrize(
    "name", ["boto3", "google.cloud.kms", "azure.keyvault.keys.crypto", "cryptography.hazmat.primitives.ciphers.aead"]
)
def test_a_library_that_is_not_installed_is_named(name: str, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    make: Any = {
        "boto3": lambda: AwsKmsKeys("k", region_name="eu-central-1"),
        "google.cloud.kms": lambda: GoogleKmsKeys(GOOGLE),
        "azure.keyvault.keys.crypto": lambda: AzureKeyVaultKeys(AZURE),
    }.get(name, lambda: MemoryKeys(generate_key()))
    with pytest.raises(StoreConfigError, match=r"pip install 'truthstore\["):
        make()
