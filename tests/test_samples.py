"""What a request's counts are folded into: more chunks than tokens are cut tokens, beyond what a closing chunk is."""

import numpy
import pytest

from serving.probe.run_records import Result
from serving.probe.samples import Samples, add_counts


@pytest.mark.parametrize(
    ("chunks", "tokens", "hidden", "split"),
    [
        (10, 10, 0, 0),
        (11, 10, 0, 0),
        (12, 10, 0, 0),
        (13, 10, 0, 1),
        (12, 10, 1, 1),
        (1, 0, 0, 0),
        (2, 0, 0, 1),
    ],
)
def test_so_many_chunks_are_cut_tokens(chunks: int, tokens: int, hidden: int, split: int) -> None:
    samples = Samples()
    result = Result(0, 0, 0, 9, gaps_us=[1] * chunks, output_tokens=tokens, hidden_tokens=hidden)
    add_counts(samples, result, numpy.ones(chunks, dtype=numpy.int64))
    assert (samples.chunks, samples.split_tokens) == (chunks, split)
    assert (list(samples.output_tokens), list(samples.hidden_tokens)) == ([tokens], [hidden])
