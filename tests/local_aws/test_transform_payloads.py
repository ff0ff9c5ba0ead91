"""Objects are cut into payloads, and the answers are put together, by the request's rules."""

from __future__ import annotations

import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.execution_parameters import EffectiveParameters, ExecutionParameters, ExecutionParametersError
from local_aws.transform_payloads import PayloadError, PayloadRules, assembled

MEGABYTE = 1 << 20


def rules(**changes: bool | int) -> PayloadRules:
    chosen = {"is_gzip": False, "splits_lines": True, "is_single_record": False, "most_mb": 1, **changes}
    return PayloadRules(**chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"one\ntwo", b"\x00" * MEGABYTE])
@pytest.mark.parametrize("is_single_record", [True, False])
def test_without_splitting_an_object_is_one_payload(content: bytes, is_single_record: bool) -> None:
    whole = rules(splits_lines=False, is_single_record=is_single_record)
    assert list(whole.payloads(content)) == [content]


@pytest.mark.parametrize(
    ("is_single_record", "payloads"), [(True, [b"one\n", b"\n", b"three"]), (False, [b"one\n\nthree"])]
)
def test_a_line_is_a_record(is_single_record: bool, payloads: list[bytes]) -> None:
    assert list(rules(is_single_record=is_single_record).payloads(b"one\n\nthree")) == payloads
    assert list(rules(is_single_record=is_single_record).payloads(b"")) == []


@pytest.mark.parametrize("splits_lines", [True, False])
@pytest.mark.parametrize("is_gzip", [True, False])
def test_a_record_above_the_limit_is_an_error(splits_lines: bool, is_gzip: bool) -> None:
    content = b"x" * (MEGABYTE + 1)
    limited = rules(splits_lines=splits_lines, is_gzip=is_gzip)
    packed = gzip.compress(content) if is_gzip else content
    with pytest.raises(PayloadError, match="larger than MaxPayloadInMB, which is 1"):
        list(limited.payloads(packed))
    unlimited = rules(splits_lines=splits_lines, is_gzip=is_gzip, most_mb=0)
    assert list(unlimited.payloads(packed)) == [content]


@pytest.mark.parametrize(
    "content",
    [b"plain text", gzip.compress(b"x" * 1000)[:-9], b"\x1f\x8b\x08\x00" + b"\xff" * 40],
    ids=["plain text", "cut off", "damaged"],
)
def test_what_is_no_gzip_is_an_error(content: bytes) -> None:
    with pytest.raises(PayloadError, match="CompressionType is Gzip, but the object cannot be unpacked"):
        list(rules(is_gzip=True).payloads(content))


@given(st.lists(st.integers(0, MEGABYTE - 1), max_size=6), st.booleans(), st.booleans())
def test_nothing_is_lost_and_payloads_are_as_full_as_they_can_be(
    lengths: list[int], is_single_record: bool, is_gzip: bool
) -> None:
    lines = [b"x" * length + b"\n" for length in lengths]
    content = b"".join(lines)
    cut = rules(is_single_record=is_single_record, is_gzip=is_gzip)
    payloads = list(cut.payloads(gzip.compress(content, 1) if is_gzip else content))
    assert b"".join(payloads) == content
    assert all(len(payload) <= MEGABYTE for payload in payloads)
    if is_single_record:
        assert payloads == lines
    else:
        assert all(
            len(payload) + len(follower.partition(b"\n")[0]) + 1 > MEGABYTE
            for payload, follower in itertools.pairwise(payloads)
        )


@pytest.mark.parametrize(("by_lines", "output"), [(False, b'{"a":1}{"b":2}\n'), (True, b'{"a":1}\n{"b":2}\n')])
def test_assembling(by_lines: bool, output: bytes) -> None:
    assert assembled([b'{"a":1}', b'{"b":2}\n'], by_lines) == output
    assert assembled([], by_lines) == b""


def test_the_request_counts_before_the_container_and_that_before_the_defaults() -> None:
    told = ExecutionParameters.of_container(b'{"MaxConcurrentTransforms": 8, "BatchStrategy": "SINGLE_RECORD"}')
    asked = ExecutionParameters(max_concurrent_transforms=2)
    assert asked.completed(told) == EffectiveParameters(2, 6, "SINGLE_RECORD")
    assert str(ExecutionParameters().completed(ExecutionParameters())) == (
        "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD"
    )
    EffectiveParameters(20, 5, "MULTI_RECORD").check()
    with pytest.raises(ExecutionParametersError, match=r"is 20 \* 6; the product cannot be greater than 100"):
        EffectiveParameters(20, 6, "MULTI_RECORD").check()


@pytest.mark.parametrize(
    ("body", "part_of_message"),
    [
        (b"<html>", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[1]", "no JSON object"),
        (b'{"MaxPayloadInMB": 101}', "MaxPayloadInMB 101; it can be 0 to 100"),
        (b'{"MaxPayloadInMB": "6"}', "MaxPayloadInMB '6'"),
        (b'{"MaxConcurrentTransforms": 0}', "MaxConcurrentTransforms 0; it can be 1 to 100"),
        (b'{"MaxConcurrentTransforms": true}', "MaxConcurrentTransforms True"),
        (b'{"BatchStrategy": "SingleRecord"}', "it can be: SINGLE_RECORD, MULTI_RECORD"),
    ],
)
def test_execution_parameters_that_are_none(body: bytes, part_of_message: str) -> None:
    with pytest.raises(ExecutionParametersError, match=part_of_message.replace("*", r"\*")):
        ExecutionParameters.of_container(body)
