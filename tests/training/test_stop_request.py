import signal
from collections.abc import Iterator

import pytest

from minilingua.training.stop_request import SIGNALS, StopRequest


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_remembered(number: signal.Signals) -> None:
    stop = StopRequest()
    stop.listen()
    assert not stop.requested()
    signal.raise_signal(number)
    assert stop.requested()
