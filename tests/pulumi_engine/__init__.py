"""A `pulumi` of the tests: it speaks the command line and the protocols of the real one, and really runs inline programs."""
