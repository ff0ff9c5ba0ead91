"""How much the server takes on at a time: beyond that it refuses at once, so that no queue grows without end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from container.serving.errors import too_large, unavailable


class Admission:
    """Counts the images, and the bytes of bodies, of the requests that are being answered."""

    def __init__(self, max_images: int, max_at_once: int, max_bytes: int) -> None:
        """Args:
        max_images: of all requests together.
        max_at_once: of one request, that are on their way at a time; for more than these it does not count.
        max_bytes: of all requests together, and of any one.
        """
        self._max_images, self._max_at_once, self._max_bytes = max_images, max_at_once, max_bytes
        self._images = self._bytes = self._coming = 0
        self.nothing_is_coming: Callable[[], None] = lambda: None
        """Called when the last image that was announced is there, or will not come."""

    @property
    def is_more_coming(self) -> bool:
        """Whether images are being received or decoded."""
        return self._coming > 0

    @contextmanager
    def request(self) -> Iterator["Ticket"]:
        """Take on a request, which counts as one image until it is known how many it has.

        Raises:
            RefusedError: there are too many already.
        """
        ticket = Ticket(self)
        try:
            ticket.announce(1)
            yield ticket
        finally:
            ticket.finish()

    def _add(self, images: int, size: int, coming: int) -> None:
        self._images, self._bytes, self._coming = self._images + images, self._bytes + size, self._coming + coming
        if coming < 0 and self._coming == 0:
            self.nothing_is_coming()


class Ticket:
    """What one request has of the server."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._counted = self._announced = self._bytes = self._coming = 0

    def announce(self, images: int) -> None:
        """Tell how many images the request has; may be told again when more is known.

        Raises:
            RefusedError: together with others they are too many. A request that comes alone may have any number.
        """
        counted = min(images, self._admission._max_at_once)
        more, others = counted - self._counted, self._admission._images - self._counted
        if more > 0 and others > 0 and others + counted > self._admission._max_images:
            raise unavailable("too many images are waiting: send the request again later")
        coming = images - self._announced
        self._counted, self._announced, self._coming = counted, images, self._coming + coming
        self._admission._add(more, 0, coming)

    def hold(self, size: int) -> None:
        """Tell that so many more bytes of the request are kept.

        Raises:
            RefusedError: they are too many, alone or together with others.
        """
        if self._bytes + size > self._admission._max_bytes:
            raise too_large("the images of the request need too much memory: send fewer at a time")
        others = self._admission._bytes - self._bytes
        if others > 0 and self._admission._bytes + size > self._admission._max_bytes:
            raise unavailable("too many bytes are waiting: send the request again later")
        self._bytes += size
        self._admission._add(0, size, 0)

    def arrived(self) -> None:
        """Tell that one of the images is ready for the model."""
        self._coming -= 1
        self._admission._add(0, 0, -1)

    def finish(self) -> None:
        """Give everything back."""
        counted, size, coming = self._counted, self._bytes, self._coming
        self._counted = self._announced = self._bytes = self._coming = 0
        self._admission._add(-counted, -size, -coming)
