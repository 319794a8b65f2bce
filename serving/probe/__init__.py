"""The probe: puts a load on an endpoint, keeps every raw result, and says how wrong its own clock was."""
