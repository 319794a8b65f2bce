"""What vLLM would take ten to fifty seconds to refuse, refused in milliseconds and by name."""

import socket
from pathlib import Path

from infra.argument import pasted
from infra.errors import DocumentError, HostError, UsageError
from serving.model import checkpoint
from serving.vllm.serve_options import ServeOptions

TOKENIZERS = ("tokenizer.json", "tokenizer.model")


def check(options: ServeOptions) -> int:
    """Check a plan's options against its checkpoint folder and this machine; return the weights' bytes.

    Raises DocumentError for a folder that is missing, incomplete or damaged, UsageError for options the model
    cannot have, HostError for a port in use. A model that is a hub's name is left to vLLM: 0 is returned.
    """
    check_port(options.host, options.port)
    check_draft(options.draft)
    folder = Path(options.model)
    if not folder.is_absolute():
        return 0
    contents = checkpoint.read(folder)
    architecture = contents.architecture
    if options.lora_modules:
        from serving.model import lora_files

        lora_files.check_planned(options.lora_modules, contents)
    check_tokenizer(folder)
    check_split(options.tensor_parallel_size, architecture.attention_heads)
    check_context(options.max_model_len, architecture.max_position_embeddings, options.hf_overrides)
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def check_port(host: str, port: int) -> None:
    """Raise HostError when the port cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
            trial.listen(1)
        except OSError as error:
            raise HostError(
                f"Port {port} of {host} cannot be listened on: {error.strerror}.",
                f"See who has it: ss -ltnp 'sport = :{port}'; or choose another: --port",
            ) from None


def check_draft(draft: str | None) -> None:
    """Raise DocumentError for a draft that is not on this machine, where a server finds none but in folders."""
    if draft is None:
        return
    if draft.startswith((".", "~")):
        raise DocumentError(
            f"The draft {draft} is no full path.",
            "Name its folder from the root on, as 'model' under speculative_config (under serve in the plan).",
        )
    if not Path(draft).is_absolute():
        raise DocumentError(
            f"The draft {draft} is not on this machine.",
            f"Fetch it, and start again: corral fetch {pasted(draft)}",
        )
    checkpoint.config_of(Path(draft))
    checkpoint.shards(Path(draft))


def check_tokenizer(folder: Path) -> None:
    """Raise DocumentError when the checkpoint has no tokenizer."""
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise DocumentError(
            f"{folder} has no tokenizer: neither {' nor '.join(TOKENIZERS)}.",
            "Copy it there from where the checkpoint came from.",
        )


def check_split(tensor_parallel_size: int, heads: int) -> None:
    """Raise UsageError when the attention heads cannot be split evenly."""
    if heads % tensor_parallel_size:
        even = ", ".join(str(size) for size in (1, 2, 4, 8) if heads % size == 0)
        raise UsageError(
            f"--tensor-parallel-size {tensor_parallel_size} does not divide the model's {heads} attention heads.",
            f"Use one of {even}.",
        )


def check_context(max_model_len: int | None, positions: int, overrides: dict[str, object] | None) -> None:
    """Raise UsageError when the context is beyond the model and no override moves the model's limit."""
    if max_model_len and max_model_len > positions and not overrides:
        raise UsageError(
            f"--max-model-len {max_model_len:,} is beyond the model, which ends at {positions:,} tokens.",
            f"Use at most {positions}.",
        )
