"""A plan in the words of other tools: rendered as values, one module a format; nothing here runs anything."""
