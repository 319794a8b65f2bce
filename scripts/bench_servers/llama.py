"""llama.cpp's server with a small Llama of random weights: `llama.py PORT FOLDER`, by the Python of its own folder."""

import sys
import time
from pathlib import Path
from typing import Any

import gguf
import numpy
import xllamacpp

LAYERS, WIDTH, HEADS, INNER, CONTEXT = 4, 256, 8, 1024, 16384


def write(path: Path) -> None:
    """The model, whose tokens are the 256 bytes."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    out: Any = gguf.GGUFWriter(str(path), "llama")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_vocab_size(len(tokens))
    out.add_file_type(0)
    out.add_tokenizer_model("llama")
    out.add_token_list(tokens)
    out.add_token_scores([0.0] * len(tokens))
    out.add_token_types([2, 3, 3, *[6] * 256])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_chat_template(
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
    )
    chance = numpy.random.default_rng(0)

    def drawn(*shape: int) -> Any:
        return (chance.standard_normal(shape) * 0.02).astype(numpy.float32)

    out.add_tensor("token_embd.weight", drawn(len(tokens), WIDTH))
    out.add_tensor("output_norm.weight", numpy.ones(WIDTH, numpy.float32))
    # All but printable letters have no weight, so that the most likely token is text, and never the end.
    letters = drawn(len(tokens), WIDTH)
    letters[: 3 + ord(" ")] = letters[3 + ord("~") + 1 :] = 0
    out.add_tensor("output.weight", letters)
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{name}.weight", numpy.ones(WIDTH, numpy.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            out.add_tensor(f"blk.{layer}.{name}.weight", drawn(WIDTH, WIDTH))
        out.add_tensor(f"blk.{layer}.ffn_gate.weight", drawn(INNER, WIDTH))
        out.add_tensor(f"blk.{layer}.ffn_up.weight", drawn(INNER, WIDTH))
        out.add_tensor(f"blk.{layer}.ffn_down.weight", drawn(WIDTH, INNER))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main() -> None:
    """Serve until the process is ended."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    model = folder / "tiny.gguf"
    write(model)
    asked = xllamacpp.CommonParams()
    asked.model.path, asked.model_alias = str(model), {"tiny"}
    asked.port, asked.hostnames = port, ["127.0.0.1"]
    asked.n_parallel, asked.n_ctx, asked.endpoint_metrics = 4, CONTEXT, True
    asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(asked)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(3600)


main()
