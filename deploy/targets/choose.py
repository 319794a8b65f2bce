"""From a deployment to the module that knows its place."""

from importlib import import_module
from typing import cast

from deploy.targets.deployment import Deployment
from deploy.targets.place import Target


def target_of(deployment: Deployment) -> Target:
    """The target a deployment runs on; its module is imported only now, as one needs boto3 and another does not."""
    return cast(Target, import_module(f"deploy.targets.{deployment.target}.place"))
