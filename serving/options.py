"""What `vllm serve` is told: options as a value, turned into argv and environment by pure functions."""

from infra.record import Record


class ServeOptions(Record):
    """The options of one `vllm serve`, under vLLM's own names. None leaves vLLM's default."""

    model: str
    """A Hugging Face repository or a local checkpoint folder."""
    served_model_name: str
    host: str = "127.0.0.1"
    port: int = 8000
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    enable_expert_parallel: bool = False
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_dtype: str = "auto"
    kv_cache_memory_bytes: int | None = None
    disable_hybrid_kv_cache_manager: bool = False
    dtype: str = "auto"
    quantization: str | None = None
    enforce_eager: bool = False
    language_model_only: bool = False
    limit_mm_per_prompt: dict[str, int] | None = None
    hf_overrides: dict[str, object] | None = None
    """Overrides of the checkpoint's config.json; carries the position override that frees the rotary table."""
    generation_config: str | None = None
    chat_template: str | None = None
    shutdown_timeout: int = 60
    extra_args: tuple[str, ...] = ()
