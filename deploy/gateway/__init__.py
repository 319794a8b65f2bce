"""One address in front of a deployment's servers: HAProxy, configured, started, changed and asked by corral."""
