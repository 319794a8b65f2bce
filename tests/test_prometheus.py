"""Prometheus's text: what a line says, and what is passed over."""

from serving.vllm.prometheus import labels_of, sums

TEXT = """\
# HELP a:total of all
# TYPE a:total counter
a:total{engine="0",name="a b} c"} 40.0
a:total{engine="1"} 2.5 1700000000000
a:total{engine="2"} broken
b2_seconds 1e3
c{} NaN
d{le="+Inf"} +Inf
no value
 e 5

f{note="a \\"quoted\\" one",other=""} 1
"""


def test_values_are_summed_over_their_labels() -> None:
    values = sums(TEXT)
    assert str(values.pop("c")) == "nan"
    assert values == {"a:total": 42.5, "b2_seconds": 1000.0, "d": float("inf"), "f": 1.0}
    assert sums("") == {}


def test_the_labels_of_a_metric() -> None:
    assert labels_of(TEXT, "f") == {"note": 'a \\"quoted\\" one', "other": ""}
    assert (labels_of(TEXT, "c"), labels_of(TEXT, "b2_seconds"), labels_of(TEXT, "g")) == ({}, {}, None)
    assert labels_of(TEXT, "a:total") == {"engine": "0", "name": "a b} c"}
