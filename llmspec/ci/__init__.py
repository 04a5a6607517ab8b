"""The workflow that plans, applies and watches a spec on GitHub: `llmspec ci` writes it.

`subject` what it is about, `steps` what a job does, `workflow` which jobs there are and what each may, `written` whether the
file is ours, and `github_role` how a job becomes a role in AWS without a key.
"""
