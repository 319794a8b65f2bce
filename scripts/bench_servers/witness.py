"""An independent client, aiohttp's: `witness.py URL MODEL REQUESTS AT_ONCE TOKENS` with the prompts on standard input.

A closed loop of chats. Times are taken when aiohttp hands over a line, from just before the request is made. Tokens are
those of the usage; text chunks where there is none. Prints JSON: seconds of each request and the whole.
"""

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp


async def asked(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request."""
    began, first, last, chunks, usage = time.perf_counter(), 0.0, 0.0, 0, {}
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            if response.status != 200:
                return {"failed": f"HTTP {response.status}"}
            async for line in response.content:
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line[6:])
                usage = event.get("usage") or usage
                choices = event.get("choices") or [{}]
                # An empty text is a token where it is no opening or closing event: half of a character, say.
                delta = choices[0].get("delta") or {}
                if "content" in delta and "role" not in delta and choices[0].get("finish_reason") is None:
                    last = time.perf_counter()
                    first, chunks = first or last, chunks + 1
    except aiohttp.ClientError as error:
        return {"failed": type(error).__name__}
    if not first:
        return {"failed": "no token"}
    tokens = usage.get("completion_tokens") or chunks
    return {
        "ttft_s": first - began,
        "e2e_s": last - began,
        "tpot_s": (last - first) / max(1, tokens - 1),
        "tokens": tokens,
        "prompt_tokens": usage.get("prompt_tokens"),
    }


async def main() -> None:
    """All of them."""
    url, model, requests, at_once, tokens = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    prompts = iter(json.load(sys.stdin)[:requests])
    results = []
    # llama.cpp's server closes a connection after its answer and does not say so: one that is kept fails, or holds one
    # of its threads.
    fresh = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(300), connector=fresh) as session:

        async def slot() -> None:
            for prompt in prompts:
                body = {
                    "model": model,
                    "messages": [{"role": "user", "content": prompt}],
                    "max_tokens": tokens,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                    "temperature": 0,
                    "cache_prompt": False,  # llama.cpp's server would keep what it has read for the next round
                }
                results.append(await asked(session, url, body))

        began = time.perf_counter()
        await asyncio.gather(*(slot() for _ in range(at_once)))
        print(json.dumps({"duration_s": time.perf_counter() - began, "requests": results}))


asyncio.run(main())
