"""The foundation's parts, one a file; `infra_pulumi.foundation` wires them."""
