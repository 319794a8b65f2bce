"""Every refusal of the Hub's library in our words, and what its headers may not say."""

from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub import errors

from infra.errors import AuthError, CorralError, DocumentError, EndpointError
from serving.hub import asked, tensors
from serving.safetensors import Tensor

RESPONSE = httpx2.Response(400, request=httpx2.Request("GET", "http://hub"))
MISSING = (DocumentError, "There is no repository 'a/b' on the Hub, or your token may not see it.")
NO_WEIGHTS = (DocumentError, "a/b has no config.json, or no safetensors weights.")
NO_HEADER = (DocumentError, "A safetensors header of a/b cannot be read.")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (
            errors.GatedRepoError("gated", response=RESPONSE),
            AuthError,
            "a/b is gated: its licence must be accepted by the owner of your Hugging Face token.",
            "Accept it at https://huggingface.co/a/b, then run: hf auth login",
        ),
        *(
            (error, *MISSING, "Check the name; for a folder write its path: ./NAME")
            for error in (
                errors.RepositoryNotFoundError("no", response=RESPONSE),
                errors.RevisionNotFoundError("no", response=RESPONSE),
                errors.HFValidationError("no"),
            )
        ),
        *(
            (error, *NO_WEIGHTS, "corral sizes safetensors checkpoints.")
            for error in (errors.EntryNotFoundError("no"), errors.NotASafetensorsRepoError("no"))
        ),
        *(
            (error, *NO_HEADER, "Use another repository or revision.")
            for error in (errors.SafetensorsParsingError("no"), ValueError("no"))
        ),
        *(
            (
                error,
                EndpointError,
                f"The Hub cannot be asked about a/b: {said}.",
                "corral's own table needs no network: corral size scout, or corral size maverick.",
            )
            for error, said in (
                (errors.OfflineModeIsEnabled("offline."), "offline"),
                (caused(errors.LocalEntryNotFoundError("no"), OSError("the cause\nand more")), "the cause"),
                (errors.LocalEntryNotFoundError("itself"), "itself"),
                (httpx2.ConnectError("refused"), "refused"),
                (TimeoutError(), "TimeoutError"),
            )
        ),
    ],
)
def test_a_refusal_of_the_hub_in_our_words(
    error: Exception, kind: type[CorralError], message: str, hint: str
) -> None:
    def ask() -> None:
        raise error

    with pytest.raises(kind) as caught:
        asked("a/b", ask)
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert asked("a/b", lambda: 5) == 5


def found(**rows: Any) -> Any:
    """As the library has it: files, each with its tensors."""
    files = {name: SimpleNamespace(tensors={name: SimpleNamespace(**row)}) for name, row in rows.items()}
    return SimpleNamespace(files_metadata=files)


def test_the_librarys_tensors_are_ours() -> None:
    one = {"dtype": "BF16", "shape": [2, 3], "data_offsets": (0, 12)}
    two = {"dtype": "F32", "shape": [1], "data_offsets": (0, 4)}
    assert tensors("a/b", found(one=one, two=two)) == [
        Tensor("one", "BF16", (2, 3), 12),
        Tensor("two", "F32", (1,), 4),
    ]
    with pytest.raises(DocumentError) as caught:
        tensors("a/b", found(one=one | {"data_offsets": (0, 11)}))
    assert caught.value.message == "A safetensors header of a/b contradicts itself at one."
    assert caught.value.hint == "Use another repository or revision."
