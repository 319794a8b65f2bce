"""The door to the Hugging Face Hub: what a repository holds, read from its headers by range requests, no download."""

from collections.abc import Callable
from typing import Any, TypeVar

from infra import offline
from infra.errors import AuthError, CorralError, DocumentError, EndpointError
from serving.checkpoint import Contents, contents, json_object
from serving.safetensors import Tensor, tensor

TIMEOUT_S = 10.0

T = TypeVar("T")


def read(repo: str) -> Contents:
    """Read a repository's config.json and safetensors headers.

    Raises AuthError for a gated one, DocumentError for one that is not there or broken, EndpointError without a Hub.
    """
    offline.refuse(f"the model hub about {repo}")
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    logging.set_verbosity_error()
    config = asked(repo, lambda: file(repo, "config.json"))
    found = asked(repo, lambda: HfApi().get_safetensors_metadata(repo, timeout=TIMEOUT_S))
    return contents(repo, json_object(config, f"config.json of {repo}"), tensors(repo, found))


def file(repo: str, name: str) -> bytes:
    """A small file of a repository, asked for once: without a Hub the answer comes at once, not after five tries."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    response = get_session().get(
        hf_hub_url(repo, name), headers=build_hf_headers(), timeout=TIMEOUT_S, follow_redirects=True
    )
    hf_raise_for_status(response)
    return bytes(response.content)


def tensors(repo: str, found: Any) -> list[Tensor]:
    """The library's tensors as ours, each checked: its bytes must be what its shape takes."""
    rows = [
        (name, {"dtype": info.dtype, "shape": info.shape, "data_offsets": info.data_offsets})
        for file in found.files_metadata.values()
        for name, info in file.tensors.items()
    ]
    try:
        return [tensor(name, row) for name, row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise DocumentError(
            f"A safetensors header of {repo} contradicts itself at {error}.",
            "Use another repository or revision.",
        ) from None


def asked(repo: str, ask: Callable[[], T]) -> T:
    """Ask the Hub, and put its refusals into our words."""
    import httpx2
    from huggingface_hub import errors

    try:
        return ask()
    except errors.GatedRepoError:
        raise gated(repo) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        raise missing(repo) from None
    except errors.LocalEntryNotFoundError as error:
        raise unreachable(repo, error.__cause__ or error) from None
    except errors.OfflineModeIsEnabled as error:
        raise unreachable(repo, error) from None
    except (errors.EntryNotFoundError, errors.NotASafetensorsRepoError):
        raise DocumentError(
            f"{repo} has no config.json, or no safetensors weights.", "corral sizes safetensors checkpoints."
        ) from None
    except (errors.SafetensorsParsingError, ValueError):
        raise DocumentError(
            f"A safetensors header of {repo} cannot be read.", "Use another repository or revision."
        ) from None
    except (httpx2.HTTPError, OSError) as error:
        raise unreachable(repo, error) from None


def gated(repo: str) -> CorralError:
    """The licence has not been accepted, or no token was given."""
    return AuthError(
        f"{repo} is gated: its licence must be accepted by the owner of your Hugging Face token.",
        f"Accept it at https://huggingface.co/{repo}, then run: hf auth login",
    )


def missing(repo: str) -> CorralError:
    """No such repository, or a private one."""
    return DocumentError(
        f"There is no repository {repo!r} on the Hub, or your token may not see it.",
        "Check the name; for a folder write its path: ./NAME",
    )


def unreachable(repo: str, error: BaseException) -> CorralError:
    """The Hub is down, slow or out of reach."""
    return EndpointError(
        f"The Hub cannot be asked about {repo}: {first_line(error)}.",
        "corral's own table needs no network: corral size scout, or corral size maverick.",
    )


def first_line(error: BaseException) -> str:
    """The first line of an error, without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
