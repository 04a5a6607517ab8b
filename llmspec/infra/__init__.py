"""infra: what a spec at a target asks of AWS, and how it comes about. Nobody else imports `infra_pulumi`."""
