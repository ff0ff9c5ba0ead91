"""Of how many images the model's steps are, and which of them suits the images that wait."""

import math
from bisect import bisect_left


class StepSizes:
    """The sizes 1, 2, 3, 4, 6, 8, 12, and so on, up to the largest step.

    Not every size: a GPU chooses its programs anew for each, which takes long; on a processor oneDNN keeps what it
    prepares for each, so that many sizes take more and more memory.
    """

    def __init__(self, largest: int) -> None:
        steps = (factor * 2**power for power in range(largest.bit_length()) for factor in (2, 3))
        self.all = tuple(sorted({1, largest, *(size for size in steps if size < largest)}))
        # What a step costs beside its images, as a number of images.
        self._overhead = 0.0

    def learn(self, seconds_of_one: float, seconds_of_largest: float) -> None:
        """Take in how long the smallest and the largest step last: a step of n images lasts fixed + n * each."""
        each = (seconds_of_largest - seconds_of_one) / max(self.all[-1] - 1, 1)
        self._overhead = max(seconds_of_one / each - 1, 0.0) if each > 0 else math.inf

    def filled_up(self, images: int) -> int:
        """Return the size of the step that so many images take."""
        return self.all[bisect_left(self.all, images)]

    def best(self, waiting: int) -> int:
        """Return how many of the waiting images the next step should take.

        Either all that it can, filled up to its size, or so many that nothing need be filled up, whichever costs less:
        on a processor each added image takes as long as a real one, on a GPU a second step takes longer.
        """
        if waiting >= self.all[-1]:
            return self.all[-1]
        position = bisect_left(self.all, waiting)
        return waiting if self.all[position] - waiting <= self._overhead else self.all[position - 1]
