"""An issuer with real keys in memory, whom a verifier asks for them and who counts that."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import load_der_private_key

from gatepost.adapters.jose import JwtAccessTokens
from gatepost.adapters.memory import ManualClock
from gatepost.application.ports.security import KeyPair
from gatepost.domain.tokens import TokenPolicy
from gatepost.testing.contracts.security import some_claims

ISSUER = "https://id.example.com"
AUDIENCE = "https://api.example.com"
POLICY = TokenPolicy(issuer=ISSUER, audience=AUDIENCE)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Issuer:
    algorithm: str = "ES256"
    clock: ManualClock = field(default_factory=ManualClock)
    is_down: bool = False
    reads: int = 0
    elapsed: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = JwtAccessTokens(POLICY, self.algorithm, self.clock)
        self.pairs: list[KeyPair] = []
        self.rotate()

    def rotate(self) -> KeyPair:
        """Sign with a new key from now on, and publish the old ones too."""
        pair = self.tokens.new_key()
        self.pairs.append(pair)
        self.tokens.install(self.pairs, pair.kid)
        return pair

    def published(self) -> Any:
        return self.tokens.published()

    def read(self) -> Any:
        self.reads += 1
        if self.is_down:
            raise ConnectionError
        return self.published()

    async def fetch(self) -> Any:
        return self.read()

    def seconds(self) -> float:
        return self.elapsed

    def sign(self) -> str:
        return self.tokens.sign(some_claims(POLICY, self.clock()))

    def members(self) -> dict[str, object]:
        """The claims that a proper token has, to be spoiled."""
        _, payload, _ = self.sign().split(".")
        members: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=="))
        return members

    def forge(self, members: object, header: dict[str, object] | None = None) -> str:
        """Sign whatever is asked for, rightly, with the newest key."""
        pair = self.pairs[-1]
        head = {"alg": self.algorithm, "kid": pair.kid, "typ": "at+jwt"} | (header or {})
        text = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(members).encode())}"
        private = load_der_private_key(pair.private_key, None)
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        return f"{text}.{b64(algorithm.sign(text.encode(), private))}"
