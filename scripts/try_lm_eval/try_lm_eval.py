"""Two toys of the real engine, one damaged, and lm-evaluation-harness between them: see scripts/try-lm-eval."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy

from deploy.targets.deployment import make
from serving.model import tiny
from serving.sizing.size import answer_for
from serving.sizing.size_options import Options
from serving.vllm.engine import executable

DATA = Path("tests/data/lm_eval")
WRAPPER = """#!/bin/sh
# Runs the harness, and keeps what it wrote: corral deletes it.
for last; do :; done
'{program}' "$@" || exit
mkdir -p '{kept}' && cp -r "$last" "{kept}/$(date +%s%N)"
"""
TOYS = ("tiny", "damaged")


def main() -> int:
    """Serve, ask, take away."""
    # Whoever ends it leaves no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    program, keep = Path(sys.argv[1]).absolute(), "--keep" in sys.argv[2:]
    with tempfile.TemporaryDirectory(prefix="try-lm-eval-") as folder:
        place = Path(folder)
        (place / "bin").mkdir()
        wrapper = place / "bin" / "lm_eval"
        wrapper.write_text(WRAPPER.format(program=program, kept=place / "kept"))
        wrapper.chmod(0o755)
        engine = executable(Path(os.environ.get("CORRAL_HOME") or Path.home() / ".corral"))
        environment = os.environ | {
            "CORRAL_HOME": str(place / "home"),
            "CORRAL_VLLM": str(engine),
            "CORRAL_OFFLINE": "1",
            "PATH": f"{wrapper.parent}:{os.environ['PATH']}",
        }
        try:
            for name in TOYS:
                deploy(place / "home", name)
                corral(environment, "serve", name)
            models = ("--task-tokenizer", str(place / "home" / "models" / "tiny"))
            own = ("--tasks", "stable", "--task-folder", str(DATA / "tasks"), *models)
            code = corral(
                environment, "quality", *TOYS, *own, "--api-a", "completions", "--api-b", "completions"
            )
            if keep and code == 0:
                kept(place)
        finally:
            for name in TOYS:
                corral(environment, "stop", name)
    return code


def deploy(home: Path, name: str) -> None:
    """A toy and its deployment; the same weights in both, but for the damage."""
    checkpoint = tiny.make(home / "models" / name, "multimodal")
    if name == "damaged":
        damage(checkpoint)
    options = Options(max_model_len=4096, kv_cache_memory_bytes=2**26, enforce_eager=True)
    plan = answer_for(str(checkpoint), None, "local", options)
    with socket.create_server(("127.0.0.1", 0)) as free:
        serve = plan.serve.model_copy(update={"port": free.getsockname()[1], "shutdown_timeout": 5})
    make(plan.model_copy(update={"serve": serve}), "local", name).write(home / name / "deployment.json")


def damage(checkpoint: Path) -> None:
    """Every weight off by a good part of itself."""
    random = numpy.random.default_rng(5)
    for path in checkpoint.glob("*.safetensors"):
        data = path.read_bytes()
        begin = 8 + int.from_bytes(data[:8], "little")
        halves = numpy.frombuffer(data, numpy.uint16, offset=begin)
        weights = (halves.astype(numpy.uint32) << 16).view(numpy.float32)
        noise = 1 + numpy.float32(0.4) * random.standard_normal(len(weights), dtype=numpy.float32)
        path.write_bytes(data[:begin] + tiny.bfloat16(weights * noise).tobytes())


def corral(environment: dict[str, str], *words: str) -> int:
    """Run one verb."""
    command = [sys.executable, "-c", "from deploy.cli.start import main; main()", *words]
    return subprocess.run(command, env=environment, check=False).returncode


def kept(place: Path) -> None:
    """What the harness wrote of both, without the folder that it was in."""
    for name, run in zip(TOYS, sorted((place / "kept").iterdir()), strict=True):
        to = DATA / name
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir()
        for path in run.rglob("*.json*"):
            (to / path.name).write_text(path.read_text().replace(str(place), "FOLDER"))


if __name__ == "__main__":
    sys.exit(main())
