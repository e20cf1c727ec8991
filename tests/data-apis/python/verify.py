"""The caller of a request, as the gateway established it. pip install "pyjwt[crypto]>=2.15" """
import os
import sys

import jwt

ISSUER = os.environ["IDENTITY_ISSUER"]
CLUSTER = os.environ["CLUSTER"]
# Fetched when it is older than `lifespan` seconds, and when a token names a key that is not in it, but then once in
# `cooldown_duration` seconds, which is 30 otherwise.
KEYS = jwt.PyJWKClient(os.environ["IDENTITY_JWKS_URL"], lifespan=120, cooldown_duration=5, timeout=5)


def verify(token: str) -> dict:
    """The claims of a good `x-portcullis-identity`; raises jwt.PyJWTError for every other."""
    if jwt.get_unverified_header(token).get("typ") != "portcullis-identity+jwt":
        raise jwt.InvalidTokenError("not an identity token")
    claims = jwt.decode(
        token,
        KEYS.get_signing_key_from_jwt(token).key,
        algorithms=["EdDSA"],
        issuer=ISSUER,
        audience=CLUSTER,
        leeway=5,
        options={"require": ["exp", "iat", "iss", "aud", "sub", "tenant", "source_type"]},
    )
    if claims["exp"] - claims["iat"] > 60:
        raise jwt.InvalidTokenError("lives longer than an identity token may")
    return claims


if __name__ == "__main__":
    for line in sys.stdin:
        try:
            claims = verify(line.strip())
            print(claims["sub"], claims["tenant"], claims["source_type"], flush=True)
        except jwt.PyJWTError as error:
            print("refused:", error, flush=True)
