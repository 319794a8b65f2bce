"""YAML that a person can read and every parser reads back equal."""

import yaml

from infra.yaml_text import dumped

LONG = "corral " * 40


def test_text_stays_text_whoever_reads_it() -> None:
    shared = ["same"]
    value = {
        "z": "Grüße",
        "number": "1e5",
        "octal": "0o17",
        "count": 3,
        "script": "one\ntwo\n",
        "long": LONG.strip(),
        "a": shared,
        "b": shared,
    }
    assert dumped(value) == (
        "z: Grüße\n"
        "number: '1e5'\n"
        "octal: '0o17'\n"
        "count: 3\n"
        "script: |\n  one\n  two\n"
        f"long: {LONG.strip()}\n"
        "a:\n- same\n"
        "b:\n- same\n"
    )
    assert yaml.safe_load(dumped(value)) == value
