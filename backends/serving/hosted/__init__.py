"""A model that somebody else serves: `contract` how it is asked, `bedrock` who is asked, `engine` and `service` for whom."""
