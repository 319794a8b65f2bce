"""Whether two endpoints answer alike, on the user's own texts."""
