"""What may be asked of a comparison of two endpoints' answers: each option with its flag, default, check and help."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from infra.asked import Asked
from infra.errors import UsageError

AnswerApi = Literal["completions", "chat", "messages"]
ANSWER_APIS = "completions, chat, or messages (Anthropic)."
MOST_ALTERNATIVES = 1000
MOST_ANSWER_TOKENS = 8192
TO_TELL_APART, FOR_A_PERSON = 64, 512


class PairOptions(Asked):
    """Whom to ask, beside the two URLs. Each has a key of its own: one endpoint's is never sent to the other."""

    heading: ClassVar[str] = "The endpoints"

    model_a: str | None = None
    """The name that A serves. [the first it lists]"""
    model_b: str | None = None
    """The name that B serves. [the first it lists]"""
    api_a: Annotated[AnswerApi, Field(description=f"How A is asked for answers: {ANSWER_APIS}")] = "chat"
    api_b: Annotated[AnswerApi, Field(description=f"How B is asked for answers: {ANSWER_APIS}")] = "chat"
    api_key_file_a: Path | None = None
    """The file that holds A's key; else in CORRAL_API_KEY_A."""
    api_key_file_b: Path | None = None
    """The file that holds B's key; else in CORRAL_API_KEY_B."""
    ca_file_a: Path | None = None
    """Certificates to trust for A, PEM."""
    ca_file_b: Path | None = None
    """Certificates to trust for B, PEM."""


class QualityOptions(Asked):
    """What is compared."""

    heading: ClassVar[str] = "What is compared"

    texts: Annotated[Path | None, Field(examples=["texts.txt"])] = None
    """Your texts, an empty line between two; or JSON lines (.jsonl) with text or prompt."""
    logprobs: Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES, examples=[20])] = 20
    """Of so many most likely tokens, for the divergence; 0: perplexity alone."""
    answer_tokens: Annotated[int | None, Field(ge=0, le=MOST_ANSWER_TOKENS, examples=[64])] = None
    """Of each answer at most; 0: none is asked for. [64; 512 with --blind]"""
    blind: bool = False
    """Write a page on which a person rates pairs of answers, for an endpoint without log-probabilities."""
    tasks: Annotated[str | None, Field(examples=["mmlu,humaneval,math"])] = None
    """Also these, by lm-evaluation-harness, which you install: mmlu, humaneval, math, or your own."""
    task_folder: Path | None = None
    """Folder with tasks of your own (.yaml, as the harness takes them), for --tasks to name."""
    task_tokenizer: Annotated[
        str | None, Field(examples=["RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic"])
    ] = None
    """Tokenizer, folder or name on the Hub, for tasks that score given answers; needs completions."""
    task_items: Annotated[int | None, Field(ge=1, le=1_000_000, examples=[100])] = None
    """Of each task, or of each of its subjects. [all]"""
    run_generated_code: bool = False
    """Run on this machine what the models write; humaneval does."""
    output: Path | None = None
    """Folder for quality.json, or for the page."""

    @model_validator(mode="after")
    def of_something(self) -> Self:
        """There is something to compare on. Raises UsageError."""
        if self.texts is None and (self.blind or not self.tasks):
            raise UsageError("There is nothing to compare on.", "Give your own texts: --texts texts.txt")
        if self.blind and not self.most_answered:
            raise UsageError("A page of answers needs answers.", "Say how long: --answer-tokens 512")
        if self.blind and self.tasks:
            raise UsageError(
                "--blind writes a page alone.", "Ask for the tasks by themselves: leave --blind out."
            )
        if self.tasks is None and (self.task_folder or self.task_tokenizer):
            raise UsageError(
                "--task-folder and --task-tokenizer go with --tasks.", "Name a task: --tasks mmlu"
            )
        return self

    @property
    def most_answered(self) -> int:
        """Tokens of each answer: what tells two models apart is soon said, what a person judges is longer."""
        return (
            (FOR_A_PERSON if self.blind else TO_TELL_APART)
            if self.answer_tokens is None
            else self.answer_tokens
        )
