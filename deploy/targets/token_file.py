"""Where this machine has the token of the model hub, as a flag of the verbs that fetch."""

from infra.asked import Asked


class TokenFile(Asked):
    """Where the Hub's token is."""

    hf_token_file: str | None = None
    """local, ssh: a file here with the Hub's token. [HF_TOKEN, HF_TOKEN_PATH, hf auth login]"""
