"""Prints version and place of the packages that belong to the base image, one a line.

torch, TransformerEngine, flash-attn and numpy are compiled against one another: what the base ships
has to come out of the build as it went in. NGC has to ship all of them.
"""

import os
import sys
from importlib.metadata import PackageNotFoundError, distribution

PACKAGES = ("torch", "transformer-engine", "flash-attn", "numpy")


def main() -> int:
    """Prints the list; returns 1 if an NGC base lacks one of them."""
    missing = []
    for name in PACKAGES:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            missing.append(name)
        else:
            print(name, found.version, found.locate_file(""))  # noqa: T201 - its output
    if missing and ("torch" in missing or "NVIDIA_PYTORCH_VERSION" in os.environ):
        print(f"the base image has no {', '.join(missing)}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
