"""What a tracker is, and what keeps a training safe from it: whatever goes wrong ends the tracker, nothing else."""

import logging
import queue
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from container.modeling.optimization.observing import ObservedEpoch
from container.modeling.tracking.keys import hide_keys
from container.report.facts import Metrics

logger = logging.getLogger(__name__)

# Calls that wait for a tracker on the network; one more, and it does not keep up.
MOST_WAITING = 200
# An error of a client on the network can hold a page of HTML.
LONGEST_REASON = 300


@dataclass(frozen=True)
class Results:
    """What came of a training."""

    metrics: Metrics
    folder: Path
    """The files of model.tar.gz."""


class Tracker(Protocol):
    """A place where a training can be followed. Any of its methods may raise anything."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def extra(self) -> str:
        """Names the file `container/requirements-NAME.txt` of its packages; empty: it needs none."""

    @property
    def remedy(self) -> str:
        """What to look at where it does not work."""

    def begin(self) -> None:
        """Open what the epochs go to. Nothing else is called before."""

    def before_steps(self, first: int, count: int) -> None:
        """Take note that training steps come, numbered from 1 over all epochs."""

    def log_epoch(self, epoch: ObservedEpoch) -> None:
        """Show an epoch, by its number."""

    def finish(self, results: Results | None) -> None:
        """Show what came of the training, None where it failed; nothing else is called afterwards, but `abandon`."""

    def abandon(self) -> None:
        """End at once what would hold up the end of the process, whatever is still to be sent."""
        return


class Guard:
    """Calls a tracker. The first error is logged as a warning with the remedy, and ends the tracker.

    The calls are carried out at once: for a tracker that waits for nobody.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._is_off = threading.Event()

    def call(self, action: Callable[[], None]) -> None:
        """Let the tracker do something, if it still works."""
        self._carry_out(action)

    def end(self) -> None:
        """End the tracker, once it has done all."""
        self._is_off.set()

    @property
    def is_over(self) -> bool:
        """Whether the tracker has done all that it will."""
        return self._is_off.is_set()

    def give_up(self, seconds: float) -> None:
        """End what is left of the tracker after it was waited for so many seconds."""

    def switch_off(self, reason: str, remedy: str) -> None:
        """End the tracker, and say so once."""
        if not self._is_off.is_set():
            self._is_off.set()
            shown = textwrap.shorten(hide_keys(reason), LONGEST_REASON, placeholder=" ...")
            logger.warning("%s is switched off, and training goes on: %s; %s", self.tracker.name, shown, remedy)

    def _carry_out(self, action: Callable[[], None]) -> None:
        if self._is_off.is_set():
            return
        try:
            action()
        except ImportError as error:
            self.switch_off(str(error), _how_to_install(self.tracker.extra))
        # A tracker's clients raise whatever they like.
        except Exception as error:
            self.switch_off(f"{type(error).__name__}: {error}", self.tracker.remedy)


class BackgroundGuard(Guard):
    """The same in a thread of its own: for a tracker on the network, which may be slow, or never answer."""

    def __init__(self, tracker: Tracker) -> None:
        super().__init__(tracker)
        self._actions: queue.Queue[Callable[[], None] | None] = queue.Queue()
        # Nobody waits for it where it hangs.
        self._thread = threading.Thread(target=self._work, name=tracker.name, daemon=True)
        self._thread.start()

    def call(self, action: Callable[[], None]) -> None:
        """Let the tracker do something soon, after what it has to do already."""
        if self._actions.qsize() >= MOST_WAITING:
            self.switch_off(f"it is {MOST_WAITING} calls behind", self.tracker.remedy)
        else:
            self._actions.put(action)

    def end(self) -> None:
        """See the base class."""
        self._actions.put(None)

    @property
    def is_over(self) -> bool:
        """See the base class."""
        return self._is_off.is_set() or not self._thread.is_alive()

    def give_up(self, seconds: float) -> None:
        """See the base class."""
        if not self.is_over:
            self.switch_off(f"it was not done {seconds:.0f} s after the end", self.tracker.remedy)
        if self._is_off.is_set():
            self.tracker.abandon()

    def _work(self) -> None:
        while (action := self._actions.get()) is not None:
            self._carry_out(action)


def _how_to_install(extra: str) -> str:
    return (
        "build the image anew with these settings by --build_and_push_docker_image; where jobs run as processes, type: "
        f"{sys.executable} -m pip install -r container/requirements-{extra}.txt -c container/constraints.txt"
    )
