"""Container images: built from one recipe, pinned to a base, and known by their digests.

containers/ + the checkout ─► context ─► docker image (docker-py) ─┬─► containers/image.lock
                                 └─────► SIF (spython) ────────────┘
"""
