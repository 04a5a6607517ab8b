"""Names that AWS takes: each kind has a length, and a cut name must not become another's."""

import hashlib


def fitted(text: str, most: int) -> str:
    """The text itself, or its beginning and a digest of all of it."""
    if len(text) <= most:
        return text
    return f"{text[: most - 7].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
