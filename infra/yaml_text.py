"""PURE: values as YAML a person can read, and every parser reads back equal."""

import yaml


def dumped(value: object) -> str:
    """One document, its keys in the order they were given."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


class _Dumper(yaml.SafeDumper):
    """Several lines as a block; no anchors, which Helm's and SkyPilot's readers of single values cannot follow."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # YAML 1.2 reads 1e5 and 0o17 as numbers where YAML 1.1, which PyYAML writes, sees text.
    style = "|" if "\n" in text else "'" if text[:1].isdigit() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
