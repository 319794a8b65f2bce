"""Terraform: what `corral provision --target ec2` asks for, as resources somebody else keeps the state of."""

import json
from typing import Any

from deploy.export.rendering import Ask, Export
from deploy.targets import deployment as deployments
from deploy.targets import drafts
from deploy.targets.ec2 import beside
from deploy.targets.ec2.options import Ec2Options
from deploy.targets.ec2.ordering import located
from deploy.targets.ec2.ordering import order as order_for
from infra.argument import pasted
from infra.aws import region_offer, request
from infra.aws.order import Order
from infra.aws.request import Request, Site, Spot
from infra.errors import UsageError
from infra.host import HostFile

# What corral learns from AWS before it asks, Terraform learns from these.
ACCOUNT = "${data.aws_caller_identity.here.account_id}"
VPC = "${data.aws_vpc.default.id}"
SUBNET = "${sort(data.aws_subnets.selling.ids)[0]}"
"""Their order is anyone's: another first one would replace a server that runs."""
IMAGE = "${data.aws_ssm_parameter.image.insecure_value}"
GROUP = "${aws_security_group.server.id}"


def render(ask: Ask) -> Export:
    """main.tf.json, and the user data it packs as EC2 takes it. Raises UsageError for more than one region."""
    if len(ask.box.regions) > 1:
        raise UsageError(
            f"terraform puts the machine in one region, and {len(ask.box.regions)} are named.",
            f"Export once for each: --region {ask.box.regions[0]}",
        )
    drafts.require_commit(ask.plan.serve)
    # A price that is not known is the reader's to find; what he renders costs nothing yet.
    wishes = Ec2Options(
        regions=ask.box.regions,
        ttl=ask.box.ttl,
        weights=ask.box.weights,
        hf_token_parameter=ask.box.hf_token_parameter,
        allow_unknown_price=True,
    )
    order = order_for(deployments.make(ask.plan, "ec2", ask.name), located(wishes, ask.plan.region))
    stack = {
        "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws", "version": ">= 5.0"}}},
        "provider": {"aws": {"region": order.regions[0]}},
        "data": looked_up(order),
        "resource": resources(order),
        "output": {"instance_id": {"value": "${aws_instance.server.id}"}},
    }
    hours = order.ttl_minutes / 60
    price = f"{order.usd_per_hour:.3f} USD per hour" if order.usd_per_hour else "at a price nobody knows"
    return Export(
        format="terraform",
        files=(
            HostFile(path="main.tf.json", content=json.dumps(stack, indent=2) + "\n"),
            HostFile(path="user-data.yaml", content=order.user_data),
        ),
        notes=(
            "Rendered from the requests corral itself sends; terraform validate 1.11 finds it valid by the schema of "
            "the AWS provider 6.25, and no plan or apply was run by us.",
            f"{order.instance_types[0]}, {price}. The box ends itself {hours:g} hours after boot (and when idle): "
            "Terraform will then see it as gone.",
            f"It carries no corral tag, so corral neither watches nor ends it: terraform destroy does. A "
            "server that hangs there stays so; systemd starts one that dies again. It needs a default VPC in "
            f"{order.regions[0]}.",
            *expected(ask),
            "The server's key is made on the box: /opt/corral/" + ask.name + "/secrets.env, read as root.",
            "Next: terraform init && terraform plan; after apply: aws ssm start-session --target INSTANCE_ID "
            "--document-name AWS-StartPortForwardingSession "
            f"--parameters portNumber={order.port},localPortNumber={order.port}",
        ),
    )


def expected(ask: Ask) -> tuple[str, ...]:
    """What must lie below the weights, as a note; none where the box fetches all."""
    kept = beside.kept(ask.plan.serve)
    place = (ask.box.weights or "").rstrip("/")
    lines = [f"{place}/{folder}/ as in {pasted(here)} here" for folder, here in kept.items()]
    return (f"Expected below the weights: {', '.join(lines)}.",) if lines else ()


def looked_up(order: Order) -> dict[str, Any]:
    """The account, the default network, a subnet whose zone sells the type, and the image."""
    zone_filter = {
        "name": "availability-zone",
        "values": "${data.aws_ec2_instance_type_offerings.zones.locations}",
    }
    return {
        "aws_caller_identity": {"here": {}},
        "aws_vpc": {"default": {"default": True}},
        "aws_ec2_instance_type_offerings": {
            "zones": {
                "location_type": "availability-zone",
                "filter": [{"name": "instance-type", "values": [order.instance_types[0]]}],
            }
        },
        "aws_subnets": {"selling": {"filter": [{"name": "vpc-id", "values": [VPC]}, zone_filter]}},
        "aws_ssm_parameter": {
            "image": {"name": region_offer.parameter_request(order.regions[0]).parameters["Name"]}
        },
    }


def resources(order: Order) -> dict[str, Any]:
    """The box's role, its security group, and itself."""
    region = order.regions[0]
    here = Site(region=region, account=ACCOUNT, vpc_id=VPC, image_id=IMAGE, root_device="")
    spot = Spot(
        region=region,
        zone="",
        subnet_id=SUBNET,
        instance_type=order.instance_types[0],
        purchase="on-demand",
    )
    return {
        **role(order),
        "aws_security_group": {"server": security_group(order, request.create_security_group(order, here))},
        "aws_instance": {"server": instance(order, request.run_instances(order, here, spot, GROUP))},
    }


def tags(order: Order) -> dict[str, str]:
    """Only the name: whatever carries corral's own tags `corral reap` would end."""
    return {"Name": order.resource_name}


def role(order: Order) -> dict[str, Any]:
    """The instance profile, with the same two policies."""
    create, put, profile, _ = (call.parameters for call in request.box_role(order, ACCOUNT))
    return {
        "aws_iam_role": {
            "box": {
                "name": create["RoleName"],
                "description": create["Description"],
                "assume_role_policy": create["AssumeRolePolicyDocument"],
                "tags": tags(order),
            }
        },
        "aws_iam_role_policy": {
            "box": {
                "name": put["PolicyName"],
                "role": "${aws_iam_role.box.name}",
                "policy": put["PolicyDocument"],
            }
        },
        "aws_iam_instance_profile": {
            "box": {
                "name": profile["InstanceProfileName"],
                "role": "${aws_iam_role.box.name}",
                "tags": tags(order),
            }
        },
    }


def security_group(order: Order, asked: Request) -> dict[str, Any]:
    """No way in; the way out that EC2 gives every group must be said to Terraform, which takes it away."""
    everywhere = {
        "protocol": "-1",
        "from_port": 0,
        "to_port": 0,
        "cidr_blocks": ["0.0.0.0/0"],
        "description": "the engine and the weights at first boot, and Session Manager",
        "ipv6_cidr_blocks": [],
        "prefix_list_ids": [],
        "security_groups": [],
        "self": False,
    }
    return {
        "name": asked.parameters["GroupName"],
        "description": asked.parameters["Description"],
        "vpc_id": asked.parameters["VpcId"],
        "egress": [everywhere],
        "tags": tags(order),
    }


def instance(order: Order, asked: Request) -> dict[str, Any]:
    """The launch in Terraform's words. A newer image is no reason to replace a server that runs."""
    given = asked.parameters
    metadata, volume = given["MetadataOptions"], given["BlockDeviceMappings"][0]["Ebs"]
    (interface,) = given["NetworkInterfaces"]
    return {
        "ami": given["ImageId"],
        "instance_type": given["InstanceType"],
        "subnet_id": interface["SubnetId"],
        "vpc_security_group_ids": interface["Groups"],
        "iam_instance_profile": "${aws_iam_instance_profile.box.name}",
        "instance_initiated_shutdown_behavior": given["InstanceInitiatedShutdownBehavior"],
        "user_data_base64": '${base64gzip(file("${path.module}/user-data.yaml"))}',
        "user_data_replace_on_change": True,
        "metadata_options": {
            "http_endpoint": metadata["HttpEndpoint"],
            "http_tokens": metadata["HttpTokens"],
            "http_put_response_hop_limit": metadata["HttpPutResponseHopLimit"],
        },
        "root_block_device": {
            "volume_type": volume["VolumeType"],
            "volume_size": volume["VolumeSize"],
            "iops": volume["Iops"],
            "throughput": volume["Throughput"],
            "encrypted": volume["Encrypted"],
            "delete_on_termination": volume["DeleteOnTermination"],
            "tags": tags(order),
        },
        "tags": tags(order),
        "lifecycle": {"ignore_changes": ["ami"]},
    }
