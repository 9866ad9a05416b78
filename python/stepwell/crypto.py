"""Values encrypted before they are stored: `Engine(codec=Keyring({"2026": key}, write="2026"))`.

Needs the package `cryptography` (`pip install stepwell[crypto]`). Keys are yours to keep: whoever
loses one loses what was written with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from ._errors import InvalidConfig

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
except ImportError as error:
    raise ImportError(
        "stepwell.crypto needs the package cryptography: pip install 'stepwell[crypto]'"
    ) from error

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_VERSION: Final = b"\x01"


class Keyring:
    """A codec that encrypts with AES-256-GCM-SIV and knows several keys: one to write, all to read.

    To rotate, add a key, and let it write once every engine that reads the store has it. Old keys
    are needed as long as anything is kept that was written with them. What was changed, or moved to
    another place in the store, is not decrypted.

    Args:
        keys: Keys of 32 random bytes (`secrets.token_bytes(32)`) by id: 1 to 64 characters, stored
            beside each value.
        write: Id of the key that encrypts; may be left out where there is only one.

    Raises:
        InvalidConfig: There is no key, one is not 32 bytes, an id is malformed, or `write` is none
            of them.
    """

    def __init__(self, keys: Mapping[str, bytes], *, write: str | None = None) -> None:
        if not isinstance(keys, Mapping) or not keys:
            raise InvalidConfig("keys is no mapping of ids to keys; give at least one.")
        for id, key in keys.items():
            if not isinstance(id, str) or not 1 <= len(id) <= 64 or not id.isprintable():
                raise InvalidConfig(f"key id {id!r:.120} is not valid: 1 to 64 characters.")
            if not isinstance(key, bytes) or len(key) != KEY_BYTES:
                raise InvalidConfig(
                    f"key {id!r} is not {KEY_BYTES} bytes; make one with secrets.token_bytes(32)."
                )
        if write is None and len(keys) > 1:
            raise InvalidConfig("there are several keys; say which one is to write.")
        write = next(iter(keys)) if write is None else write
        if write not in keys:
            raise InvalidConfig(f"write is {write!r:.120}, which is none of the keys.")
        self._ciphers = {id: AESGCMSIV(key) for id, key in keys.items()}
        self._write = write

    def __repr__(self) -> str:
        return f"<Keyring of {', '.join(map(repr, self._ciphers))}, writes {self._write!r}>"

    def encode(self, data: bytes, place: bytes, /) -> bytes:
        """Returns these bytes, encrypted for this place: version, key id, nonce, ciphertext."""
        id = self._write.encode()
        head = _VERSION + bytes([len(id)]) + id
        nonce = os.urandom(_NONCE_BYTES)
        return head + nonce + self._ciphers[self._write].encrypt(nonce, data, head + place)

    def decode(self, data: bytes, place: bytes, /) -> bytes:
        """Returns what was encrypted.

        Raises:
            ValueError: The key is not there, or this was not encrypted for this place with it.
        """
        if data[:1] != _VERSION or len(data) < 2:
            raise ValueError("it was not encrypted by a Keyring of this version")
        end = 2 + data[1]
        try:
            id = data[2:end].decode()
        except UnicodeDecodeError:
            raise ValueError("it is damaged") from None
        cipher = self._ciphers.get(id)
        if cipher is None:
            raise ValueError(f"key {id!r} is not in the keyring; add it to read this again")
        nonce, sealed = data[end : end + _NONCE_BYTES], data[end + _NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, sealed, data[:end] + place)
        except (InvalidTag, ValueError):
            raise ValueError(f"it was changed, or belongs somewhere else (key {id!r})") from None
