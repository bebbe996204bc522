"""Long arguments of scripts."""

import json
import random

import pytest

from pagrepro import argument
from pagrepro.errors import DataError, UserError

LONG = json.dumps({"runs": [{"run": f"digits_{k}", "labels": {"strength": k}} for k in range(9000)]})


def test_a_short_argument_is_readable():
    assert argument.packed("x", '{"a": 1}') == '{"a": 1}'
    assert argument.given('{"a": 1}') == {"a": 1}


def test_a_long_argument_comes_back_and_fits():
    packed = argument.packed("x", LONG)
    assert len(LONG) > argument.LIMIT
    assert len(packed) < len(LONG) / 4
    assert argument.given(packed) == json.loads(LONG)
    assert argument.packed("x", LONG) == packed


def test_what_cannot_be_compressed_enough_is_an_error():
    noise = random.Random(0).randbytes(argument.LIMIT).hex()
    with pytest.raises(UserError, match=r"claims of x: its spec has \d+ characters, compressed"):
        argument.packed("claims of x", noise)


def test_a_file_may_hold_it(tmp_path):
    (tmp_path / "a.json").write_text(LONG)
    assert argument.given(str(tmp_path / "a.json")) == json.loads(LONG)


@pytest.mark.parametrize("text", ["zlib:AAAA", "zlib:?", "{", "no/such/file.json"])
def test_anything_else_is_refused(text):
    with pytest.raises(DataError, match="expected JSON or the path of a JSON file"):
        argument.given(text)
