"""The toy: the same bytes from the same seed, the real names, and a tokenizer that writes any text."""

import hashlib
import json
import subprocess
from pathlib import Path

import numpy
import numpy.typing
import pytest

from serving.model import checkpoint, tiny
from serving.model.tiny import Layout
from serving.model.tiny_tokenizer import SPECIAL, merges, token_ids

LAYOUTS: tuple[Layout, ...] = ("text", "multimodal")


def digests(folder: Path) -> dict[str, str]:
    """Every file's name and digest."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_seed_gives_the_same_bytes_and_another_seed_other_weights(tmp_path: Path, layout: Layout) -> None:
    one, two = digests(tiny.make(tmp_path / "1", layout)), digests(tiny.make(tmp_path / "2", layout))
    other = digests(tiny.make(tmp_path / "3", layout, seed=2))
    assert one == two == digests(tiny.make(tmp_path / "4", layout, seed=1))
    assert {name for name in one if one[name] != other[name]} == {
        name for name in one if name.endswith("tensors")
    }


@pytest.mark.parametrize(("layout", "parameters"), [("text", 1_549_184), ("multimodal", 1_753_728)])
def test_it_is_a_whole_llama_4_checkpoint(tmp_path: Path, layout: Layout, parameters: int) -> None:
    found = checkpoint.read(tiny.make(tmp_path / "model", layout))
    assert (found.precision, found.nested_config) == ("bf16", layout == "multimodal")
    assert found.architecture.global_layers == (3,)
    assert found.architecture.moe_layers == (0, 1, 2, 3)
    size = sum(path.stat().st_size for path in (tmp_path / "model").glob("*.safetensors"))
    assert 2 * parameters < size < 2 * parameters + 20_000  # bfloat16, and the headers


def test_making_it_again_replaces_the_other_layout_whole(tmp_path: Path) -> None:
    tiny.make(tmp_path / "model", "multimodal")
    assert digests(tiny.make(tmp_path / "model", "text")) == digests(tiny.make(tmp_path / "other", "text"))


def test_the_vocabulary_is_bytes_then_words_then_special_tokens() -> None:
    ids = token_ids()
    assert list(ids.values()) == list(range(len(ids)))
    assert list(ids)[-len(SPECIAL) :] == list(SPECIAL)
    assert len({"".join(pair) for pair in merges()}) == len(merges())
    assert all(left in ids and right in ids for left, right in merges())


# The beginnings of their sha256; of weights the header's. transformers reads these files (below).
COMMON = {
    "chat_template.jinja": "612bfca33fa9c22b",
    "generation_config.json": "746819d744258858",
    "tokenizer.json": "37739c8c78f1a812",
    "tokenizer_config.json": "c9e4b11c0fbf20ee",
}
FILES = {
    "text": COMMON | {"config.json": "64804a1c27934e3c", "model.safetensors": "154e62bfbe1ad4bc"},
    "multimodal": COMMON
    | {
        "config.json": "3a720555c95936c1",
        "model-00001-of-00002.safetensors": "1729869a289796a9",
        "model-00002-of-00002.safetensors": "44bae71bcf85af5f",
        "model.safetensors.index.json": "1ccc8642b0ababb4",
        "preprocessor_config.json": "b196be798450101b",
        "processor_config.json": "79e69b50654ecc21",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_file_is_the_toys_own(tmp_path: Path, layout: Layout) -> None:
    files = {path.name: path.read_bytes() for path in tiny.make(tmp_path / "model", layout).iterdir()}
    for name, data in files.items():
        if name.endswith(".safetensors"):
            files[name] = data[: 8 + int.from_bytes(data[:8], "little")]
    assert {name: hashlib.sha256(data).hexdigest()[:16] for name, data in files.items()} == FILES[layout]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_weights_are_as_random_as_they_should_be(tmp_path: Path, layout: Layout) -> None:
    """Spread by 0.15; norms are ones, biases zeros; the head's rows of bytes and special tokens are small."""
    found = weights(tiny.make(tmp_path / "model", layout))
    spreads = {name: round(float(values.std()), 2) for name, values in found.items() if values.size > 5000}
    heads = [name for name in spreads if name.endswith("lm_head.weight")]
    assert set(spreads.values()) - {spreads[name] for name in heads} <= {0.15}
    (head,) = (found[name] for name in heads)
    words = [number for token, number in token_ids().items() if len(token) > 2 and token not in SPECIAL]
    others = numpy.setdiff1d(numpy.arange(len(head)), words)
    assert [round(float(rows.std()), 2) for rows in (head[words], head[others])] == [0.15, 0.02]
    assert {
        float(value) for name in found if "norm" in name and name.endswith("weight") for value in found[name]
    } == {1.0}
    assert {float(value) for name in found if name.endswith("bias") for value in found[name]} <= {0.0}


def weights(folder: Path) -> dict[str, "numpy.typing.NDArray[numpy.float32]"]:
    """Every tensor of a checkpoint in bfloat16."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, row in json.loads(data[8:start]).items():
            if name != "__metadata__":
                low, high = row["data_offsets"]
                halves = numpy.frombuffer(data[start + low : start + high], numpy.uint16).astype(numpy.uint32)
                found[name] = (halves << 16).view(numpy.float32).reshape(row["shape"])
    return found


@pytest.mark.engine
@pytest.mark.slow
def test_transformers_finds_no_key_missing_unexpected_or_of_another_shape(
    tmp_path: Path, engine: Path
) -> None:
    for layout in LAYOUTS:
        tiny.make(tmp_path / layout, layout)
    code = (
        "import json, transformers as t\n"
        "for name, folder in (('Llama4ForCausalLM', 'text'), ('Llama4ForConditionalGeneration', 'multimodal')):\n"
        "    _, info = getattr(t, name).from_pretrained(folder, output_loading_info=True)\n"
        "    print(json.dumps({key: sorted(value) for key, value in info.items()}))\n"
        "words = t.AutoTokenizer.from_pretrained('text')\n"
        "text = 'the horse walks over 1234 fences. Ünïcode 日本\\n\\n'\n"
        "print(json.dumps(words.decode(words(text)['input_ids']) == '<|begin_of_text|>' + text))\n"
        "t.AutoProcessor.from_pretrained('multimodal')\n"
    )
    command = [str(engine.parent / "python"), "-c", code]
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HOME": str(tmp_path),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"),
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    nothing: dict[str, list[str]] = {
        key: [] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
    }
    assert [json.loads(line) for line in done.stdout.splitlines()] == [nothing, nothing, True]
