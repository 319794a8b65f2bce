"""Ask an endpoint of corral's through OpenAI's client (pip install openai).

    corral status scout --json | python ask_openai.py "Why is the sky blue?"

The answer goes to stdout as it comes, the count of tokens to stderr.
"""

import json
import sys
from pathlib import Path

from openai import OpenAI


def main(question: str) -> None:
    endpoint = json.load(sys.stdin)["endpoint"]
    if endpoint is None:
        sys.exit("It does not serve: corral status says why.")
    key_file = endpoint["api_key_file"]
    client = OpenAI(
        base_url=f"{endpoint['base_url']}/v1",
        api_key=Path(key_file).read_text().strip() if key_file else "none",
    )
    answer = client.chat.completions.create(
        model=endpoint["served_model_name"],
        messages=[{"role": "user", "content": question}],
        max_tokens=256,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in answer:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        if chunk.usage:
            tokens = chunk.usage
            print(f"\n{tokens.prompt_tokens} tokens in, {tokens.completion_tokens} out", file=sys.stderr)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or sys.exit(__doc__))
