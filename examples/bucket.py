"""Large values in an object store that speaks S3: put, get and delete, signed, with nothing but the
standard library.

    engine = Engine("orders.db", payloads=Bucket("https://s3.eu-west-1.amazonaws.com/orders", …))
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from stepwell.payloads import Payloads

SECONDS = 30


class Bucket(Payloads):
    """One bucket, or a folder of one.

    Args:
        url: Of the bucket, as its path: `https://host/bucket/folder`.
        key_id: Of the access key.
        secret: Of the access key.
        region: Where the bucket is.
    """

    def __init__(self, url: str, key_id: str, secret: str, region: str = "us-east-1") -> None:
        parts = urlsplit(url)
        self._connect = {"https": http.client.HTTPSConnection, "http": http.client.HTTPConnection}[
            parts.scheme
        ]
        self._host = parts.netloc
        self._path = parts.path.rstrip("/")
        self._key_id = key_id
        self._secret = secret
        self._region = region

    def __repr__(self) -> str:
        return f"Bucket({self._host}{self._path})"

    def put(self, key: str, data: bytes, /) -> None:
        """An object is there as a whole or not at all, and is durable when the answer comes."""
        self._ask("PUT", key, data)

    def get(self, key: str, /) -> bytes:
        """Returns the object."""
        return self._ask("GET", key)

    def delete(self, keys: Sequence[str], /) -> None:
        """One by one; an object that is not there is no error."""
        for key in keys:
            self._ask("DELETE", key)

    def _ask(self, method: str, key: str, data: bytes = b"") -> bytes:
        path = quote(f"{self._path}/{key}")
        headers = self.signed(method, path, data, datetime.now(UTC))
        connection = self._connect(self._host, timeout=SECONDS)
        try:
            connection.request(method, path, data, dict(headers))
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status == 404 and method == "GET":
            raise KeyError(key)
        if answer.status == 404 and method == "DELETE":
            return b""
        if answer.status >= 300:
            raise OSError(f"{method} {key}: {answer.status} {answer.reason} {body[:200]!r}")
        return body

    def signed(
        self, method: str, path: str, data: bytes, at: datetime, more: Mapping[str, str] = {}
    ) -> Mapping[str, str]:
        """Returns the headers of a request, signed as AWS does it (version 4)."""
        digest = hashlib.sha256(data).hexdigest()
        moment = f"{at:%Y%m%dT%H%M%SZ}"
        headers = {
            "host": self._host,
            "x-amz-content-sha256": digest,
            "x-amz-date": moment,
            **more,
        }
        names = sorted(headers)
        lines = [method, path, "", *(f"{it}:{headers[it]}" for it in names), ""]
        request = "\n".join([*lines, ";".join(names), digest])
        scope = f"{moment[:8]}/{self._region}/s3/aws4_request"
        hashed = hashlib.sha256(request.encode()).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashed])
        key = f"AWS4{self._secret}".encode()
        for part in [*scope.split("/"), text]:
            key = hmac.digest(key, part.encode(), "sha256")
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._key_id}/{scope},"
            f"SignedHeaders={';'.join(names)},Signature={key.hex()}"
        )
        return headers
