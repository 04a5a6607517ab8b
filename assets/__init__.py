"""What Dagster shows: one file per stage. Asset, checks, metadata."""
