"""Names for notebooks: the functions themselves, however and how often they are asked for."""

import pytest

import pagrepro


@pytest.mark.parametrize(
    "name", ["load_run", "load_field", "list_measurements", "measure", "measure_run", "Layout"]
)
def test_a_public_name_is_what_can_be_called(name):
    module = __import__("pagrepro", fromlist=[name])  # from pagrepro import <name>
    assert callable(getattr(module, name))
    assert callable(getattr(pagrepro, name))


def test_an_unknown_name_lists_the_public_ones():
    with pytest.raises(
        AttributeError, match="public: Layout, list_measurements, load_field, load_run, measure, measure_run"
    ):
        _ = pagrepro.nothing
