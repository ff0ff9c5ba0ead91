"""Templates: placeholders become typed values, and nothing unresolved gets through."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager import template
from manager.errors import TemplateError

PLAIN_TEXT = st.text().filter(lambda text: "${" not in text)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | PLAIN_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(PLAIN_TEXT, inner),
)


@pytest.mark.slow
@given(JSON)
def test_what_has_no_placeholder_stays_as_it_is(content: object) -> None:
    assert template.render(content, {}, "test") == content


@given(JSON)
def test_a_lone_placeholder_keeps_the_type_of_its_value(value: object) -> None:
    rendered = template.render({"a": ["${VALUE}"]}, {"VALUE": value}, "test")
    assert rendered["a"][0] is value


def test_within_a_text_the_value_is_written_out() -> None:
    assert template.render("s3://${BUCKET}/${N}/", {"BUCKET": "b", "N": 3}, "test") == "s3://b/3/"


def test_an_unresolved_placeholder_is_an_error_that_names_it() -> None:
    with pytest.raises(TemplateError, match=r"job\.json: \$\{IMAGE\} has no value; known are ROLE"):
        template.render({"a": "${IMAGE}"}, {"ROLE": "r"}, "job.json")


def test_a_broken_file_is_named_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{\n"a": ]\n}')
    with pytest.raises(TemplateError, match=r"t\.json, line 2, is not JSON"):
        template.read(tmp_path / "t.json")
    with pytest.raises(TemplateError, match="does not exist"):
        template.read(tmp_path / "missing.json")


def test_a_readable_file_is_its_content(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"a": 1}))
    assert template.read(tmp_path / "t.json") == {"a": 1}
