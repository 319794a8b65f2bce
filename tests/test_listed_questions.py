"""A list of models that is no must, as the model was named: which answers are as good as none, and which are told."""

import httpx2
import pytest
from test_probe_questions import THERE, Make, listing, server

from infra.errors import EndpointError
from serving.probe import questions

__all__ = ["server"]
NAMED = THERE.model_copy(update={"model": "m"})
WHERE = "http://host:1/base/v1/models"


@pytest.fixture(autouse=True)
def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "other_protocol", lambda url: None)


@pytest.mark.parametrize(
    "answer",
    [
        *(httpx2.Response(status) for status in (401, 403, 404, 405, 400, 422, 501)),
        httpx2.Response(302, headers={"location": "http://elsewhere/"}),
        httpx2.Response(200, text="<html>"),
        httpx2.Response(200, json={"data": [5]}),
        listing(),
    ],
    ids=lambda answer: f"{answer.status_code} {answer.text[:9]}",
)
def test_where_the_model_is_named_it_is_no_must(server: Make, answer: httpx2.Response) -> None:
    assert server(answer, NAMED)[0].models() == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (407, f"A proxy between wants a login before it lets us through to {WHERE}: HTTP 407."),
        (429, f"{WHERE} is rate-limited: HTTP 429: no."),
        (500, f"{WHERE} answers 500: no."),
    ],
)
def test_what_no_name_mends_is_told_all_the_same(server: Make, status: int, said: str) -> None:
    with pytest.raises(EndpointError) as error:
        server(httpx2.Response(status, text="no."), NAMED)[0].models()
    assert error.value.message == said


def test_a_list_that_is_one_is_told(server: Make) -> None:
    assert server(listing("a", "m"), NAMED)[0].models() == [{"id": "a"}, {"id": "m"}]
