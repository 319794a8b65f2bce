"""As sitecustomize on a test host: vLLM forks its processes, where on a CPU it has each import all of it anew."""

import os

METHOD = "VLLM_WORKER_MULTIPROC_METHOD"


class Forking(os._Environ[str]):
    """An environment that vLLM cannot turn to the other method."""

    def __setitem__(self, name: str, value: str) -> None:
        super().__setitem__(name, "fork" if name == METHOD else value)


os.environ.__class__ = Forking
os.environ[METHOD] = "fork"
