"""Being asked to stop: SIGTERM (a job's time is up) and SIGUSR1 (it soon will be).

The worker listens before it loads anything heavy, and looks at start-up, after every step and after
every micro batch of an evaluation.
"""

import signal
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@dataclass(slots=True)
class StopRequest:
    """Remembers that a stop was asked for; whoever works looks at it when it suits."""

    _asked: bool = False

    def listen(self) -> None:
        """Takes the signals over for the rest of the process."""
        for number in SIGNALS:
            signal.signal(number, self._note)

    def requested(self) -> bool:
        """Tells whether any rank was asked. All ranks call it at the same points."""
        import torch
        from torch import distributed

        if not distributed.is_initialized() or distributed.get_world_size() == 1:
            return self._asked
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        flag = torch.tensor(int(self._asked), device=device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag)

    def noticed(self) -> bool:
        """Tells whether this process was asked, before it has met the others."""
        return self._asked

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._asked = True
