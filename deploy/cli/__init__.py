"""The command line: one file a verb, each a paragraph that parses, calls one function and prints."""
