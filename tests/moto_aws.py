"""AWS on loopback for the real wire: moto's server, with what it lacks or has wrong put right.

What moto is known not to do (facts of moto 5.2.5): no Deep Learning image, no EC2 quotas, no placement groups or
capacity reservations, no filter by client token, no IAM simulator; each is given here, as small as it can be. It has
twenty regions and thousands of images, which take long to make: here are three regions and one image.
"""

import base64
import datetime
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import boto3
from fake_prices import FakePrices, serving
from moto.core.responses import ActionResult
from moto.ec2.models import ec2_backends
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend
from moto.ec2.responses import EC2Response
from moto.ec2.utils import filter_dict_attribute_mapping
from moto.iam.responses import IamResponse
from moto.moto_api._internal import moto_api_backend
from moto.server import ThreadedMotoServer
from moto.servicequotas.responses import ServiceQuotasResponse
from moto.ssm.models import Parameter, ssm_backends

from infra.aws.region_offer import images

ACCOUNT = "123456789012"
REGIONS = ("us-east-1", "us-east-2", "us-west-2")


class MotoAws:
    """A running server and how to reach it."""

    def __init__(self, url: str, prices: FakePrices, prices_url: str) -> None:
        self.url = url
        self.prices = prices
        self.clients: dict[tuple[str, str], Any] = {}
        self.environment = {
            "AWS_ENDPOINT_URL": url,
            # moto has no price list: it answers 500.
            "AWS_ENDPOINT_URL_PRICING": prices_url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def reset(self) -> None:
        """Forget everything, but for the image."""
        self.prices.__init__()  # type: ignore[misc]
        moto_api_backend.reset()
        publish_image()

    def client(self, service: str, region: str = "us-east-1") -> Any:
        """A client of our own, to look at what corral did."""
        make: Any = boto3.client
        if (service, region) not in self.clients:
            self.clients[service, region] = make(
                service,
                region_name=region,
                endpoint_url=self.url,
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
            )
        return self.clients[service, region]

    def instances(self, region: str = "us-east-1") -> list[dict[str, Any]]:
        """Every instance that is not terminated."""
        answer = self.client("ec2", region).describe_instances()
        rows = [row for reservation in answer["Reservations"] for row in reservation["Instances"]]
        return [row for row in rows if row["State"]["Name"] != "terminated"]


@contextmanager
def running() -> Iterator[MotoAws]:
    """Start the server on a free port; everything is put back at the end."""
    prices = FakePrices()
    with lacking_parts(), serving(prices) as prices_url:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            port = server.get_host_and_port()[1]
            aws = MotoAws(f"http://127.0.0.1:{port}", prices, prices_url)
            yield aws
        finally:
            server.stop()


def publish_image() -> None:
    """Publish an image under the name that SSM would publish the Deep Learning image by."""
    name = images()["deep-learning-base"]["parameter"]
    for region in REGIONS:
        title = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) test"
        image = ec2_backends[ACCOUNT][region].register_image(title, "").id
        parameter = Parameter(
            account_id=ACCOUNT,
            name=name,
            value=image,
            parameter_type="String",
            description="",
            allowed_pattern=None,
            keyid=None,
            last_modified_date=datetime.datetime.now(datetime.UTC),
            version=1,
            data_type="aws:ec2:image",
        )
        ssm_backends[ACCOUNT][region]._parameters[name].append(parameter)


@contextmanager
def lacking_parts() -> Iterator[None]:
    """What moto does not have."""

    def no_groups(response: Any) -> Any:
        return ActionResult({"PlacementGroups": []})

    def no_reservations(response: Any) -> Any:
        return ActionResult({"CapacityReservations": []})

    def console(response: Any) -> Any:
        machine = response.ec2_backend.get_instance(response._get_param("InstanceId"))
        name = {tag["key"]: tag["value"] for tag in machine.get_tags()}["corral:deployment"]
        text = f"[ 12.3] cloud-init[1]: corral: {name}: prepared\r\n"
        return ActionResult({"Output": base64.b64encode(text.encode()).decode()})

    def quota(response: Any) -> str:
        return json.dumps({"Quota": {"QuotaCode": "L-DB2E81BA", "Value": 192.0}})

    def simulated(response: Any) -> Any:
        return ActionResult({"EvaluationResults": []})

    few = [region for region in RegionsAndZonesBackend.regions if region.name in REGIONS]

    with (
        patch.dict(os.environ, {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}),
        patch.object(RegionsAndZonesBackend, "regions", few),
        patch.object(EC2Response, "describe_placement_groups", no_groups, create=True),
        patch.object(EC2Response, "describe_capacity_reservations", no_reservations, create=True),
        patch.object(EC2Response, "get_console_output", console),
        patch.dict(filter_dict_attribute_mapping, {"client-token": "client_token"}),
        patch.object(ServiceQuotasResponse, "get_service_quota", quota),
        patch.object(IamResponse, "simulate_principal_policy", simulated, create=True),
    ):
        yield
