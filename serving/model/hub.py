"""The door to the Hugging Face Hub: what a repository holds, read from its headers by range requests, no download."""

import os
from collections.abc import Callable
from contextvars import copy_context
from threading import Thread
from typing import Any, TypeVar

from infra import deadline, offline
from infra.argument import pasted
from infra.errors import CorralError, DocumentError, EndpointError
from infra.fetch.hub_answers import gated, no_commit, unknown_token
from infra.fetch.listing import is_fetched
from infra.printable import one_line
from infra.record import Record
from serving.model import families, hub_token
from serving.model.checkpoint import LARGEST_JSON_BYTES, Contents, contents, json_object
from serving.model.config import family_of
from serving.model.hub_token import Token
from serving.model.loaders import (
    MODELOPT_FILE,
    check_files,
    check_writer,
    precision_of,
    stored_by,
    with_modelopt,
)
from serving.model.models import models, to_fetch
from serving.model.safetensors import Tensor, tensor

TIMEOUT_S = 10.0
"""For a single read."""
ASKED_WITHIN_S = 120.0
"""For a whole question, which may be for the headers of a hundred files."""
LARGEST_ANSWER_BYTES = 128 * 1024 * 1024
"""Unpacked; the library itself takes a header of 100 MB."""

ODD_JSON = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What the library lets through where a repository's files are JSON of another shape, or nested without an end."""

T = TypeVar("T")


class Repository(Record):
    """What the Hub says of a repository at one commit."""

    repo: str
    revision: str
    """The full commit."""
    gated: bool
    licence: str = ""
    family: str = ""
    """Of families.toml; empty where its config.json is of none of them, or the Hub did not say."""
    based_on: tuple[str, ...] = ()
    """Repositories that it was made of, as its card says."""
    fetched_bytes: int
    """Of the files that are fetched."""


def describe(repo: str, revision: str | None, token: Token | None) -> Repository:
    """Ask what a repository is, at a commit or as it is now.

    Raises DocumentError for one that is not there, AuthError for a token the Hub does not know, EndpointError without
    a Hub.
    """
    info = info_of(repo, revision, token)
    card = info.card_data or {}
    return Repository(
        repo=repo,
        revision=str(info.sha),
        gated=bool(info.gated),
        licence=str(card.get("license_name") or card.get("license") or ""),
        family=family_named(info.config),
        based_on=texts(card.get("base_model")),
        fetched_bytes=sum(file.size or 0 for file in info.siblings or () if is_fetched(file.rfilename)),
    )


def family_named(config: Any) -> str:
    """The family of what the Hub tells of a config.json; "" for none of ours."""
    family = families.family_of([*texts(config.get("architectures"))]) if isinstance(config, dict) else None
    return family.name if family else ""


def texts(said: Any) -> tuple[str, ...]:
    """One text or a list of them, as cards have both."""
    listed = said if isinstance(said, list | tuple) else [said]
    return tuple(text for text in listed if isinstance(text, str))


def info_of(repo: str, revision: str | None, token: Token | None) -> Any:
    """What the Hub's client says of a repository. Raises as `describe` does."""
    return asked(
        repo,
        lambda: api(token).model_info(
            repo, revision=revision, files_metadata=True, timeout=TIMEOUT_S, token=plain(token)
        ),
    )


def check_access(repo: str, token: Token | None) -> None:
    """Raise AuthError when the Hub would not let this token fetch the files."""
    asked(repo, lambda: api(token).auth_check(repo, token=plain(token)))


def api(token: Token | None) -> Any:
    """The Hub's own client, quiet. Raises UsageError when the internet is forbidden."""
    offline.refuse("the model hub")
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    logging.set_verbosity_error()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=plain(token))


def refuse_offline(repo: str, about: str = "for") -> None:
    """Raise UsageError, with how a model's weights are brought along, when the internet is forbidden."""
    line = f"corral fetch {to_fetch(repo)} --to weights"
    offline.refuse(f"the model hub {about} {repo}", line, "name ./weights")


def plain(token: Token | None) -> str | bool:
    """As the client takes it: False sends none, where None would look for one by itself."""
    return token.value if token else False


def read(repo: str, version: str | None = None) -> Contents:
    """Read a repository's config.json and safetensors headers, all at the commit it has now, for a vLLM.

    Raises AuthError for a gated one, DocumentError for one that is not there, broken or stored as that vLLM cannot
    load, EndpointError without a Hub.
    """

    def check(config: dict[str, Any]) -> None:
        # Before the headers are fetched: those of a format without a loader may be none that can be read.
        family_of(config, repo)
        precision_of(config, version)

    config, found, commit = headers(repo, None, check)
    return contents(repo, config, found, commit, version)


def headers(
    repo: str, revision: str | None, check: Callable[[dict[str, Any]], None] = lambda config: None
) -> tuple[dict[str, Any], list[Tensor], str]:
    """A repository's config.json, its tensors, and the commit of both; `check` sees the config first.

    Raises as `read` does, and what `check` does.
    """
    refuse_offline(repo, "about")
    token = hub_token.find(os.environ)
    info = info_of(repo, revision, token)
    names, commit = {file.rfilename for file in info.siblings or ()}, str(info.sha)
    check_files(names)
    config = json_file(repo, "config.json", commit, token)
    if MODELOPT_FILE in names and not stored_by(config):
        config = with_modelopt(config, json_file(repo, MODELOPT_FILE, commit, token))
    check(config)
    metadata = asked(
        repo,
        lambda: api(token).get_safetensors_metadata(
            repo, revision=commit, timeout=TIMEOUT_S, token=plain(token)
        ),
    )
    return config, tensors(repo, metadata), commit


def json_file(repo: str, name: str, commit: str, token: Token | None) -> dict[str, Any]:
    """A JSON object of a repository. Raises as `read` does."""
    return json_object(asked(repo, lambda: file(repo, name, commit, token)), f"{name} of {repo}")


def file(repo: str, name: str, revision: str, token: Token | None) -> bytes:
    """A small file of a repository, asked for once: without a Hub the answer comes at once, not after five tries."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    asking = get_session().stream(
        "GET",
        hf_hub_url(repo, name, revision=revision),
        headers=build_hf_headers(token=plain(token)),
        timeout=TIMEOUT_S,
        follow_redirects=True,
    )
    with asking as response:
        hf_raise_for_status(response)
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            if len(content) > LARGEST_JSON_BYTES:
                raise ValueError(f"{name} is larger than {LARGEST_JSON_BYTES:,} bytes")
    return bytes(content)


def tensors(repo: str, metadata: Any) -> list[Tensor]:
    """The library's tensors as ours, each checked: its bytes must be what its shape takes."""
    for file in metadata.files_metadata.values():
        check_writer(file.metadata)
    rows = [
        (name, {"dtype": info.dtype, "shape": info.shape, "data_offsets": info.data_offsets})
        for file in metadata.files_metadata.values()
        for name, info in file.tensors.items()
    ]
    try:
        return [tensor(name, row) for name, row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise DocumentError(
            f"A safetensors header of {repo} contradicts itself at {one_line(str(error))}.",
            "Use another repository or revision.",
        ) from None


def asked(repo: str, ask: Callable[[], T]) -> T:
    """Ask the Hub, and put its refusals into our words."""
    import httpx2
    from huggingface_hub import errors

    try:
        return in_time(ask)
    except errors.GatedRepoError:
        raise gated(repo) from None
    except errors.RevisionNotFoundError:
        raise no_commit(repo) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise missing(repo) from None
    except errors.LocalEntryNotFoundError as error:
        raise unreachable(repo, error.__cause__ or error) from None
    except errors.OfflineModeIsEnabled as error:
        raise unreachable(repo, error) from None
    except (errors.EntryNotFoundError, errors.NotASafetensorsRepoError):
        raise DocumentError(
            f"{repo} has no config.json, or no safetensors weights.", "corral sizes safetensors checkpoints."
        ) from None
    except (errors.SafetensorsParsingError, *ODD_JSON):
        raise DocumentError(
            f"A safetensors header of {repo} cannot be read.", "Use another repository or revision."
        ) from None
    except (httpx2.HTTPError, OSError) as error:
        if isinstance(error, errors.HfHubHTTPError) and error.response.status_code == 401:
            raise unknown_token() from None
        raise unreachable(repo, error) from None


def in_time(ask: Callable[[], T]) -> T:
    """What the library answers, however the Hub drips it. Raises TimeoutError, and what `ask` does.

    It works in a thread, which is left behind when the time is over, and finds its connections closed.
    """
    from huggingface_hub.utils import close_session, get_session

    session = get_session()
    session.headers["accept-encoding"] = "gzip, deflate"
    if bounded not in session.event_hooks["response"]:
        session.event_hooks["response"].append(bounded)
    outcome: list[T] = []
    raised: list[BaseException] = []

    def asking() -> None:
        try:
            outcome.append(ask())
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=copy_context().run, args=(asking,), daemon=True)
    thread.start()
    left_s = deadline.left_s(ASKED_WITHIN_S)
    thread.join(left_s)
    if raised:
        raise raised[0]
    if not outcome:
        close_session()
        raise TimeoutError(f"it did not answer within {deadline.told_s(ASKED_WITHIN_S, left_s):g} s")
    return outcome[0]


def bounded(response: Any) -> None:
    """Have the body of an answer end where it is more than anybody needs: the library would unpack what it reads."""
    from serving.vllm.http_door import Unpacked

    encoding = response.headers.pop("content-encoding", "")
    response.stream = Unpacked(response.stream, encoding, LARGEST_ANSWER_BYTES)


def missing(repo: str) -> CorralError:
    """No such repository, or a private one."""
    return DocumentError(
        f"There is no repository {repo!r} on the Hub, or your token may not see it.",
        f"Check the name; for a folder write its path: {pasted(f'./{repo}')}",
    )


def unreachable(repo: str, error: BaseException) -> CorralError:
    """The Hub is down, slow or out of reach."""
    return EndpointError(
        f"The Hub cannot be asked about {repo}: {first_line(error)}.",
        "Let this machine reach it (HTTPS_PROXY, SSL_CERT_FILE); corral's own table needs no network: "
        f"{', or '.join(f'corral size {name}' for name in models())}.",
    )


def first_line(error: BaseException) -> str:
    """The first line of an error, without its full stop."""
    return one_line((str(error).strip().splitlines() or [type(error).__name__])[0]).rstrip(".")
