"""`vllm bench serve`'s request function, unmodified, in a closed loop as serve.py runs it; prints one JSON line.

Run by the engine's own Python: peer_vllm.py PORT SLOTS REQUESTS TOKENS
"""

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp
from vllm.benchmarks.lib.endpoint_request_func import RequestFuncInput, async_request_openai_chat_completions
from vllm.utils.gc_utils import freeze_gc_heap


async def load(port: int, slots: int, requests: int, tokens: int) -> dict[str, Any]:
    """Serve.py's connector settings (vLLM 0.32, benchmarks/serve.py:826) and its semaphore."""
    connector = aiohttp.TCPConnector(
        limit=slots,
        limit_per_host=slots,
        ttl_dns_cache=300,
        use_dns_cache=True,
        keepalive_timeout=60,
        enable_cleanup_closed=True,
        force_close=False,
        ssl=False,
    )
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    semaphore = asyncio.Semaphore(slots)
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=21600)
    ) as session:

        async def one() -> Any:
            asked = RequestFuncInput(
                prompt="one two three",
                api_url=url,
                prompt_len=3,
                output_len=tokens,
                model="fake",
                ignore_eos=True,
            )
            async with semaphore:
                return await async_request_openai_chat_completions(asked, session)

        freeze_gc_heap()
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        outputs = await asyncio.gather(*(one() for _ in range(requests)))
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    assert all(each.success for each in outputs)
    return {
        "events": sum(each.output_tokens for each in outputs),
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "ttft_s": [each.ttft for each in outputs],
        # The role chunk counts as its first one, so the first gap is the one from it to the first token: left out.
        "itl_s": [gap for each in outputs for gap in each.itl[1:]],
    }


print(json.dumps(asyncio.run(load(*map(int, sys.argv[1:5])))))
