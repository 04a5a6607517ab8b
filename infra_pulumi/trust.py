"""Which service of AWS may take a role, where it says nothing of the account that it acts for."""

from infra_pulumi.policies import Statement


def trusted(service: str, *more: str) -> Statement:
    """Without a condition on the account: EC2, Lambda, ECS and EKS send none, and a condition would lock them out."""
    return Statement(("sts:AssumeRole", *more), principals={"Service": f"{service}.amazonaws.com"})
