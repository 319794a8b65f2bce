"""Ask an endpoint of corral's through Anthropic's client (pip install anthropic): vLLM answers /v1/messages too.

    corral status scout --json | python ask_anthropic.py "Why is the sky blue?"

vLLM takes its key as a bearer token, which this client calls `auth_token`; what it calls `api_key` goes into another
header, and is refused.
"""

import json
import sys
from pathlib import Path

from anthropic import Anthropic


def main(question: str) -> None:
    endpoint = json.load(sys.stdin)["endpoint"]
    if endpoint is None:
        sys.exit("It does not serve: corral status says why.")
    key_file = endpoint["api_key_file"]
    client = Anthropic(
        base_url=endpoint["base_url"],
        auth_token=Path(key_file).read_text().strip() if key_file else "none",
    )
    events = client.messages.create(
        model=endpoint["served_model_name"],
        messages=[{"role": "user", "content": question}],
        max_tokens=256,
        stream=True,
    )
    asked = 0
    for event in events:
        if event.type == "message_start":
            asked = event.message.usage.input_tokens
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            print(event.delta.text, end="", flush=True)
        elif event.type == "message_delta":
            print(f"\n{asked} tokens in, {event.usage.output_tokens} out", file=sys.stderr)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or sys.exit(__doc__))
