"""What a spec needs in AWS: which stacks, with what in them, brought up, compared and removed. The roof's way to Pulumi."""
