"""The largest memory of this process so far."""

import resource

import torch


def peak_memory_mb() -> float:
    """Returns MiB: on the GPU if there is one, otherwise of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
