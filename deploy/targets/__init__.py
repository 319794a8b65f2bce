"""Where a deployment can run: this machine, EC2, hosts over SSH. One module each, with the same verbs."""
