"""What SIGTERM does to this very process."""

import os
import signal

import pytest

from container.modeling.stopping import JobStoppedError, deferred_stop


def test_a_deferred_stop_only_asks_and_the_second_ends() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with deferred_stop() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        with pytest.raises(JobStoppedError, match="second time"):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
