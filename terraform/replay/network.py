"""The VPC and everything about ports."""

import json

from storage import same


def prefix_lists(w, found):
    """S3's prefix list, which modules look up and nobody makes."""
    lists = w.ec2.describe_managed_prefix_lists()["PrefixLists"]
    by_name = {p["PrefixListName"]: p["PrefixListId"] for p in lists}
    for r in found:
        w.stands(r["values"], id=by_name[r["values"]["name"]])


def vpc(w, v):
    made = w.ec2.create_vpc(CidrBlock=v["cidr_block"])["Vpc"]
    w.stands(v, id=made["VpcId"])
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        value = v["enable_dns_support" if attribute == "EnableDnsSupport" else "enable_dns_hostnames"]
        w.ec2.modify_vpc_attribute(VpcId=made["VpcId"], **{attribute: {"Value": value}})
    name = w.ec2.describe_vpc_attribute(VpcId=made["VpcId"], Attribute="enableDnsHostnames")
    same(name["EnableDnsHostnames"]["Value"], True, "DNS names of hosts")


def default_security_group(w, v):
    """Terraform takes all rules of the group away, and this configuration adds none."""
    same((v["ingress"], v["egress"]), ([], []), "rules of the default group")


def subnet(w, v):
    made = w.ec2.create_subnet(
        VpcId=w.real(v["vpc_id"]), CidrBlock=v["cidr_block"], AvailabilityZone=v["availability_zone"])["Subnet"]
    w.stands(v, id=made["SubnetId"])
    same((made["AvailabilityZone"], made["MapPublicIpOnLaunch"]), (v["availability_zone"], v["map_public_ip_on_launch"]), "subnet")


def route_table(w, v):
    made = w.ec2.create_route_table(VpcId=w.real(v["vpc_id"]))["RouteTable"]
    w.stands(v, id=made["RouteTableId"])


def route_table_association(w, v):
    w.ec2.associate_route_table(RouteTableId=w.real(v["route_table_id"]), SubnetId=w.real(v["subnet_id"]))


def security_group(w, v):
    made = w.ec2.create_security_group(
        GroupName=v["name"], Description=v["description"], VpcId=w.real(v["vpc_id"]))
    w.stands(v, id=made["GroupId"])
    # As Terraform does: the rule that lets everything out goes.
    w.ec2.revoke_security_group_egress(
        GroupId=made["GroupId"], IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])


def _rule(w, v):
    permission = {"IpProtocol": v["ip_protocol"], "FromPort": v["from_port"], "ToPort": v["to_port"]}
    note = {"Description": v["description"]}
    if v["referenced_security_group_id"] in w.words:
        permission["UserIdGroupPairs"] = [{"GroupId": w.real(v["referenced_security_group_id"]), **note}]
    elif v["prefix_list_id"] in w.words:
        permission["PrefixListIds"] = [{"PrefixListId": w.real(v["prefix_list_id"]), **note}]
    else:
        permission["IpRanges"] = [{"CidrIp": v["cidr_ipv4"], **note}]
    return w.real(v["security_group_id"]), permission


def _holds(w, group, egress, permission):
    """Fails unless the group has the rule."""
    found = w.ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    for r in found:
        if r["IsEgress"] == egress and r.get("FromPort") == permission["FromPort"] and r.get("ToPort") == permission["ToPort"]:
            return
    raise AssertionError(f"{group} has no rule {permission}: {found}")


def ingress(w, v):
    group, permission = _rule(w, v)
    w.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    _holds(w, group, False, permission)


def egress(w, v):
    group, permission = _rule(w, v)
    w.ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[permission])
    _holds(w, group, True, permission)


def endpoint(w, v):
    request = {"VpcId": w.real(v["vpc_id"]), "ServiceName": v["service_name"], "VpcEndpointType": v["vpc_endpoint_type"]}
    if v["vpc_endpoint_type"] == "Gateway":
        request |= {"RouteTableIds": w.real(v["route_table_ids"]), "PolicyDocument": v["policy"]}
    else:
        request |= {
            "SubnetIds": w.real(v["subnet_ids"]), "SecurityGroupIds": w.real(v["security_group_ids"]),
            "PrivateDnsEnabled": v["private_dns_enabled"],
        }
    made = w.ec2.create_vpc_endpoint(**request)["VpcEndpoint"]
    got = w.ec2.describe_vpc_endpoints(VpcEndpointIds=[made["VpcEndpointId"]])["VpcEndpoints"][0]
    same(got["ServiceName"], v["service_name"], "service")
    if v["vpc_endpoint_type"] == "Gateway":
        same(got["RouteTableIds"], request["RouteTableIds"], "route tables")
        same(json.loads(got["PolicyDocument"]), json.loads(v["policy"]), "policy")
    else:
        same(sorted(got["SubnetIds"]), sorted(request["SubnetIds"]), "subnets")
        same(len(got["SubnetIds"]), 3, "number of subnets")


def flow_log(w, v):
    made = w.ec2.create_flow_logs(
        ResourceIds=[w.real(v["vpc_id"])], ResourceType="VPC", TrafficType=v["traffic_type"],
        LogDestinationType=v["log_destination_type"], LogGroupName=w.real(v["log_destination"]).split(":log-group:")[1].removesuffix(":*"),
        DeliverLogsPermissionArn=w.real(v["iam_role_arn"]))
    same(made["Unsuccessful"], [], "what failed")
