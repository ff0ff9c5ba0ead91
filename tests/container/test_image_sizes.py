"""What an image's header tells of its size, before anything is decoded."""

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from container.serving.errors import RefusedError
from container.serving.image_sizes import check_size
from tests.container.served import gif_of_frames


def saved(kind: str, width: int, height: int, frames: int = 1) -> bytes:
    # Each frame differs from the one before in every pixel: Pillow saves only the part of a frame that changed.
    noise = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    pictures = [Picture.fromarray(noise + np.uint8(40 * frame)) for frame in range(frames)]
    file = io.BytesIO()
    pictures[0].save(file, kind, **({"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}))
    return file.getvalue()


@given(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP"]), st.integers(1, 60), st.integers(1, 60))
def test_the_limit_is_met_to_the_pixel(kind: str, width: int, height: int) -> None:
    content = saved(kind, width, height)
    check_size(content, width * height)
    with pytest.raises(RefusedError, match="pixels"):
        check_size(content, width * height - 1)


@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40))
def test_all_frames_of_a_gif_count(frames: int, width: int, height: int) -> None:
    content = saved("GIF", width, height, frames)
    check_size(content, frames * width * height)
    with pytest.raises(RefusedError, match="pixels"):
        check_size(content, frames * width * height - 1)


SIDES = st.integers(1, 40)


@given(st.tuples(SIDES, SIDES), st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4))
def test_a_gif_is_as_wide_as_its_widest_frame_and_as_high_as_its_highest(
    screen: tuple[int, int], frames: list[tuple[int, int]]
) -> None:
    content = gif_of_frames(screen, *frames)
    widths, heights = zip(screen, *frames, strict=True)
    pixels = max(sum(width * height for width, height in frames), max(widths) * max(heights))
    check_size(content, pixels)
    with pytest.raises(RefusedError, match="pixels"):
        check_size(content, pixels - 1)


@given(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP"]), st.integers(0, 200), st.binary(max_size=20))
def test_a_broken_file_is_refused_or_passes_but_nothing_else(kind: str, position: int, piece: bytes) -> None:
    content = saved(kind, 9, 7)
    with suppress(RefusedError):
        check_size(content[:position] + piece + content[position + len(piece) :], 10**6)


def test_a_jpeg_of_countless_scans_is_refused() -> None:
    content = saved("JPEG", 16, 16)
    with pytest.raises(RefusedError, match="more than 100 scans"):
        check_size(content[:-2] + 200 * b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + content[-2:], 10**6)
