"""Seeds are derived from one root seed and a path of names; nothing uses a global generator.

Two consumers with different names get independent streams, and adding a consumer changes no
other one's stream.
"""

from hashlib import blake2b

import numpy as np


def derive_seed(root: int, *names: str | int) -> int:
    """Returns a seed in [0, 2**63) that depends on ``root`` and every name, and their order."""
    return int.from_bytes(_digest(root, names, size=8), "little") >> 1


def derive_integer(root: int, *names: str | int) -> int:
    """Returns an integer in [0, 2**512), derived in the same way.

    For the few draws of one small record: ``divmod`` takes one after the other off it, in a tenth
    of the time that building a generator takes.
    """
    return int.from_bytes(_digest(root, names, size=64), "little")


def _digest(root: int, names: tuple[str | int, ...], size: int) -> bytes:
    path = "\x1f".join([str(root), *map(str, names)])
    return blake2b(path.encode(), digest_size=size).digest()


def generator(root: int, *names: str | int) -> np.random.Generator:
    """Returns a NumPy generator (PCG64) on the derived seed."""
    return np.random.Generator(np.random.PCG64(derive_seed(root, *names)))


def hash64(text: str, salt: str = "") -> int:
    """Returns a number in [0, 2**64) that depends on the text alone: the same on every machine."""
    digest = blake2b(text.encode(), digest_size=8, salt=salt.encode()[:16]).digest()
    return int.from_bytes(digest, "big")


def unit_hash(text: str, salt: str = "") -> float:
    """Returns ``hash64`` as a number in [0, 1)."""
    return hash64(text, salt) / 2**64


def content_id(text: str) -> str:
    """Returns 16 hexadecimal digits that identify a text (64-bit BLAKE2b)."""
    return blake2b(text.encode(), digest_size=8).hexdigest()
