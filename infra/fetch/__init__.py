"""Files of a repository of the model hub, whole and verified: standard library alone, so that hosts run it too."""
