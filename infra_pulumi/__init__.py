"""Pulumi programs and components for AWS; nothing but `llmspec.infra` imports them."""
