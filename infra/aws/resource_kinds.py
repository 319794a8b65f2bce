"""The types of EC2 resource a deployment can leave behind, and how each is found and removed."""

from infra.record import Record


class Kind(Record):
    """How one type of EC2 resource is found and removed."""

    type: str
    tag_type: str
    """DescribeTags' name of the type."""
    describe: str
    key: str
    id_key: str
    delete: str
    id_parameter: str
    state_key: str = "State"
    gone: tuple[str, ...] = ()
    """States that count as gone."""
    goes_with_the_machine: bool = False


# In the order of removal: what uses something goes before what it uses.
KINDS = (
    Kind(
        type="instances",
        tag_type="instance",
        describe="DescribeInstances",
        key="Reservations",
        id_key="InstanceId",
        delete="TerminateInstances",
        id_parameter="InstanceIds",
        gone=("terminated",),
    ),
    Kind(
        type="spot_requests",
        tag_type="spot-instances-request",
        describe="DescribeSpotInstanceRequests",
        key="SpotInstanceRequests",
        id_key="SpotInstanceRequestId",
        delete="CancelSpotInstanceRequests",
        id_parameter="SpotInstanceRequestIds",
        gone=("closed", "cancelled", "failed"),
    ),
    Kind(
        type="elastic_ips",
        tag_type="elastic-ip",
        describe="DescribeAddresses",
        key="Addresses",
        id_key="AllocationId",
        delete="ReleaseAddress",
        id_parameter="AllocationId",
    ),
    Kind(
        type="network_interfaces",
        tag_type="network-interface",
        describe="DescribeNetworkInterfaces",
        key="NetworkInterfaces",
        id_key="NetworkInterfaceId",
        delete="DeleteNetworkInterface",
        id_parameter="NetworkInterfaceId",
        state_key="Status",
        goes_with_the_machine=True,
    ),
    Kind(
        type="volumes",
        tag_type="volume",
        describe="DescribeVolumes",
        key="Volumes",
        id_key="VolumeId",
        delete="DeleteVolume",
        id_parameter="VolumeId",
        gone=("deleted",),
        goes_with_the_machine=True,
    ),
    Kind(
        type="security_groups",
        tag_type="security-group",
        describe="DescribeSecurityGroups",
        key="SecurityGroups",
        id_key="GroupId",
        delete="DeleteSecurityGroup",
        id_parameter="GroupId",
    ),
    Kind(
        type="placement_groups",
        tag_type="placement-group",
        describe="DescribePlacementGroups",
        key="PlacementGroups",
        id_key="GroupName",
        delete="DeletePlacementGroup",
        id_parameter="GroupName",
        gone=("deleted",),
    ),
    Kind(
        type="launch_templates",
        tag_type="launch-template",
        describe="DescribeLaunchTemplates",
        key="LaunchTemplates",
        id_key="LaunchTemplateId",
        delete="DeleteLaunchTemplate",
        id_parameter="LaunchTemplateId",
    ),
    Kind(
        type="key_pairs",
        tag_type="key-pair",
        describe="DescribeKeyPairs",
        key="KeyPairs",
        id_key="KeyPairId",
        delete="DeleteKeyPair",
        id_parameter="KeyPairId",
    ),
    Kind(
        type="capacity_reservations",
        tag_type="capacity-reservation",
        describe="DescribeCapacityReservations",
        key="CapacityReservations",
        id_key="CapacityReservationId",
        delete="CancelCapacityReservation",
        id_parameter="CapacityReservationId",
        gone=("cancelled", "expired", "failed"),
    ),
)
OF_IAM = ("instance_profiles", "roles")
TYPES = ("schedules", *(kind.type for kind in KINDS), *OF_IAM)
