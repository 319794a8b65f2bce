"""`corral quality`: whether two endpoints answer alike, on your own texts."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.flags import FirstVerb, Json, deployed
from serving.quality.quality_options import PairOptions, QualityOptions

if TYPE_CHECKING:
    from serving.quality.respondent import Respondent

app = typer.Typer(
    cls=FirstVerb,
    rich_markup_mode=None,
    help="Compare the answers of two endpoints: `corral quality A B --texts FILE`, or what a person thought of them.",
)

A = Annotated[
    str,
    typer.Argument(
        metavar="A",
        help="The URL of a server, or the NAME of a deployment: the better.",
        autocompletion=deployed,
    ),
]
B = Annotated[str, typer.Argument(metavar="B", help="Another: the cheaper.", autocompletion=deployed)]
Rated = Annotated[Path, typer.Argument(help="The folder that --blind wrote.")]
RatingsFile = Annotated[Path, typer.Argument(metavar="RATINGS", help="The ratings.json that its page saved.")]


@app.command("run")
def run(a: A, b: B, pair: PairOptions, asked: QualityOptions, as_json: Json = False) -> None:
    """Perplexity of both, how far B is from A word by word, whether they answer the same; beside it A with itself."""
    from infra.say import emit, progress
    from serving.quality.harness import check_there
    from serving.quality.measure import compare
    from serving.quality.quality_folder import check_free, keep
    from serving.quality.quality_text import quality_text
    from serving.quality.tasks import chosen
    from serving.quality.texts import read_texts

    tasks = chosen(asked, pair)
    texts = read_texts(asked.texts) if asked.texts else ()
    check_there(tasks)
    check_free(asked.output)
    with met(a, b, pair) as (first, second):
        if texts:
            progress(f"the texts are sent to {first} and to {second}, and nowhere else")
        if asked.blind:
            write_page(first, second, texts, asked, as_json)
            return
        found = compare(first, second, texts, tasks, asked, progress)
    emit(found, quality_text(found), as_json)
    keep(asked.output, found)


@app.command("rated")
def rated(folder: Rated, ratings: RatingsFile, as_json: Json = False) -> None:
    """Say who won, from the ratings that a page of pairs saved."""
    from infra.say import emit
    from serving.quality.blind import rated as reckon
    from serving.quality.blind import win_rate_text

    found = reckon(folder, ratings)
    emit(found, win_rate_text(found), as_json)


@contextmanager
def met(a: str, b: str, pair: PairOptions) -> "Iterator[tuple[Respondent, Respondent]]":
    """Both endpoints, each with its own key, known by name. Raises EndpointError, AuthError or UsageError."""
    from deploy.cli.probe import answering
    from infra.say import progress
    from serving.probe.endpoint_options import EndpointOptions
    from serving.quality.respondent import Respondent

    of_a = EndpointOptions(
        model=(pair.model_a,) if pair.model_a else (),
        api=pair.api_a,
        api_key_file=pair.api_key_file_a,
        api_key_variable="CORRAL_API_KEY_A",
        ca_file=pair.ca_file_a,
    )
    of_b = EndpointOptions(
        model=(pair.model_b,) if pair.model_b else (),
        api=pair.api_b,
        api_key_file=pair.api_key_file_b,
        api_key_variable="CORRAL_API_KEY_B",
        ca_file=pair.ca_file_b,
    )
    with (
        closing(Respondent("A", answering(a, of_a))) as first,
        closing(Respondent("B", answering(b, of_b))) as second,
    ):
        first.meet(progress)
        second.meet(progress)
        yield first, second


def write_page(
    a: "Respondent", b: "Respondent", texts: tuple[str, ...], asked: QualityOptions, as_json: bool
) -> None:
    """Ask both, and write the page and its key."""
    from deploy.newest import dated_folder
    from infra.say import emit, progress
    from serving.quality.blind import pairs_of
    from serving.quality.quality_folder import keep_page, page_text

    written = keep_page(
        asked.output or dated_folder("probes"), pairs_of(a, b, texts, asked.most_answered, progress)
    )
    emit(written, page_text(written), as_json)
