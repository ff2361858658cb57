"""Records encrypted with AES-256-GCM or ChaCha20-Poly1305, and where the keys come from."""

from truthstore.encryption.aws import AwsKmsKeys
from truthstore.encryption.azure import AzureKeyVaultKeys
from truthstore.encryption.base import EncryptionConfig, KeyProvider, Rotation, WrappedKey, generate_key
from truthstore.encryption.google import GoogleKmsKeys
from truthstore.encryption.local import EnvironmentKeys, MemoryKeys
from truthstore.encryption.passphrase import PassphraseKeys
from truthstore.encryption.store import EncryptedStore

__all__ = [
    "AwsKmsKeys",
    "AzureKeyVaultKeys",
    "EncryptedStore",
    "EncryptionConfig",
    "EnvironmentKeys",
    "GoogleKmsKeys",
    "KeyProvider",
    "MemoryKeys",
    "PassphraseKeys",
    "Rotation",
    "WrappedKey",
    "generate_key",
]
